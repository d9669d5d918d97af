"""Work in a process of its own that is killed at one of its changes to the file system: the same one each time.

The process is a fork, so that imports are done once; the work must not have threads of the parent's that it waits for.
"""

import os
import signal
import sys
import time
import warnings

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
    return os.waitstatus_to_exitcode(os.waitpid(_forked_quietly(work), 0)[1])


def _forked_quietly(work):
    """The id of a process of its own that does the work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that were imported, and have not begun anything
        process = os.fork()
    if process != 0:
        return process
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


class Calls:
    """Counts the function calls of this thread within it, and the seconds; at the call of a number, the process is killed."""

    def __init__(self, last=None):
        self.last, self.count, self.seconds = last, 0, 0.0

    def __enter__(self):
        self.seconds = -time.monotonic()
        sys.setprofile(self._happens)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)
        self.seconds += time.monotonic()

    def _happens(self, frame, event, argument):
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def child(work):
    """The text that the work gives in a process of its own, which must come to its end."""
    readable, writable = os.pipe()

    def told():
        os.close(readable)
        with os.fdopen(writable, "w") as pipe:
            pipe.write(work())

    process = _forked_quietly(told)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        text = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, "the work failed"
    return text


def killed_at_call(work, call):
    """Whether a process of its own was killed at that function call of the work, or had come to its end before."""

    def counted():
        with Calls(call):
            work()

    return _was_killed(_forked_quietly(counted))


def killed_at_moment(work, seconds):
    """Whether a process of its own was killed after so many seconds, wherever it was, or had come to its end before."""

    def timed():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process at once
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
        work()
        signal.setitimer(signal.ITIMER_REAL, 0)

    return _was_killed(_forked_quietly(timed))


def _was_killed(process):
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, -signal.SIGKILL, -signal.SIGALRM), "the work failed before it was killed"
    return code != 0
