"""Fetching what is at addresses: a few at once, each within its seconds and bytes, on the host that was named."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any
from urllib.parse import urljoin

from embridge.errors import SettingsError, require
from embridge.items._urls import same_host
from embridge.items.missing import MissingItem

__all__ = ["fetched"]

_AT_ONCE, _REDIRECTS, _TRIES = 8, 5, 2
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_SECONDS = 30.0
_MOST_BYTES = 32_000_000


def fetched(
    urls: Sequence[str], *, seconds: float = _SECONDS, limit_bytes: int = _MOST_BYTES
) -> list[bytes | MissingItem]:
    """What each address answers, or why it could not be had.

    Each is asked in a thread of its own, a few at once: so the seconds hold wherever one hangs, looking up a name too.
    """
    answers: list[bytes | MissingItem] = [MissingItem(f"no whole answer within {seconds:g} s") for _ in urls]
    if not urls:
        return answers
    client = _opened()
    left, outcomes = iter(range(len(urls))), SimpleQueue[tuple[int, bytes | MissingItem]]()
    began: dict[int, float] = {}

    def start() -> None:
        number = next(left, None)
        if number is not None:
            began[number] = monotonic()
            work = (client, urls[number], seconds, limit_bytes)
            threading.Thread(target=lambda: outcomes.put((number, _answer(*work))), daemon=True).start()

    for _ in range(_AT_ONCE):
        start()
    while began:
        try:
            wait = min(began.values()) + seconds - monotonic()
            number, answer = outcomes.get(timeout=max(wait, 0.001))
        except Empty:
            number, answer = min(began, key=began.__getitem__), None
        if began.pop(number, None) is not None:
            answers[number] = answers[number] if answer is None else answer
            start()
    client.close()
    return answers


def _opened() -> Any:
    httpx = require("httpx", extra="http")
    try:
        return httpx.Client(headers={"Accept-Encoding": "identity"}, follow_redirects=False)
    except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
        raise SettingsError(
            "the proxy or the certificates that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE, "
            "SSL_CERT_DIR) cannot be used"
        ) from error


def _answer(client: Any, url: str, seconds: float, limit_bytes: int) -> bytes | MissingItem:
    deadline = monotonic() + seconds
    reason = MissingItem(f"no whole answer within {seconds:g} s")
    for _ in range(_TRIES):
        try:
            return _followed(client, url, deadline, limit_bytes)
        except MissingItem as refusal:
            return refusal
        except Exception as error:  # whatever the network or a strange answer raises
            reason = MissingItem(str(error) if isinstance(error, _Passing) else f"{type(error).__name__}: {error}")
        if monotonic() > deadline:
            break
    return reason


class _Passing(Exception):
    """A refusal that another try may not meet."""


def _followed(client: Any, url: str, deadline: float, limit_bytes: int) -> bytes:
    for _ in range(_REDIRECTS + 1):
        with client.stream("GET", url, timeout=max(deadline - monotonic(), 0.01)) as response:
            target = response.headers.get("location", "") if response.is_redirect else ""
            if not target:
                return _content(response, deadline, limit_bytes)
            following = urljoin(url, target)
            if not same_host(url, following):
                raise MissingItem("it is redirected to another host, which is not followed")
            url = following
    raise MissingItem(f"it is redirected more than {_REDIRECTS} times")


def _content(response: Any, deadline: float, limit_bytes: int) -> bytes:
    if response.status_code != 200:
        refusal = f"status {response.status_code}"
        raise _Passing(refusal) if response.status_code in _TRY_AGAIN else MissingItem(refusal)
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise MissingItem("an answer that is compressed, which was not asked for")
    content = bytearray()
    for part in response.iter_raw():
        content += part
        if len(content) > limit_bytes:
            raise MissingItem(f"an answer of more than {limit_bytes / 1e6:g} MB")
        if monotonic() > deadline:
            raise MissingItem("the answer takes too long")
    return bytes(content)
