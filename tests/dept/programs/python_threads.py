"""Threads, queues, locks, conditions, barriers, processes and executors of Python's library; prints the results."""
import concurrent.futures
import hashlib
import multiprocessing
import queue
import subprocess
import threading
import zlib


def digest(n):
    return hashlib.sha256(zlib.compress(bytes(str(n) * 20000, "ascii"))).hexdigest()[:8]


def square(n):
    return n * n


def pipeline():
    first, second, results = queue.Queue(8), queue.Queue(8), []

    def middle():
        while (item := first.get()) is not None:
            second.put(item * 3)
        second.put(None)

    def last():
        ended = 0
        while ended < 3:
            item = second.get()
            if item is None:
                ended += 1
            else:
                results.append(item)

    threads = [threading.Thread(target=middle) for _ in range(3)] + [threading.Thread(target=last)]
    for thread in threads:
        thread.start()
    for i in range(5000):
        first.put(i)
    for _ in range(3):
        first.put(None)
    for thread in threads:
        thread.join()
    return sum(results)


def rendezvous():
    barrier, lock, condition = threading.Barrier(4), threading.RLock(), threading.Condition()
    total, turn = [0], [0]

    def party(me):
        for i in range(100):
            barrier.wait()
            with lock, lock:
                total[0] += i
            with condition:
                condition.wait_for(lambda: turn[0] % 4 == me)
                turn[0] += 1
                condition.notify_all()

    threads = [threading.Thread(target=party, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total[0], turn[0]


if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        print(list(pool.map(digest, range(60))))
    print(pipeline(), rendezvous())
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        print(sum(pool.map(square, range(500))))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        commands = [["sh", "-c", f"echo {i}"] for i in range(12)]
        print(list(pool.map(lambda command: subprocess.run(command, capture_output=True).stdout, commands)))
    timer = threading.Timer(0.05, print, ["timer"])
    timer.start()
    timer.join()
