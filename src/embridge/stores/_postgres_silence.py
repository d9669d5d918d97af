"""Connections on which a server says nothing: they are given up where it does not answer anybody else either."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any, final

__all__ = ["Silence"]

_LOOK_SECONDS = 5.0


@final
class Silence:
    """Watches connections that are in use. A statement may take hours, as long as the server answers others.

    Args:
        answers: Asks the server on a connection of its own whether it is there, and waits for a few seconds at most.
        seconds: For how long it may answer nobody.
    """

    def __init__(self, answers: Callable[[], bool], seconds: float) -> None:
        self._answers, self._seconds = answers, seconds
        self._begin()

    def _begin(self) -> None:
        self._process, self._lock, self._closed = os.getpid(), Lock(), Event()
        self._thread: Thread | None = None
        self._heard: dict[int, tuple[Any, float]] = {}
        self.gave_up = False

    @contextmanager
    def watched(self, connection: Any) -> Iterator[None]:
        """Within, the connection is shut where the server has fallen silent."""
        if self._process != os.getpid():  # a fork: the thread is the parent's
            self._begin()
        with self._lock:
            self._heard[id(connection)] = (connection, time.monotonic())
            if self._thread is None:
                self._thread = Thread(target=self._watch, name="embridge silence", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._heard.pop(id(connection), None)

    def close(self) -> None:
        """Watch no longer."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            before = time.monotonic() - _LOOK_SECONDS
            if not any(heard <= before for _, heard in self._in_use()):
                continue
            if self._answers():
                with self._lock:
                    now = time.monotonic()
                    self._heard = {key: (connection, now) for key, (connection, _) in self._heard.items()}
            else:
                self._give_up()

    def _in_use(self) -> list[tuple[Any, float]]:
        with self._lock:
            return list(self._heard.values())

    def _give_up(self) -> None:
        """Shut connections that waited for too long; whoever waits there finds them lost."""
        with self._lock:
            for connection, heard in self._heard.values():
                if time.monotonic() - heard >= self._seconds:
                    self.gave_up = True
                    with suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as ours:
                        ours.shutdown(socket.SHUT_RDWR)
