"""How a command ends: whatever it raises becomes one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator

import typer

from embridge._plain_text import one_line
from embridge.errors import EmbridgeError

__all__ = ["EXIT_CODES", "Terminated", "endings", "say_error"]

TRACEBACK_VARIABLE = "EMBRIDGE_TRACEBACK"
EXIT_CODES = {"failed": 1, "interrupted": 128 + signal.SIGINT, "unread": 128 + 13, "terminated": 128 + signal.SIGTERM}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[
    2
]  # ClickException, which typer says at different places in its releases


class Terminated(KeyboardInterrupt):
    """SIGTERM came: whatever cleans up after Ctrl-C does so here too."""


@contextlib.contextmanager
def endings() -> Iterator[None]:
    """Within it, errors end the command; see the table of exit codes in ``docs/cli.md``."""
    with _terminated_as_interrupted():
        try:
            yield
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, _USAGE_ERROR):
            raise
        except BrokenPipeError:  # whoever read the output has gone, as head does
            _give_up_output()
            raise typer.Exit(EXIT_CODES["unread"]) from None
        except KeyboardInterrupt as error:
            word = "terminated" if isinstance(error, Terminated) else "interrupted"
            say_error(f"{word}: what was written before is whole; run the same command again", error)
            raise typer.Exit(EXIT_CODES[word]) from None
        except Exception as error:
            say_error(f"error: {_sentence(error)}", error)
            raise typer.Exit(error.exit_code if isinstance(error, EmbridgeError) else EXIT_CODES["failed"]) from None


def say_error(message: str, error: BaseException) -> None:
    """One line on stderr, after the traceback where the environment asks for it."""
    if os.environ.get(TRACEBACK_VARIABLE):
        typer.echo("".join(traceback.format_exception(error)), err=True)
    typer.echo(one_line(message), err=True)


def _sentence(error: Exception) -> str:
    if isinstance(error, EmbridgeError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None and error.errno in _FULL:  # of files, `atomic_file` names the one
            _give_up_output()
            return f"the output cannot be written: {error}"
        return str(error)
    if isinstance(error, MemoryError):
        return f"the memory is full{f' ({error})' if str(error) else ''}; use smaller batches or fewer items"
    return (
        f"{type(error).__name__}: {error} (this is a fault of embridge, please report it; with "
        f"{TRACEBACK_VARIABLE}=1 in the environment the same command shows where it lies)"
    )


def _give_up_output() -> None:
    """Let what is left in buffers go nowhere, or Python would complain once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would break into the cleaning up
    raise Terminated
