"""Commands of the command line in processes of their own, without the seconds that each takes to import torch.

One process imports what is slow and waits; each command is a fork of it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path

import pytest

PRELOADED = (
    "embridge.cli",
    "torch",
    "transformers.models.clip.modeling_clip",
    "peft",
    "lightning.pytorch",
    "PIL.Image",
)


class Command:
    """A running command; like `subprocess.Popen`, with its output in files."""

    def __init__(self, server, pid, folder):
        self.server, self.pid, self.folder, self.returncode = server, pid, folder, None

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def poll(self):
        if self.returncode is None:
            self.returncode = self.server.ask({"poll": self.pid})
        return self.returncode

    def communicate(self):
        """Wait for its end; its output and its messages, as text."""
        if self.returncode is None:
            self.returncode = self.server.ask({"wait": self.pid})
        return (self.folder / "stdout").read_text(), self.stderr

    @property
    def stderr(self):
        return (self.folder / "stderr").read_text()


class WarmCommands:
    """The waiting process, as those see it that ask it for commands."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"EMBRIDGE_CHECK_SHAPES": ""},
        )

    def ask(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, *arguments):
        """Start a command in the folder that we are in."""
        folder = Path(tempfile.mkdtemp())
        for name in ("stdout", "stderr"):
            (folder / name).touch()
        message = {"arguments": [*map(str, arguments)], "cwd": str(Path.cwd()), "output": str(folder)}
        return Command(self, self.ask(message), folder)

    def run(self, *arguments):
        """Run a command to its end."""
        command = self.start(*arguments)
        command.communicate()
        return command

    def close(self):
        self.process.communicate("")


@pytest.fixture(scope="session")
def warm_commands():
    commands = WarmCommands()
    yield commands
    commands.close()


def serve():
    """Fork a command for each line of stdin that names one; answer for those that ask how one ended."""
    for name in PRELOADED:
        import_module(name)
    for line in sys.stdin:
        message = json.loads(line)
        if "arguments" in message:
            answer = os.fork() or become(message)
        else:
            ((kind, pid),) = message.items()
            ended, status = os.waitpid(pid, os.WNOHANG if kind == "poll" else 0)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        print(json.dumps(answer), flush=True)


def become(message):
    """Run the command in place of this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(message["cwd"])
    for stream, name in enumerate((os.devnull, "stdout", "stderr")):
        path = Path(message["output"], name) if stream else name
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
    sys.argv = ["embridge", *message["arguments"]]
    code = 1
    try:
        import_module("embridge.cli").main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


if __name__ == "__main__":
    serve()
