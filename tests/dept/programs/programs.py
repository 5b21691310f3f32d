"""The programs of tests/dept-programs: what each needs, how it is loaded, and what of its doing must always be the same.

A program is a function of a Run. Whatever it passes to run.note() has to be equal without and with the tool. What it has to
fetch beforehand, `prepare` does, which returns why that cannot be, or None.
"""

import contextlib
import hashlib
import os
import pathlib
import random
import subprocess
import time

import postgres_tests

HERE = pathlib.Path(__file__).parent
PROGRAMS = {}


def program(name, packages, commands, prepare=lambda: None):
    def add(function):
        PROGRAMS[name] = (function, packages, commands, prepare)
        return function
    return add


def wait_for(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} does not come")
        time.sleep(0.02)


def read_pid(path):
    with contextlib.suppress(OSError, ValueError, IndexError):  # it may be being written
        return int(path.read_text().split()[0])


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def make_inputs(directory):
    """Files that several programs work on, the same in every run."""
    words = random.Random(1)
    vocabulary = ["".join(words.choices("etaoinshrdlu", k=words.randint(2, 9))) for _ in range(5000)]
    with open(directory / "text", "w") as text:
        for _ in range(10):
            text.write("\n".join(" ".join(words.choices(vocabulary, k=12)) for _ in range(15000)))
    with open(directory / "text") as text, open(directory / "commits", "w") as stream:
        lines = text.read().split("\n")
        for commit in range(20):
            stream.write(f"commit refs/heads/main\ncommitter A <a@b> {1700000000 + commit} +0000\ndata 2\nc\n\n")
            for file in range(60):
                content = "\n".join(lines[file * 400 + commit:file * 400 + 300 + commit * 2]) + "\n"
                stream.write(f"M 644 inline d{file % 9}/f{file}\ndata {len(content)}\n{content}\n")


# --- compressors

def compressor(name, package, *options):
    @program(name, [package], [name])
    def compress(run):
        run.note(digest(run.tracked([name, *options, "-c", str(run.inputs / "text")])))


compressor("xz", "xz-utils", "-T2", "-1", "--block-size=1MiB")
compressor("zstd", "zstd", "-T4", "-q", "-9", "-B1M")
compressor("pigz", "pigz", "-p4", "-n", "-T")
compressor("pbzip2", "pbzip2", "-p4", "-k")


@program("ffmpeg", ["ffmpeg"], ["ffmpeg"])
def ffmpeg(run):
    run.note(run.tracked(["ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=5", "-f",
                          "lavfi", "-i", "sine=frequency=440:duration=5", "-filter_threads", "3", "-vf", "hue=h=t*60,unsharp",
                          "-c:v", "libx264", "-preset", "veryfast", "-threads", "4", "-c:a", "aac", "-f", "md5", "-"]))


# --- data bases

@program("sqlite3", ["libsqlite3-dev", "gcc"], ["cc"])
def sqlite3(run):
    binary = run.directory / "sqlite_threads"
    run.plain(["cc", "-O2", "-g", "-o", binary, HERE / "sqlite_threads.c", "-lsqlite3", "-lpthread"])
    run.note(run.tracked([binary, run.directory]))


@program("python3-sqlite3", ["python3"], ["/usr/bin/python3"])
def python_sqlite(run):
    run.note(run.tracked(["/usr/bin/python3", HERE / "sqlite_load.py", run.directory]))


