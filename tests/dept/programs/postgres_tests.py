"""PostgreSQL's own regression tests: fetched as Debian's source package, and run against a server that is there.

    reason = fetch()                       # None: they are there now
    pg_regress(...)                        # returns the verdicts, one line a test
"""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

PACKAGE = "postgresql-15"
LIBRARIES = pathlib.Path("/usr/lib/postgresql/15/lib")
RUNNER = LIBRARIES / "pgxs/src/test/regress/pg_regress"
FETCH = pathlib.Path(__file__).parents[2] / "fetch-package"


def cache():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "causeway"


def version():
    """Of the server that is installed: its answers change from one minor version to the next."""
    return subprocess.run(["dpkg-query", "-W", "-f=${Version}", PACKAGE], capture_output=True, text=True, check=True).stdout


def tree():
    return cache() / f"{PACKAGE}_{version()}"


def fetch():
    """Puts the tests, and the library they are to load, into tree(). Returns why that cannot be, or None."""
    if tree().is_dir():
        return None
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as name:
        directory = pathlib.Path(name)
        for more, package in ((["--source"], PACKAGE), ([], "postgresql-server-dev-15")):
            done = subprocess.run([FETCH, *more, directory, f"{package}={version()}"], stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                return done.stderr.strip()
        (archive,) = directory.glob("*.orig.tar.*")
        (headers,) = directory.glob("*.deb")
        new = directory / "tree"
        new.mkdir()
        # Archive and package are Debian's, signed: what goes wrong from here on is a failure.
        subprocess.run(["tar", "-xf", archive, "-C", new, "--strip-components=4", "--wildcards", "*/src/test/regress"], check=True)
        subprocess.run(["dpkg-deb", "-x", headers, directory / "dev"], check=True)
        subprocess.run(["cc", "-O2", "-fPIC", "-shared", "-w", "-I", directory / "dev/usr/include/postgresql/15/server",
                        "-o", new / "regress.so", new / "regress.c"], check=True)
        with contextlib.suppress(OSError):  # another run may have been faster
            new.rename(tree())
    return None


def pg_regress(run, binaries, user, client):
    """Runs the whole parallel schedule as `user`, a prefix of commands; raises RuntimeError if a test has other answers than it should."""
    # A copy: the server's user cannot look into the cache of root, and the server writes beside what it reads.
    directory = run.directory / "regress"
    shutil.copytree(tree(), directory)
    for library in ("refint.so", "autoinc.so"):
        shutil.copy(LIBRARIES / library, directory)
    output = run.directory / "output"
    output.mkdir()
    if os.geteuid() == 0:
        os.chown(output, 65534, 65534)
    said = run.plain([*user, RUNNER, f"--bindir={binaries}", f"--inputdir={directory}", f"--outputdir={output}", f"--dlpath={directory}",
                      f"--schedule={directory}/parallel_schedule", "--max-concurrent-tests=20", *client], check=False, timeout=900).decode()
    verdicts = re.findall(r"^(?:test| ) +(\S+) +\.\.\. (.*?) +\d+ ms$", said, re.MULTILINE)
    wrong = [name for name, verdict in verdicts if verdict != "ok"]
    if wrong or f"All {len(verdicts)} tests passed" not in said:
        differences = run.text(output / "regression.diffs")
        raise RuntimeError(f"of {len(verdicts)} tests, other answers: {' '.join(wrong)}\n{differences[:2000] or said[-600:]}")
    return [f"{name} {verdict}" for name, verdict in verdicts]
