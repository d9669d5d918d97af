"""Work in a process of its own that is killed at one of its changes to the file system: the same one each time.

The process is a fork, so that imports are done once; the work must not have threads of the parent's that it waits for.
"""

import os
import signal
import sys

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def changes_of(work, folder):
    """How many changes below the folder the work makes until its end."""
    readable, writable = os.pipe()
    if _forked(work, folder, None, writable) != 0:
        raise AssertionError("the work fails without being killed")
    os.close(writable)
    with os.fdopen(readable) as pipe:
        return int(pipe.read())


def killed(work, folder, change):
    """Whether the process was killed at that change, counted from 0, or had come to its end before."""
    code = _forked(work, folder, change)
    assert code in (0, -signal.SIGKILL), "the work failed before it was killed"
    return code != 0


def ended(work, folder):
    """The work to its end, in a process of its own."""
    assert _forked(work, folder, None) == 0, "the work failed"


def _forked(work, folder, change, result=None):
    def counted():
        changes = _Changes(str(folder), change)
        sys.addaudithook(changes)
        work()
        if result is not None:
            os.write(result, str(changes.count).encode())

    return exit_code(counted)


def exit_code(work):
    """How a process of its own ends that does the work: 0, or minus the signal that killed it."""
    child = os.fork()
    if child != 0:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:  # nothing of pytest may run in here
        work()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


class _Changes:
    def __init__(self, folder, last):
        self.folder, self.last, self.count = folder, last, 0

    def __call__(self, event, arguments):
        if event != "open" and event not in _CHANGES:
            return
        path = os.fspath(arguments[0]) if isinstance(arguments[0], str | os.PathLike) else ""
        if not str(path).startswith(self.folder) or (event == "open" and not arguments[2] & _WRITING):
            return
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
