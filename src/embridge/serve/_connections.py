"""Connections that send nothing, drip their headers, or read no answer are closed: each would hold a place for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["GuardedProtocol"]


class GuardedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """The server's HTTP protocol, with times until the headers of a request have come, and until its answer is read: the
    application's limits."""

    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing pauses whenever something is left to be read
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.app.limits.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._forget_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._forget_unread()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self._answering():
            self._forget()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self.app.limits.header_seconds, self._close)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _close(self) -> None:
        self._waiting = None
        if not self._answering():
            self.transport.close()
