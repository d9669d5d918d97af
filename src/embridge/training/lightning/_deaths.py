"""What ends with the processes of a training: they with it, and it with them, in one line that says what happened."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException

from embridge.errors import EmbridgeError

__all__ = ["told_deaths"]

_KILLED = re.compile(r"DataLoader worker \(pid \d+\) is (killed by signal: [\w ]+)")
_AGAIN = "run the same again, which goes on from the last checkpoint where one is kept"


@contextmanager
def told_deaths(trainer: Any) -> Iterator[None]:
    """End the other processes with the block, however it ends; say in one line which of them died, and of what.

    Raises `EmbridgeError` for a process of the training, or one that loads data, that died or failed.
    """
    try:
        yield
    except ProcessExitedException as error:
        death = f"died by {_signal(error.signal_name)}" if error.signal_name else f"ended with {error.exit_code}"
        raise EmbridgeError(f"the training process {error.error_index} {death}; {_AGAIN}") from error
    except ProcessException as error:  # its traceback is in the message, and what was raised in its last line
        raise EmbridgeError(f"the training process {error.error_index} failed: {_last_line(error)}") from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        death = next(
            (f"was {found[1]}" for e in (error, error.__cause__) if (found := _KILLED.search(str(e)))),
            "ended too early",
        )
        raise EmbridgeError(f"a process that loads data {death}; {_AGAIN}") from error
    finally:
        launcher = trainer.strategy.launcher
        for process in launcher.procs if isinstance(launcher, _MultiProcessingLauncher) else ():
            process.kill()


def _signal(name: str) -> str:
    return f"{name} (signal {signal.Signals[name].value})" if name in signal.Signals.__members__ else name


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
