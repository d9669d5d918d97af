"""Lightning without its chatter: nothing is printed, and an interruption stays one."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.warnings import PossibleUserWarning

__all__ = ["quiet_lightning"]

_LOGS = ("lightning.pytorch", "lightning.fabric")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's notes on hardware, workers and limits in a block; ``KeyboardInterrupt`` comes out as itself.

    Lightning turns an interruption into ``SystemExit`` and ignores further ones from then on; both are undone.

    Yields:
        Nothing.

    Examples:
        >>> with quiet_lightning():
        ...     pass
    """
    levels = {name: logging.getLogger(name).level for name in _LOGS}
    handler = signal.getsignal(signal.SIGINT)
    for name in _LOGS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (PossibleUserWarning, FutureWarning):  # the second: between Lightning and torch
                warnings.filterwarnings("ignore", category=category)
            yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None  # it may be a kind of its own, such as that of SIGTERM
        raise
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGINT, handler)
