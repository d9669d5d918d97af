"""Vectors from what a service answers: of exactly the shape of the embeddings API, or the reason why they are none."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from embridge.shapes import Float32

__all__ = ["NoVectors", "answer_object", "longest_answer", "vectors_of"]

_PLAUSIBLE_DIM = 8_192
_NUMBER_BYTES = 64  # with its indentation
_MOST_BYTES = 1 << 28
_SHORTEST, _LONGEST = 1e-15, 1e15  # beyond, float32 cannot scale a vector to length one
_OTHER_NUMBERS = {1: "bytes (int8)", 2: "halves (float16)", 8: "doubles (float64)"}


class NoVectors(ValueError):
    """What came instead of vectors."""


def longest_answer(count: int, dim: int | None) -> int:
    """How many bytes an answer with so many vectors may have."""
    return min(_MOST_BYTES, 65_536 + count * max(dim or 0, _PLAUSIBLE_DIM) * _NUMBER_BYTES)


def answer_object(content: bytes) -> dict[str, Any]:
    """The JSON object that a service answered with; raises `ValueError` for what is no JSON, `NoVectors` for other JSON."""
    try:
        answer = json.loads(content)
    except RecursionError as error:
        raise NoVectors("JSON nested too deeply to be read") from error
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:  # a whole number of thousands of digits
        raise NoVectors(f"JSON that cannot be read ({error})") from error
    if not isinstance(answer, dict):
        raise NoVectors(f"{_kind(answer)} in the place of an object with data; does the URL end in /v1?")
    if answer.get("error") and "data" not in answer:
        raise NoVectors(f"status 200 with an error ({error_text(answer)})")
    return answer


def error_text(answer: Any) -> str:
    """What an error object says."""
    error = answer.get("error") if isinstance(answer, dict) else None
    error = error.get("message") if isinstance(error, dict) else error
    return "" if error is None else str(error)


def vectors_of(
    answer: dict[str, Any], count: int, *, dim: int | None, as_base64: bool, first: int = 0
) -> Float32[np.ndarray, "n d"]:
    """The vectors of so many texts, in the order of these. Raises `NoVectors`, which names the text.

    dim: how long each is; as the first is where None. as_base64: whether base64 was asked for; lists are taken all the same.
    first: the number of the first text among all.
    """
    rows: list[np.ndarray] = []
    for text, embedding in enumerate(_in_order(answer, count), first):
        if isinstance(embedding, str) and not as_base64:
            raise NoVectors(f"a string for text {text} where a list of numbers was asked for")
        rows.append(_from_base64(embedding, text) if isinstance(embedding, str) else _from_list(embedding, text))
        dim = len(rows[0]) if dim is None else dim
        if len(rows[-1]) != dim or not dim:
            raise NoVectors(
                f"{len(rows[-1])} numbers for text {text}, expected {dim or 'some'}{_guess(rows[-1], dim, embedding)}"
            )
    return _scalable(np.stack(rows), first)


def _guess(row: np.ndarray, dim: int, embedding: Any) -> str:
    """Which other numbers of the right count base64 of the wrong length may be."""
    kind = _OTHER_NUMBERS.get(4 * len(row) // dim) if dim and 4 * len(row) % dim == 0 else None
    if kind is None or not isinstance(embedding, str):
        return ""
    return f". If these are {dim} {kind}, have the service send floats (encoding: float)"


def _in_order(answer: dict[str, Any], count: int) -> list[Any]:
    """The embeddings in the order of the texts: that of ``index`` where there is one, else as they come."""
    data = answer.get("data")
    if not isinstance(data, list):
        came = "no data" if "data" not in answer else f"{_kind(data)} as data"
        raise NoVectors(f"{came}; expected a list of objects with index and embedding")
    for place, row in enumerate(data):
        if not isinstance(row, dict) or "embedding" not in row:
            raise NoVectors(f"{_kind(row)} as entry {place} of data; expected objects with index and embedding")
    if len(data) != count:
        raise NoVectors(f"{len(data)} vectors; expected {count}, one a text")
    indexed = sum("index" in row for row in data)
    if indexed == 0:
        return [row["embedding"] for row in data]
    if indexed != count:
        raise NoVectors(f"index in {indexed} of {count} entries; expected it in all or in none")
    ordered: dict[int, Any] = {}
    for row in data:
        index = row["index"]
        if type(index) is not int or not 0 <= index < count or index in ordered:
            twice = " twice" if type(index) is int and index in ordered else ""
            raise NoVectors(f"index {json.dumps(index)[:40]}{twice}; expected each of 0 to {count - 1} once")
        ordered[index] = row["embedding"]
    return [ordered[i] for i in range(count)]


def _from_list(embedding: Any, text: int) -> np.ndarray:
    if not isinstance(embedding, list):
        raise NoVectors(f"{_kind(embedding)} as the embedding of text {text}; expected a list of numbers")
    kinds = set(map(type, embedding))
    if list in kinds:
        raise NoVectors(
            f"{len(embedding)} nested lists for text {text}: one vector a token, as of a service that does not pool; "
            "expected one flat list of numbers. Have the service pool them, by their mean for one"
        )
    if not kinds <= {int, float}:
        other = next(value for value in embedding if type(value) not in (int, float))
        raise NoVectors(f"{_kind(other)} among the numbers of text {text}")
    try:
        with np.errstate(over="ignore"):
            row = np.array(embedding, np.float64).astype(np.float32)
    except OverflowError:  # a whole number beyond float64
        row = np.array([np.inf], np.float32)
    if not np.isfinite(row).all():
        raise NoVectors(f"NaN or infinity for text {text}")
    return row


def _from_base64(embedding: str, text: int) -> np.ndarray:
    try:
        content = base64.b64decode(embedding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoVectors(f"no base64 for text {text} ({error})") from error
    if len(content) % 4:
        raise NoVectors(f"{len(content)} bytes for text {text}, which are no whole float32 numbers")
    row = np.frombuffer(content, "<f4").astype(np.float32)
    if not np.isfinite(row).all():
        raise NoVectors(f"NaN or infinity for text {text}")
    return row


def _scalable(vectors: np.ndarray, first: int) -> np.ndarray:
    """The same, of lengths that float32 can bring to one."""
    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    if len(wrong := np.flatnonzero((lengths < _SHORTEST) | (lengths > _LONGEST))):
        length, text = lengths[wrong[0]], first + int(wrong[0])
        if length == 0:
            raise NoVectors(f"zeros for text {text}, which have no direction. Is that text blank? Leave it out")
        raise NoVectors(f"a vector of length {length:.3g} for text {text}, which is no embedding")
    return vectors


def _kind(value: Any) -> str:
    names: Sequence[tuple[type, str]] = (
        (dict, "an object"), (list, "a list"), (str, "a string"), (bool, "a boolean"), (type(None), "null"),
    )  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "a number")
