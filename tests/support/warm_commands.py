"""Commands of the command line in processes of their own, without the seconds that each takes to import torch.

Each is a fork of the tests' process, which has imported what is slow. Nothing that relies on threads of the parent runs in
one, such as a LanceDB store.
"""

import os
import signal
import sys
import tempfile
import traceback
import warnings
from importlib import import_module
from pathlib import Path

import pytest


class Command:
    """A running command; like `subprocess.Popen`, with its output in files."""

    def __init__(self, pid, folder):
        self.pid, self.folder, self.returncode = pid, folder, None

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def poll(self, options=os.WNOHANG):
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def communicate(self):
        """Wait for its end; its output and its messages, as text."""
        self.poll(0)
        return (self.folder / "stdout").read_text(), self.stderr

    @property
    def stderr(self):
        return (self.folder / "stderr").read_text()


@pytest.fixture
def start():
    """Start the command line as a process of its own; it is gone when the test ends, however it ends."""
    started = []

    def begin(*arguments):
        folder = Path(tempfile.mkdtemp())
        for name in ("stdout", "stderr"):
            (folder / name).touch()
        import_module("embridge.cli")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries that were imported, and have not begun anything
            pid = os.fork() or become([*map(str, arguments)], folder)
        started.append(Command(pid, folder))
        return started[-1]

    yield begin
    for command in started:
        command.send_signal(signal.SIGKILL)
        command.communicate()


def become(arguments, folder):
    """Run the command in place of this process."""
    code = 1
    try:  # nothing of pytest may run in here
        signal.signal(signal.SIGINT, signal.default_int_handler)
        warnings.simplefilter("default", UserWarning)
        for stream, path in enumerate((os.devnull, folder / "stdout", folder / "stderr")):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, mode) for fd, mode in enumerate("rww"))
        sys.argv = ["embridge", *arguments]
        import_module("embridge.cli").main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
