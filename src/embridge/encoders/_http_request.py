"""One request to a service: answered as a whole within its seconds and its bytes, or a `Failure` that says why not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from embridge.encoders._http_name import without_secrets
from embridge.errors import SettingsError, require

__all__ = ["Answer", "Connection", "Failure"]

_REFUSAL_BYTES = 65_536
_EITHER_HEADER = 32 + zlib.MAX_WBITS  # gzip's or zlib's, whichever there is


class Failure(Exception):
    """There is no answer that can be used.

    Attributes:
        again: Whether another try may help.
        pause_seconds: What the service asks to wait; None where it asks for nothing.
    """

    def __init__(self, reason: str, *, again: bool, pause_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.again, self.pause_seconds = again, pause_seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the content of a refusal is empty where it is long."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Connection:
    """Sends requests, each in a thread of its own.

    So its deadline holds wherever it hangs: looking up a name, headers or a body that drip. A redirect is not followed: the
    key goes to the host that was named and to no other.
    """

    def __init__(self, key: str | None) -> None:
        self._httpx = require("httpx", extra="http")
        self._headers = {"Accept-Encoding": "gzip", "Content-Type": "application/json"}
        self._headers |= {} if key is None else {"Authorization": f"Bearer {key}"}
        self._client = self._opened()

    def post(self, url: str, content: bytes, *, seconds: float, limit_bytes: int) -> Answer:
        """Send it and wait; raises `Failure`."""
        outcome: SimpleQueue[Answer | BaseException] = SimpleQueue()

        def exchange() -> None:
            try:
                outcome.put(self._exchange(url, content, seconds, limit_bytes))
            except BaseException as error:
                outcome.put(error)

        Thread(target=exchange, daemon=True).start()
        try:
            result = outcome.get(timeout=seconds)
        except BaseException as error:  # the time is over, or the user has interrupted
            self._client.close()
            self._client = self._opened()
            if isinstance(error, Empty):
                raise _too_late(seconds) from None
            raise
        if isinstance(result, BaseException):
            raise result
        return result

    def _opened(self) -> Any:
        try:
            return self._httpx.Client(headers=self._headers, follow_redirects=False)
        except (ValueError, OSError, ImportError, self._httpx.InvalidURL) as error:
            raise SettingsError(
                "the proxy or the certificates that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, "
                f"SSL_CERT_FILE, SSL_CERT_DIR) cannot be used: {without_secrets(str(error))}"
            ) from error

    def _exchange(self, url: str, content: bytes, seconds: float, limit_bytes: int) -> Answer:
        try:
            with self._client.stream("POST", url, content=content, timeout=seconds) as response:
                headers, status = dict(response.headers), response.status_code
                if status == 200:
                    return Answer(status, headers, _body(response.iter_raw(), headers, limit_bytes))
                refusal = b""
                with contextlib.suppress(Failure):
                    refusal = _body(response.iter_raw(), headers, _REFUSAL_BYTES)
                return Answer(status, headers, refusal)
        except self._httpx.TimeoutException:
            raise _too_late(seconds) from None
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError, ValueError) as error:
            raise _failure(error, self._httpx) from None  # what it holds may repeat the key


def _body(parts: Iterator[bytes], headers: Mapping[str, str], limit: int) -> bytes:
    """The content, decompressed; neither form may be longer than the limit."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise Failure(f"an answer compressed as {encoding[:40]!r}, which was not asked for", again=False)
    raw = bytearray()
    for part in parts:
        raw += part
        if len(raw) > limit:
            raise _too_long(limit)
    if encoding in ("", "identity"):
        return bytes(raw)
    decoder = zlib.decompressobj(_EITHER_HEADER)
    try:
        content = decoder.decompress(raw, limit + 1)
    except zlib.error as error:
        raise Failure(f"an answer that cannot be decompressed ({error})", again=True) from error
    if len(content) > limit:
        raise _too_long(limit)
    if not decoder.eof or decoder.unused_data:
        raise Failure("a compressed answer that is cut off, or goes on after its end", again=True)
    return content


def _too_late(seconds: float) -> Failure:
    return Failure(f"no whole answer within {seconds:.3g} s", again=True)


def _too_long(limit: int) -> Failure:
    return Failure(
        f"an answer of more than {limit / 1e6:,.1f} MB, too long for so many vectors; a smaller batch_size may help",
        again=False,
    )


def _failure(error: BaseException, httpx: Any) -> Failure:
    """Why there is no answer, and whether to try again."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(
                f"a certificate that is not trusted ({cause.verify_message}); if it is right, have the environment variable "
                "SSL_CERT_FILE name a file with the certificate of its authority",
                again=False,
            )
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return Failure(f"no TLS ({cause.reason or cause}); does it speak http:// there?", again=False)
        if isinstance(cause, socket.gaierror):
            return Failure(
                f"no address of that host ({cause.strerror}); check its name", again=cause.errno == socket.EAI_AGAIN
            )
    refused = isinstance(error, httpx.ProxyError) and str(error).startswith("407")
    passing = isinstance(error, httpx.TransportError | OSError) and not refused
    final = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
    return Failure(f"{type(error).__name__}: {error}", again=passing and not final)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