@program("redis", ["redis-server", "redis-tools"], ["redis-server", "redis-cli", "redis-benchmark"])
def redis(run):
    socket, pid_file = run.directory / "redis.sock", run.directory / "redis.pid"
    arguments = ["redis-server", "--port", "0", "--unixsocket", socket, "--pidfile", pid_file, "--dir", run.directory, "--io-threads",
                 "4", "--io-threads-do-reads", "yes", "--appendonly", "yes", "--save", "", "--enable-debug-command", "yes",
                 "--lazyfree-lazy-user-del", "yes", "--lazyfree-lazy-user-flush", "yes", "--activedefrag", "no", "--loglevel", "warning"]

    def cli(*command, **options):
        return run.plain(["redis-cli", "-s", socket, *command], **options)

    with run.server(arguments, lambda: socket.exists() and read_pid(pid_file), lambda: read_pid(pid_file)):
        wait_for(lambda: b"PONG" in cli("ping", check=False), "redis")
        run.plain(["redis-benchmark", "-s", socket, "-q", "-n", "20000", "-c", "30", "-P", "16", "-t", "set,get,lpush,zadd"])
        cli("flushall", "async")
        commands = []
        for i in range(20000):
            commands += [f"set k{i} {i * 7}", f"rpush l{i % 50} {i}", f"zadd z{i % 20} {i} m{i % 300}"]
            if i % 2000 == 1999:
                commands += [f"del l{i % 50} z{i % 20}"]
        cli("--pipe", input="\n".join(commands).encode() + b"\n")
        run.note(cli("debug", "digest") + cli("dbsize"))
        cli("bgrewriteaof")
        wait_for(lambda: b"aof_rewrite_in_progress:0" in cli("info", "persistence"), "the end of the rewrite")
        cli("bgsave", "schedule")
        wait_for(lambda: b"rdb_bgsave_in_progress:0" in cli("info", "persistence"), "the end of the save")
        run.note(cli("flushall", "async"))


@program("memcached", ["memcached"], ["memcached", "/usr/bin/python3"])
def memcached(run):
    socket, pid_file = run.directory / "memcached.sock", run.directory / "memcached.pid"
    user = ["-u", "root"] if os.geteuid() == 0 else []
    with run.server(["memcached", "-t", "4", "-m", "64", "-s", socket, "-P", pid_file, *user],
                    lambda: socket.exists() and read_pid(pid_file), lambda: read_pid(pid_file)):
        run.note(run.plain(["/usr/bin/python3", HERE / "memcached_load.py", socket]))


