"""Models behind HTTP: whatever serves the embeddings API that OpenAI's clients speak. Text alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from time import monotonic, sleep
from typing import Any, ClassVar, Literal, final, get_args

import numpy as np

from embridge.adapters.base import normalized
from embridge.encoders._http_name import parsed_name, without_secrets
from embridge.encoders._http_request import Answer, Connection, Failure
from embridge.encoders._http_vectors import NoVectors, answer_object, error_text, longest_answer, vectors_of
from embridge.encoders.base import Modality, Role, require_items
from embridge.errors import InvalidInput, ServiceError, SettingsError
from embridge.progress import Progress, silent
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["HttpEncoder", "Service"]

_TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_SECONDS = 60.0
_SHOWN_CHARACTERS = 200
_Encoding = Literal["base64", "float"]


@dataclass(frozen=True, slots=True)
class Service:
    """How a model behind HTTP is asked.

    Attributes:
        key_variable: The environment variable that holds the key, sent as a bearer token and shown nowhere; no key where None.
        dim: Numbers in a vector, sent as ``dimensions``; a service that takes none has to make that many by itself. Where
            None, one request asks for the model's own length.
        revision: Of the model; the URL where None, since one name may mean other weights elsewhere.
        encoding: How numbers travel; lists of numbers are read in either case.
        device: ``auto`` alone, since the model runs elsewhere.
        tries: How often a request is sent at most.
        timeout_seconds: Of one try, from looking up the host to the answer's last byte.
        deadline_seconds: Of all tries of a request together, with the pauses between them.
        pause_seconds: Before the second try.

    Examples:
        >>> Service(dim=384).tries
        6
    """

    key_variable: str | None = None
    dim: int | None = None
    revision: str | None = None
    encoding: _Encoding = "base64"
    device: str = "auto"
    tries: int = 6
    timeout_seconds: float = 60.0
    deadline_seconds: float = 600.0
    pause_seconds: float = 1.0


@final
class HttpEncoder:
    """A model behind HTTP, ``MODEL@URL``: texts are sent to ``URL/embeddings``, and come back as L2-normalised float32.

    Status 408, 429, 500, 502, 503 and 504, broken answers and lost connections are tried again, after ``pause_seconds``, twice
    that, and so on up to a minute, or after what Retry-After says, until ``deadline_seconds`` are over. Redirects are not
    followed. Needs the extra ``http``.

    Args:
        name: MODEL@URL.
        service: How it is asked. `embridge.encoders.load` takes its settings one by one.
        query_prompt: What stands before every query; it is part of the space's recipe.
        document_prompt: What stands before every document, likewise.
        batch_size: Texts in a request.
        progress: Hears how many texts are done.

    Raises:
        SettingsError: A name, key or setting cannot be meant.
        ServiceError: The service refuses, stays silent, or answers with anything but one vector of numbers for each text.

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
        query_prompt: str = "",
        document_prompt: str = "",
        batch_size: int = 64,
        progress: Progress = silent,
    ) -> None:
        self.model, self.url = parsed_name(name)
        s = self.service = service or Service()
        _require_possible(name, s, batch_size)
        self.batch_size, self.progress = batch_size, progress
        self._prompts: dict[Role, str] = {"query": query_prompt, "document": document_prompt}
        self._key = _key_of(s.key_variable)
        self._connection = Connection(self._key)
        self._without_dimensions = ""
        dim = self._vectors(["a"], None, "float").shape[1] if s.dim is None else s.dim
        revision = self.url if s.revision is None else s.revision
        parts = [f"{role} prompt {prompt!r}" for role, prompt in self._prompts.items() if prompt]
        self.space = Space(self.model, revision, dim, recipe="; ".join(["l2-normalised", "over HTTP", *parts]))

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of texts (see `Encoder.encode`), each with the prompt of its role before it."""
        require_items(items, self, modality)
        rows = []
        for start in range(0, len(items), self.batch_size):
            batch = [f"{self._prompts[role]}{text}" for text in items[start : start + self.batch_size]]
            rows.append(self._vectors(batch, self.space.dim, self.service.encoding, first=start))
            self.progress(start + len(batch), len(items), f"{self.model}: text")
        return normalized(np.concatenate(rows))

    def _vectors(self, texts: list[str], dim: int | None, encoding: str, *, first: int = 0) -> np.ndarray:
        """The vectors of one batch, whose first text is that number of all."""
        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": encoding}
        if self.service.dim is not None and not self._without_dimensions:
            body["dimensions"] = dim
        limit = longest_answer(len(texts), dim)
        try:
            answer = self._tried(_encoded(body, first), limit)
            return vectors_of(answer, len(texts), dim=dim, as_base64=encoding == "base64", first=first)
        except Failure as failure:
            if "dimensions" in body and _names_dimensions(failure):
                self._without_dimensions = str(failure)
                return self._vectors(texts, dim, encoding, first=first)
            raise ServiceError(self._message(len(texts), failure)) from None  # the cause may repeat the key
        except NoVectors as error:
            raise ServiceError(self._message(len(texts), error)) from None

    def _message(self, count: int, error: Exception) -> str:
        without = f"; it takes no dimensions: {self._without_dimensions}" if self._without_dimensions else ""
        reason = without_secrets(f"{error}{without}", self._key)
        return f"{self.url}, model {self.model}: expected {count} vectors, came {reason}"

    def _tried(self, content: bytes, limit_bytes: int) -> dict[str, Any]:
        """What the service answers, asked again where that may help and there is time."""
        s, began = self.service, monotonic()
        for number in range(s.tries):
            left = s.deadline_seconds - (monotonic() - began)
            seconds = min(s.timeout_seconds, left)
            try:
                answer = self._connection.post(
                    f"{self.url}/embeddings", content, seconds=seconds, limit_bytes=limit_bytes
                )
                return _read(answer, self._key)
            except Failure as failure:
                usual = min(s.pause_seconds * 2.0 ** min(number, 16), _LONGEST_PAUSE_SECONDS)
                pause = usual if failure.pause_seconds is None else failure.pause_seconds
                last = "" if number == 0 else f" after {number + 1} tries"
                if not failure.again or number + 1 == s.tries:
                    raise Failure(f"{failure}{last}", again=False) from failure
                if pause > _LONGEST_PAUSE_SECONDS:
                    raise Failure(f"{failure}, to be tried again in {pause:.0f} s{last}", again=False) from failure
                if monotonic() - began + pause >= s.deadline_seconds:
                    over = f", and the deadline of {s.deadline_seconds:g} s leaves no time for another"
                    raise Failure(f"{failure}{last}{over}", again=False) from failure
            sleep(pause)
        raise AssertionError("unreachable")  # pragma: no cover


def _read(answer: Answer, key: str | None) -> dict[str, Any]:
    """The object that came with status 200; raises `Failure` for any other status and for what is no JSON."""
    if answer.status == 200:
        try:
            return answer_object(answer.content)
        except NoVectors:
            raise
        except ValueError as error:  # in most cases because it was cut off
            kind = answer.headers.get("content-type", "").partition(";")[0][:40]
            of = f" of type {kind}" if kind else ""
            raise Failure(f"an answer{of} that is no JSON ({error})", again=True) from error
    again = answer.status in _TRY_AGAIN
    pause = _retry_after(answer.headers.get("retry-after")) if again else None
    raise Failure(f"status {answer.status}{_explained(answer, key)}", again=again, pause_seconds=pause)


def _explained(answer: Answer, key: str | None) -> str:
    """What a service says of its refusal, which may repeat the key."""
    if 300 <= answer.status < 400:
        target = answer.headers.get("location", "")
        return f" to {target[:_SHOWN_CHARACTERS]!r}: redirects are not followed; name the URL that it leads to"
    try:
        text = error_text(json.loads(answer.content))
    except (ValueError, RecursionError):
        text = ""
    text = without_secrets(text, key)[:_SHOWN_CHARACTERS]
    return f" ({text})" if text else ""


def _names_dimensions(failure: Failure) -> bool:
    text = str(failure).lower()
    return text.startswith("status 4") and ("dimension" in text or "matryoshka" in text)


def _require_possible(name: str, s: Service, batch_size: int) -> None:
    seconds = (s.timeout_seconds, s.deadline_seconds)
    numbers_fit = min(batch_size, s.tries, 1 if s.dim is None else s.dim) >= 1 and min(seconds) > 0
    if s.device != "auto" or not numbers_fit or not s.pause_seconds >= 0 or not all(map(isfinite, seconds)):
        raise SettingsError(
            f"http:{name}: batch_size, dim, tries, timeout_seconds and deadline_seconds are above 0, and device is auto, since "
            f"the model runs elsewhere; came {batch_size}, {s.dim}, {s.tries}, {s.timeout_seconds}, {s.deadline_seconds} and "
            f"{s.device!r}"
        )
    if s.encoding not in get_args(_Encoding):
        raise SettingsError(f"http:{name}: encoding is one of {', '.join(get_args(_Encoding))}, came {s.encoding!r}")


def _encoded(body: dict[str, Any], first: int) -> bytes:
    """As JSON in UTF-8, which has no halves of characters."""
    for number, text in enumerate(body["input"], first):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"text {number} holds half a character (a lone surrogate), which cannot be sent: {error.reason}"
            ) from error
    return json.dumps(body, ensure_ascii=False).encode("utf-8")


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


def _retry_after(header: str | None) -> float | None:
    """The seconds that a service asks for, as a number or a date; None where it asks for none that can be meant."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if isfinite(seconds) else None
