"""The lease: of several controllers one runs a rollout, until it lets go or falls silent."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from embridge.errors import EmbridgeError, StoreError
from embridge.stores.documents import Documents

__all__ = ["Lease", "current_holder", "is_gone", "this_process"]

_NAME = "lease"
_LOOKS = 12


@dataclass(slots=True, eq=False)
class Lease:
    """The right of one controller, in a document beside the rows.

    It ends unless it is renewed. A thread does that for as long as the controller holds it, however long a batch takes.
    Whoever held it and was silent for too long, such as a laptop that slept, finds another's document when it renews, and
    stops: so a clock that is wrong costs a pause, not a row. A lease that ends later than any right clock could say is
    watched instead: whoever does not renew it in its time has ended.

    Attributes:
        documents: Of the store.
        holder: A name of the controller, unique to its process, as `this_process` gives it.
        seconds: For how long it holds without being renewed.
        clock: Gives Unix time.
        wait: Waits for some seconds.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> documents = MemoryDocuments()
        >>> with Lease(documents, "host:17") as lease:
        ...     lease.renew()
        True
    """

    documents: Documents
    holder: str
    seconds: float = 60.0
    clock: Callable[[], float] = time.time
    wait: Callable[[float], object] = time.sleep
    _written: dict[str, Any] | None = field(default=None, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)
    _ended: Event = field(default_factory=Event, init=False, repr=False)
    _thread: Thread | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> Lease:
        """Take it; raises `StoreError` where another holds it."""
        found = self.documents.read(_NAME)
        if found and _holds(found, self.clock()) and not self._fell_silent(found):
            left = min(found["until_seconds"] - self.clock(), self.seconds)
            raise StoreError(
                f"{found['holder']} runs this rollout, and holds it for {left:.0f} more seconds; wait until it ends, or "
                "pause it there"
            )
        if not self._write(found, self.holder):
            raise StoreError("another controller began at the same moment; wait until it ends")
        self._ended.clear()
        self._thread = Thread(target=self._keep, name="embridge lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go; what is another's by now is left alone, and what cannot be written ends by itself."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(EmbridgeError):
            self._write(self._written, "")

    def renew(self) -> bool:
        """Hold it for longer, where a third of the time has passed; False where it is another's by now."""
        with self._lock:
            assert self._written is not None
            if 2 / 3 * self.seconds < self._written["until_seconds"] - self.clock() <= self.seconds:
                return self.documents.read(_NAME) == self._written
            return self._write(self._written, self.holder)

    def _fell_silent(self, lease: Mapping[str, Any]) -> bool:
        """Whether one that no right clock could have written is not renewed either."""
        if lease["until_seconds"] - self.clock() <= 2 * self.seconds:
            return False
        for _ in range(_LOOKS):
            self.wait(self.seconds / _LOOKS)
            if self.documents.read(_NAME) != lease:
                return False
        return True

    def _keep(self) -> None:
        """Renew until it is let go, or is another's."""
        while not self._ended.wait(self.seconds / 6):
            with suppress(Exception):  # a lost connection comes back; what does not, the controller meets itself
                if not self.renew():
                    return

    def _write(self, expected: dict[str, Any] | None, holder: str) -> bool:
        new = {"holder": holder, "until_seconds": self.clock() + self.seconds}
        if not self.documents.swap(_NAME, expected, new):
            return False
        self._written = new
        return True


def current_holder(documents: Documents) -> str:
    """Which controller runs the rollout now.

    Args:
        documents: Of the store.

    Returns:
        Its name; empty where none does.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> documents = MemoryDocuments()
        >>> with Lease(documents, "host:17"):
        ...     current_holder(documents)
        'host:17'
        >>> current_holder(documents)
        ''
    """
    found = documents.read(_NAME)
    return found["holder"] if found and _holds(found, time.time()) else ""


def this_process() -> str:
    """A name of this process, to tell controllers apart.

    Returns:
        Host, a mark of its boot and of the container where there is one, and process id.

    Examples:
        >>> this_process().endswith(str(os.getpid()))
        True
    """
    return f"{_place()}:{os.getpid()}"


def is_gone(holder: str) -> bool:
    """Whether a holder was a process of this machine, and has ended; it fell silent for good then.

    Args:
        holder: As `this_process` names it.

    Returns:
        False where that cannot be told.

    Examples:
        >>> is_gone(this_process())
        False
    """
    place, _, number = holder.rpartition(":")
    if os.name != "posix" or place != _place() or not number.isdigit():
        return False  # elsewhere the question would be a signal
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def may_be_gone(holder: str) -> bool:
    """Whether a holder has ended, or was of a machine of this name that was started anew, or of another container.

    Args:
        holder: As `this_process` names it.

    Returns:
        False for a process that runs here, and where nothing speaks for its end.

    Examples:
        >>> may_be_gone(this_process())
        False
    """
    place = holder.rpartition(":")[0]
    return is_gone(holder) or (place != _place() and place.rpartition("-")[0] == socket.gethostname())


def _place() -> str:
    """Where process ids are of the same processes: hosts and containers may share a name."""
    try:
        namespace = Path("/proc/self/ns/pid").readlink()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except (OSError, ValueError):  # no Linux
        return socket.gethostname()
    return f"{socket.gethostname()}-{sha256(f'{boot}{namespace}'.encode()).hexdigest()[:6]}"


def _holds(lease: Mapping[str, Any], now: float) -> bool:
    """Whether it is held; one that was damaged is not, and whoever wrote it stops when it is renewed."""
    holder, until = lease.get("holder"), lease.get("until_seconds")
    if not isinstance(holder, str) or not isinstance(until, int | float):
        return False
    return bool(holder) and until > now and not is_gone(holder)
