"""Connections that send nothing, drip their headers, send no end of them, or read no answer are closed: each would hold a place
or memory for ever."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from embridge.serve._errors import Refusal, error_body

__all__ = ["GuardedProtocol"]

_HEAD_BYTES = 64 * 1024


class GuardedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """The server's HTTP protocol, with times until the headers of a request have come, and until its answer is read: the
    application's limits. What it refuses itself, it says in the shape of all errors."""

    app: Any
    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _head = 0  # bytes since a request ended, of one whose headers have not come yet

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing pauses whenever something is left to be read
        self._limits = self.app.limits
        if len(self.connections) > self._limits.connections:
            self.app = self.app.refuse_one_more
        self._watch()

    def data_received(self, data: bytes) -> None:
        cycle, in_body = self.cycle, self._answering() and self.cycle.more_body
        super().data_received(data)
        self._head = 0 if in_body or self.cycle is not cycle else self._head + len(data)
        if self._head > _HEAD_BYTES:
            self._refuse(Refusal(431, f"the headers are larger than {_HEAD_BYTES:,} bytes", code="too_large"))
        else:
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(Refusal(400, "this is no HTTP request that can be read", code="no_http"))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._forget_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._forget_unread()
        super().connection_lost(exc)

    def _refuse(self, refusal: Refusal) -> None:
        """Say why, unless an answer has begun, and close."""
        if not (self._answering() and self.cycle.response_started):
            body, phrase = error_body(refusal), HTTPStatus(refusal.status).phrase
            head = (
                f"HTTP/1.1 {refusal.status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
            )
            self.transport.write(f"{head}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()

    def _watch(self) -> None:
        if self._answering():
            self._forget()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self._limits.header_seconds, self._close)

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
