"""What stands before the routes: keys, the host's name, the size of a body, and the time that a request may take."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from embridge.serve._errors import Refusal, error_body, refusal_of
from embridge.serve._keys import Keys
from embridge.serve._metrics import Metrics
from embridge.settings.serve import LimitSettings, is_loopback

__all__ = ["Entrance"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = frozenset({"/health", "/ready"})
_PAGES = frozenset({"/", "/docs"})
_SINGLE = (b"authorization", b"content-encoding", b"content-length", b"content-type", b"host", b"origin")
_LINGER_SECONDS = 2.0
_DIGITS = 18  # of a length that can be meant
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)


@dataclass(frozen=True, slots=True, eq=False)
class Entrance:
    """An ASGI application around another, that refuses what must not get in.

    Attributes:
        app: The application.
        keys: Of which a request has to bring one, health and pages without data aside.
        limits: On body and time.
        metrics: Where requests are counted.
        local: Whether it serves this machine alone; then a request has to name this machine as its host, or a page of
            another site could reach it by a name of its own.

    Examples:
        >>> [name for name in Entrance.__slots__][:2]
        ['app', 'keys']
    """

    app: ASGIApp
    keys: Keys
    limits: LimitSettings
    metrics: Metrics
    local: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive, self.limits.body_bytes)
        answer = _Answer(send, body)
        began = time.perf_counter()
        try:
            self._require_admission(scope)
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, body.receive, answer.send)
            if body.over:
                await answer.refuse(self._too_large())
        except TimeoutError:
            await answer.refuse(self._too_slow(body))
        except Refusal as refusal:
            await answer.refuse(refusal)
        except Exception as error:  # logged and answered; whoever gets it next would log its text
            if not answer.begun:
                await answer.refuse(refusal_of(error))
        finally:
            self.metrics.count_request(_route(scope), scope["method"], answer.status, time.perf_counter() - began)

    async def refuse_one_more(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of a connection that is one too many; see ASGI."""
        answer = _Answer(send, _Body(receive, 0))
        message = f"{self.limits.connections:,} connections are open, and no more may be; try again soon"
        await answer.refuse(Refusal(503, message, code="overloaded", Retry_After="1"))
        self.metrics.count_request("none", scope["method"], answer.status, 0.0)

    def _too_slow(self, body: _Body) -> Refusal:
        if body.missing:
            return Refusal(408, f"the body did not come within {self.limits.seconds:g} s", code="timeout")
        return Refusal(503, f"the request took longer than {self.limits.seconds:g} s", code="timeout", Retry_After="1")

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the request is larger than {self.limits.body_bytes:,} bytes", code="too_large")

    def _require_admission(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):
            _require_once(name for name, _ in scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self.local and not _is_this_machine(host):
            raise Refusal(403, "this server answers requests to localhost alone", code="wrong_host")
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if self.local and origin and not _is_this_machine(origin.partition("://")[2]):
            raise Refusal(403, "this server answers no page of another site", code="wrong_origin")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > _DIGITS or int(length) > self.limits.body_bytes):
            raise self._too_large()
        free = scope["path"] in _OPEN or (scope["path"] in _PAGES or scope["path"].startswith("/assets/"))
        authorization = headers.get(b"authorization")
        if not free and not self.keys.admit(None if authorization is None else authorization.decode("latin-1")):
            came = "a wrong one" if authorization else "none"
            raise Refusal(
                401,
                f"this server wants a key, in the header Authorization as Bearer KEY; came {came}",
                code="invalid_api_key",
                WWW_Authenticate="Bearer",
            )


class _Body:
    """What comes in; knows whether it was more than it may be."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self._receive, self._left = receive, most_bytes
        self.over = self.missing = self._ended = False

    async def receive(self) -> MutableMapping[str, Any]:
        self.missing = True
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        self.missing = message.get("more_body", False)
        self._ended = not self.missing
        if self._left < 0:
            self.over = True
            raise Refusal(413, "the body is too large")  # whoever reads it may answer as it likes: see `_Answer`
        return message

    async def drop(self) -> None:
        """Let what is left of it come, for a while: a client that is still sending reads no answer, and then finds none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self._ended:
                    self._ended = not (await self._receive()).get("more_body", False)


class _Answer:
    """What goes out; knows whether an answer has begun. What is said of half a body is kept back."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send, self._body, self.status, self.begun = send, body, 499, False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if self._body.over and not self.begun:
            return
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            message["headers"] = [*message.get("headers", ()), *_SECURITY]
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        if self.begun:  # too late to say anything: the server ends a connection whose answer is not whole
            return
        await self._body.drop()
        body = error_body(refusal)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in refusal.headers.items()),
        ]
        if refusal.status in (400, 401, 403, 408, 413, 503):  # a body may still be on its way, and is not read
            headers.append((b"connection", b"close"))
        self.begun, self.status = True, refusal.status
        await self._send({"type": "http.response.start", "status": refusal.status, "headers": [*headers, *_SECURITY]})
        await self._send({"type": "http.response.body", "body": body})


def _require_once(names: Iterable[bytes]) -> None:
    """Refuse a request that says twice what can be but one: who stands before this server may have read the other one."""
    counts = Counter(names)
    for name in _SINGLE:
        if counts[name] > 1:
            raise Refusal(400, f"the header {name.decode()} came {counts[name]} times", code="repeated_header")


@lru_cache(maxsize=16)  # clients name the same host with every request
def _is_this_machine(host: str) -> bool:
    """Whether a host, perhaps with a port, is this machine by a name that nobody else can give to it.

    >>> [_is_this_machine(host) for host in ("localhost:80", "127.0.0.2", "[::1]:80", "evil.example", "")]
    [True, True, True, False, False]
    """
    name, bracket, _ = host.removeprefix("[").partition("]")
    return is_loopback(name if bracket else host.partition(":")[0])


def _route(scope: Scope) -> str:
    """The route's pattern: one that is not there is counted as such, or anybody could make new series."""
    route = scope.get("route")
    return getattr(route, "path", "none")
