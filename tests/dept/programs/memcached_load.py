"""Sets, reads and deletes in memcached from four threads over a unix socket: memcached_load.py SOCKET"""
import hashlib
import socket
import sys
import threading

ROUNDS = 6000
results = {}


def client(me):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    stream = connection.makefile("rwb")
    seen = hashlib.sha256()
    for i in range(ROUNDS):
        value = b"%d" % (i * 31 % 1009) * (1 + i % 40)
        stream.write(b"set k%d.%d 0 0 %d\r\n%s\r\n" % (me, i, len(value), value))
        if i % 3 == 0:
            stream.write(b"get k%d.%d k%d.%d\r\n" % (me, i // 2, me, i))
        if i % 50 == 0:
            stream.write(b"delete k%d.%d\r\n" % (me, i // 3))
        if i % 100 == 0:
            stream.write(b"get none\r\n")
        if i % 20 == 19 or i == ROUNDS - 1:
            stream.write(b"mn\r\n")
            stream.flush()
            while (line := stream.readline()) != b"MN\r\n":
                seen.update(line)
    results[me] = seen.hexdigest()


threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(results.items()))
