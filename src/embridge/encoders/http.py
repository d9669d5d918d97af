"""Models behind HTTP: whatever serves the embeddings API that OpenAI's clients speak. Text alone."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import sleep
from typing import Any, ClassVar, Literal, final
from urllib.parse import urlsplit

import numpy as np

from embridge.adapters.base import normalized
from embridge.encoders.base import Modality, Role, require_items
from embridge.errors import ServiceError, SettingsError, require
from embridge.progress import Progress, silent
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["HttpEncoder", "Service"]

_NAME = re.compile(r"(?P<model>.+)@(?P<url>https?://\S+)")
_TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_SECONDS = 60.0
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Service:
    """How a model behind HTTP is asked.

    Attributes:
        key_variable: The environment variable that holds the key, sent as a bearer token and shown nowhere; no key where None.
        dim: Numbers in a vector, asked for with one request where None.
        revision: Of the model; the URL where None, since one name may mean other weights elsewhere.
        encoding: How numbers travel; both forms are read.
        tries: How often a request is sent at most.
        timeout_seconds: Of a request.
        pause_seconds: Before the second try.

    Examples:
        >>> Service(dim=384).tries
        6
    """

    key_variable: str | None = None
    dim: int | None = None
    revision: str | None = None
    encoding: Literal["base64", "float"] = "base64"
    tries: int = 6
    timeout_seconds: float = 60.0
    pause_seconds: float = 1.0


@final
class HttpEncoder:
    """A model behind HTTP, ``MODEL@URL``: texts are sent to ``URL/embeddings``, and come back as L2-normalised float32.

    Status 408, 429, 500, 502, 503 and 504, broken answers and lost connections are tried again, after ``pause_seconds``, twice
    that, and so on up to a minute, or after what Retry-After says. Needs the extra ``http``.

    Args:
        name: MODEL@URL.
        service: How it is asked. `embridge.encoders.load` takes its settings one by one.
        device: ``auto`` alone, since the model runs elsewhere.
        batch_size: Texts in a request.
        progress: Hears how many texts are done.

    Raises:
        SettingsError: A name, key or setting cannot be meant.
        ServiceError: The service refuses, stays silent, or answers with another number of vectors, another dim, or NaN.

    Examples:
        >>> HttpEncoder("mini@https://models.example/v1", service=Service(dim=384)).space.dim
        384
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({"text"})

    def __init__(
        self,
        name: str,
        *,
        service: Service | None = None,
        device: str = "auto",
        batch_size: int = 64,
        progress: Progress = silent,
    ) -> None:
        self._httpx = require("httpx", extra="http")
        self.model, self.url = _parsed(name)
        s = self.service = service or Service()
        if device != "auto" or min(batch_size, s.tries) < 1 or not s.timeout_seconds > 0 or s.pause_seconds < 0:
            raise SettingsError(
                f"http:{name}: batch_size, tries and timeout_seconds are above 0, and device is auto, since the model runs "
                f"elsewhere; came {batch_size}, {s.tries}, {s.timeout_seconds} and {device!r}"
            )
        self.batch_size, self.progress = batch_size, progress
        self._key = _key_of(s.key_variable)
        headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        self._client = self._httpx.Client(headers=headers, timeout=s.timeout_seconds)
        dim = self._request(["a"], None).shape[1] if s.dim is None else s.dim
        revision = self.url if s.revision is None else s.revision
        self.space = Space(self.model, revision, dim, recipe="l2-normalised; over HTTP")

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of texts (see `Encoder.encode`), alike in both roles."""
        require_items(items, self, modality)
        rows = []
        for start in range(0, len(items), self.batch_size):
            batch = [str(text) for text in items[start : start + self.batch_size]]
            rows.append(self._request(batch, self.space.dim))
            self.progress(start + len(batch), len(items), f"{self.model}: text")
        return normalized(np.concatenate(rows))

    def _request(self, texts: list[str], dim: int | None) -> np.ndarray:
        """One batch, tried again where that may help."""
        body = {"model": self.model, "input": texts, "encoding_format": self.service.encoding}
        for left in reversed(range(self.service.tries)):
            pause = min(self.service.pause_seconds * 2 ** (self.service.tries - 1 - left), _LONGEST_PAUSE_SECONDS)
            try:
                answer = self._client.post(f"{self.url}/embeddings", json=body)
                if answer.status_code == 200:
                    return self._vectors(answer.json(), len(texts), dim)
                said, again = self._refusal(answer), answer.status_code in _TRY_AGAIN
                pause = _retry_after(answer.headers.get("retry-after"), pause)
            except (self._httpx.TransportError, self._httpx.DecodingError) as error:
                said, again = self._hidden(f"{type(error).__name__}: {error}"), True
            except ValueError as error:  # what is no JSON, in most cases because it was cut off
                said, again = f"an answer that is no JSON ({error})", True
            if not again or not left:
                break
            if pause > _LONGEST_PAUSE_SECONDS:
                said += f", to be tried again in {pause:.0f} s"
                break
            sleep(pause)
        tried = f" after {self.service.tries - left} tries" if left < self.service.tries - 1 else ""
        raise ServiceError(f"{self.url}, model {self.model}: expected {len(texts)} vectors, came {said}{tried}")

    def _vectors(self, answer: Any, count: int, dim: int | None) -> np.ndarray:
        """The vectors in the order of what was sent, which only ``index`` says."""
        where = f"{self.url}, model {self.model}"
        try:
            by_index = {int(row["index"]): _numbers(row["embedding"]) for row in answer["data"]}
            came = len(answer["data"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServiceError(
                f"{where}: expected data with index and embedding, came something else ({error!r})"
            ) from error
        if sorted(by_index) != list(range(count)) or came != count:
            raise ServiceError(f"{where}: expected {count} vectors with index 0 to {count - 1}, came {came}")
        rows = [by_index[i] for i in range(count)]
        dim = len(rows[0]) if dim is None else dim
        wrong = next((i for i, row in enumerate(rows) if len(row) != dim or not dim), None)
        if wrong is not None:
            raise ServiceError(f"{where}: expected vectors of {dim} numbers, came {len(rows[wrong])} for text {wrong}")
        vectors = np.stack(rows)
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise ServiceError(f"{where}: expected finite numbers, came NaN or infinity for text {broken[0]}")
        return vectors

    def _refusal(self, answer: Any) -> str:
        """The status and what the service says of it, which may not repeat the key."""
        try:
            told = answer.json()["error"]
            told = told["message"] if isinstance(told, dict) else told
        except (ValueError, KeyError, TypeError):
            told = ""
        said = self._hidden(str(told))[:_SHOWN_CHARACTERS]
        return f"status {answer.status_code}" + (f" ({said})" if said else "")

    def _hidden(self, text: str) -> str:
        return text if self._key is None else text.replace(self._key, "***")


def _parsed(name: str) -> tuple[str, str]:
    """Model and URL; a URL that may carry a secret is refused, since names are written into upgrades."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise SettingsError(f"an encoder behind HTTP is named http:MODEL@https://HOST/v1; came {f'http:{name}'!r}")
    url = urlsplit(found["url"])
    try:
        usual = url.port != 0 and url.hostname
    except ValueError:  # a port that is no number, or too large a one
        usual = False
    if url.username or url.password or url.query or url.fragment or not usual:
        raise SettingsError(
            f"http:{found['model']}@…: the URL is a host and a path, without user, password, query or fragment; a key is "
            "read from the environment variable that key_variable names"
        )
    return found["model"], found["url"].rstrip("/")


def _key_of(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SettingsError(f"the environment variable {variable}, which is to hold the key of the service, is not set")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(
            f"the environment variable {variable} holds no key: there are characters in it that keys lack"
        )
    return key


def _numbers(embedding: Any) -> np.ndarray:
    if not isinstance(embedding, str):
        with np.errstate(over="ignore"):  # becomes infinity, which is refused
            return np.array(embedding, np.float32).reshape(-1)
    try:
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float32)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from error


def _retry_after(said: str | None, pause: float) -> float:
    """The seconds that a service asks for, as a number or a date; else our own."""
    if not said:
        return pause
    if said.strip().isdecimal():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return pause