@contextlib.contextmanager
def postgres_server(run, *initdb):
    """A cluster of its own, with its server. Gives the directory of the binaries, a client's options, and the command that a
    program which must not be root has to begin with."""
    binaries = run.expand("/usr/lib/postgresql/*/bin")
    data, user = run.directory / "data", []
    if os.geteuid() == 0:
        os.chown(run.directory, 65534, 65534)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", f"HOME={run.directory}"]
    run.tracked([f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", "p", "--no-sync", *initdb], before=user)
    # SIGINT: a fast shutdown.
    with run.server([f"{binaries}/postgres", "-D", data, "-k", run.directory, "-c", "listen_addresses=", "-c", "fsync=off"],
                    lambda: "ready" in run.text(data / "postmaster.pid"), lambda: read_pid(data / "postmaster.pid"), signal=2, before=user):
        yield binaries, [f"--host={run.directory}", "--user=p"], user


POSTGRES = (["postgresql", "postgresql-contrib"], ["/usr/lib/postgresql/*/bin/postgres", "setpriv"])


@program("postgresql", *POSTGRES)
def postgresql(run):
    with postgres_server(run) as (binaries, client, _):
        run.note(run.tracked([f"{binaries}/psql", "-XqAt", *client, "-f", HERE / "postgres.sql", "postgres"]))
        run.plain([f"{binaries}/pgbench", "-q", "-i", *client, "postgres"])
        run.tracked([f"{binaries}/pgbench", *client, "-c", "6", "-j", "3", "-t", "150", "postgres"])
        run.note(run.plain([f"{binaries}/psql", "-XqAt", *client, "-c", "select count(*) from pgbench_history", "postgres"]))


@program("postgresql-tests", [*POSTGRES[0], "gcc", "libc6-dev"], [*POSTGRES[1], str(postgres_tests.RUNNER), "cc"], prepare=postgres_tests.fetch)
def postgresql_tests(run):
    with postgres_server(run, "--no-locale", "--encoding=UTF8") as (binaries, client, user):
        verdicts = postgres_tests.pg_regress(run, binaries, user, client)
    for verdict in verdicts:
        run.note(verdict)
    run.expect_processes(len(verdicts))  # each test has a connection at least, each connection a process


# --- servers and tools

@program("nginx", ["nginx", "apache2-utils", "curl"], ["nginx", "ab", "curl"])
def nginx(run):
    (run.directory / "www").mkdir()
    (run.directory / "www" / "text").write_bytes((run.inputs / "text").read_bytes()[:2_000_000])
    (run.directory / "www" / "small").write_text("small\n" * 1000)
    configuration = run.directory / "nginx.conf"
    configuration.write_text(f"""
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 2;
pid {run.directory}/nginx.pid;
error_log {run.directory}/error.log;
thread_pool default threads=4;
events {{ worker_connections 256; }}
http {{
  access_log {run.directory}/access.log;
  client_body_temp_path {run.directory}; proxy_temp_path {run.directory}; fastcgi_temp_path {run.directory};
  uwsgi_temp_path {run.directory}; scgi_temp_path {run.directory};
  aio threads; sendfile off; output_buffers 2 64k;
  server {{ listen 127.0.0.1:18091; listen unix:{run.directory}/nginx.sock; root {run.directory}/www; }}
}}
""")
    socket, pid_file = run.directory / "nginx.sock", run.directory / "nginx.pid"
    with run.server(["nginx", "-p", run.directory, "-e", run.directory / "error.log", "-c", configuration],
                    lambda: socket.exists() and read_pid(pid_file), lambda: read_pid(pid_file), signal=3):
        run.note(digest(run.plain(["curl", "-s", "--unix-socket", socket, "http://x/text"])))
        for path, count in (("small", 6000), ("text", 400)):
            result = run.plain(["ab", "-q", "-n", str(count), "-c", "16", f"http://127.0.0.1:18091/{path}"])
            run.note(b"".join(line for line in result.splitlines(True) if b"requests:" in line or b"transferred:" in line))


@program("git", ["git"], ["git"])
def git(run):
    repository = run.directory / "repository"
    run.plain(["git", "init", "-q", "-b", "main", repository])
    inside = ["git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@b"]
    run.tracked([*inside, "fast-import", "--quiet"], input=(run.inputs / "commits").read_bytes())
    run.tracked([*inside, "reset", "-q", "--hard", "main"])
    run.note(digest(run.tracked([*inside, "grep", "--threads=4", "-c", "-i", "t[eo]n.*s"])))
    run.tracked([*inside, "-c", "pack.threads=4", "gc", "-q"])
    (pack,) = (repository / ".git/objects/pack").glob("*.pack")
    run.tracked([*inside, "index-pack", "--threads=4", "-o", run.directory / "index", pack])
    run.tracked([*inside, "-c", "checkout.workers=2", "-c", "checkout.thresholdForParallelism=1", "checkout", "-q", "main~15"])
    run.tracked([*inside, "-c", "core.preloadIndex=true", "status", "--short"])
    run.tracked([*inside, "fsck", "--no-progress"])
    run.note(digest(run.plain([*inside, "rev-list", "--objects", "--all"])))


# --- languages

@program("python3", ["python3"], ["/usr/bin/python3"])
def python_threads(run):
    run.note(run.tracked(["/usr/bin/python3", HERE / "python_threads.py"]))


@program("python3-tests", ["libpython3-testsuite"], ["/usr/lib/python3*/test/test_threading.py"])
def python_tests(run):
    report = run.tracked(["/usr/bin/python3", "-m", "test", "-q", "test_thread", "test_queue", "test_sched", "test_threading_local"])
    run.note(report.splitlines()[-1].split(b":")[0])


@program("node", ["nodejs"], ["node"])
def node(run):
    run.note(run.tracked(["node", HERE / "node_load.js", run.directory]))


@program("ruby", ["ruby"], ["ruby"])
def ruby(run):
    run.note(run.tracked(["ruby", HERE / "ruby_load.rb"]))


@program("java", ["openjdk-17-jdk-headless"], ["java", "javac"])
def java(run):
    run.plain(["javac", "-d", run.directory, HERE / "Load.java"])
    run.note(run.tracked(["java", "-Xmx256m", "-cp", run.directory, "Load"]))
