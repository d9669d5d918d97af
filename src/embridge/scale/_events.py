"""What a worker says: it is ready, a shard is done or failed, or the worker's end has come."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embridge.errors import WorkerError

__all__ = ["Died", "Done", "Event", "Failed", "Ready", "attempt", "prepared"]

_NO_MEMORY = ("can't allocate memory", "out of memory")


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has loaded what it needs."""


@dataclass(frozen=True, slots=True)
class Done:
    """Its first shard is done."""

    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """What its first shard, or its preparation, raised."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Died:
    """The worker has ended, or must.

    how: In what way. memory: Whether it found no memory, or may have been ended for want of it.
    """

    how: str
    memory: bool = False


Event = Ready | Done | Failed | Died


def prepared(prepare: Callable[[], Callable[[Any], Any]]) -> tuple[Callable[[Any], Any] | None, Event]:
    """The function of a shard, and what to say of it."""
    event = attempt(lambda _: prepare(), None)
    return (event.result, Ready()) if isinstance(event, Done) else (None, event)


def attempt(function: Callable[[Any], Any], shard: Any) -> Event:
    """Do a shard. One that finds no memory ends the worker: another one has more, or its own again."""
    try:
        return Done(function(shard))
    except Exception as error:
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
            return Died(f"out of memory: {type(error).__name__} {error}".strip(), memory=True)
        return Failed(_portable(error))


def _portable(error: Exception) -> Exception:
    """An error that can be sent, with the place where it was raised."""
    error.add_note("In a worker: " + "".join(traceback.format_exception(error)).strip())
    error.__cause__ = error.__context__ = error.__traceback__ = None
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        return WorkerError(f"{type(error).__name__}: {error}")
    return error
