"""Connections that send nothing, or drip their headers, are closed: each would hold a place for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["GuardedProtocol"]


class GuardedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """The server's HTTP protocol, with a time until the headers of a request have come: the application's limit."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
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

    def _close(self) -> None:
        self._waiting = None
        if not self._answering():
            self.transport.close()
