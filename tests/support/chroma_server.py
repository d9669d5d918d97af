"""A Chroma server of this process alone, from Chroma's wheel: on a free port, in a folder of its own, gone with the process."""

import ctypes
import signal
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest
from failing_server import free_port

_DEADLINE_SECONDS = 60


class ChromaServer:
    """``url(collection)`` is a store's; ``restart`` and ``stop`` are those of a clumsy administrator."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.start()

    def start(self):
        words = ["chroma", "run", "--path", str(self.folder / "data"), "--host", "127.0.0.1", "--port", str(self.port)]
        command = [sys.executable, "-c", f"import chromadb_rust_bindings as chroma; chroma.cli({words!r})"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_ends_with_us
            )
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2_000:])
            time.sleep(0.02)

    def answers(self):
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/api/v2/heartbeat") as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self):
        """By its own pid."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(_DEADLINE_SECONDS)

    def restart(self):
        self.stop()
        self.start()

    def url(self, collection):
        return f"chroma:http://127.0.0.1:{self.port}/{collection}"


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory):
    """Skipped, visibly, where Chroma's wheel carries no server that runs here."""
    pytest.importorskip("chromadb", reason="chromadb is not installed")
    try:
        server = ChromaServer(tmp_path_factory.mktemp("chroma"))
    except (OSError, RuntimeError) as error:
        pytest.skip(f"no Chroma server runs here: {error}")
    yield server
    server.stop()


def _ends_with_us():
    """The server gets a signal when the tests' process dies, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
