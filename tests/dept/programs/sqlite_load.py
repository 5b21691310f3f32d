"""Python's sqlite3 module from a pool of threads: sqlite_load.py DIRECTORY"""
import concurrent.futures
import sqlite3
import sys

path = sys.argv[1] + "/python.db"
with sqlite3.connect(path) as db:
    db.execute("pragma journal_mode=wal")
    db.execute("create table t(a integer primary key, b text)")


def insert(block):
    with sqlite3.connect(path, timeout=30) as own:
        own.execute("pragma synchronous=off")
        for i in range(20):
            with own:
                own.executemany("insert into t values(?, ?)", [(block * 1000 + i * 50 + j, "x" * (j % 17)) for j in range(50)])
            own.execute("select count(*), max(a) from t where length(b) = 3").fetchall()
    return block


with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(sorted(pool.map(insert, range(24))))
print(sqlite3.connect(path).execute("select count(*), sum(a), sum(length(b)) from t").fetchone())
