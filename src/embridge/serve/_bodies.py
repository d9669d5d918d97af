"""The body of a request: read as JSON and held to what it may be; one with a million faults is refused at the first."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from embridge.serve._errors import Refusal

__all__ = ["Body", "are_plain_texts", "described", "read_body", "require_text", "schemas"]

_B = TypeVar("_B", bound="Body")
_BOM = b"\xef\xbb\xbf"
_REFERENCE = "#/components/schemas/{model}"


class Body(BaseModel):
    """A body with the keys that it names and no others, and no value of another kind.

    Examples:
        >>> class Point(Body):
        ...     x: int
        >>> Point.model_validate({"x": 1, "y": 2})
        Traceback (most recent call last):
        embridge.serve._errors.Refusal: y: there is no such key here
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys(cls, values: Any) -> Any:
        """The same before pydantic collects an error for every key."""
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                raise Refusal(400, f"{key[:80]}: there is no such key here", param=key[:80])
        return values


async def read_body(request: Request, kind: type[_B], most: Mapping[str, int] | None = None) -> _B:
    """The body of a request.

    Args:
        request: The request.
        kind: What the body is to be.
        most: By key, how many parts a list may have: each costs time to look at, in which nobody else is answered.

    Returns:
        The body.

    Raises:
        Refusal: It is no JSON, is said to be something else, or is not of that kind.
    """
    named = request.headers.get("content-type", "")
    media = named.partition(";")[0].strip().lower()
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        message = f"expected Content-Type: application/json, came {named[:80] or 'none'}"
        raise Refusal(415 if named else 400, message)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "expected a body as it is, came one with a Content-Encoding")
    content = await request.body()
    with _no_collection():
        return _checked(content, kind, most or {})


def _checked(content: bytes, kind: type[_B], most: Mapping[str, int]) -> _B:
    try:
        values = orjson.loads(content.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"the body is no JSON: {error}" if content else "the body is empty") from None
    if not isinstance(values, dict):
        raise Refusal(400, "expected a JSON object as the body")
    for key, count in most.items():
        if isinstance(part := values.get(key), list) and len(part) > count:
            raise Refusal(400, f"{key}: at most {count:,} at once, came {len(part):,}", param=key)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _first_fault(error) from None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Within, no garbage is looked for: among millions of new values that are all in use, that takes ten times as long."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _first_fault(error: ValidationError) -> Refusal:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return Refusal(400, f"{where}: {message}" if where else message, param=where or None)


def described(kind: type[Body]) -> dict[str, Any]:
    """What a route's part of the OpenAPI description says of its body.

    Args:
        kind: What the body is.

    Returns:
        For FastAPI's ``openapi_extra``.
    """
    schema = {"$ref": _REFERENCE.format(model=kind.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def schemas(kinds: Iterable[type[Body]]) -> dict[str, Any]:
    """The schemas that `described` refers to, by name.

    Args:
        kinds: Those of all bodies.

    Returns:
        For the description's components.
    """
    found: dict[str, Any] = {}
    for kind in kinds:
        schema = kind.model_json_schema(ref_template=_REFERENCE)
        found |= schema.pop("$defs", {}) | {kind.__name__: schema}
    return found


def are_plain_texts(texts: Sequence[Any], most: int) -> bool:
    """Whether `require_text` takes each of them; it is asked of all at once, which is quicker for many."""
    return (
        set(map(type, texts)) == {str}
        and all(map(str.strip, texts))
        and max(map(len, texts)) <= most
        and "".join(texts).isascii()
    )


def require_text(text: Any, where: str, most: int, *, param: str) -> None:
    """Require a text that a model can take.

    Args:
        text: What should be one.
        where: Its place in the body, for the message.
        most: How many characters it may have.
        param: The key of the body.

    Raises:
        Refusal: It is none, empty, too long, or holds half a character.
    """
    if not isinstance(text, str):
        raise Refusal(400, f"{where}: expected a text, came {type(text).__name__}", param=param)
    if not text.strip():
        raise Refusal(400, f"{where}: the text is empty", param=param)
    if len(text) > most:
        message = f"{where}: at most {most:,} characters, came {len(text):,}"
        raise Refusal(400, message, param=param, code="context_length_exceeded")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can write it, and no tokenizer reads it
        raise Refusal(400, f"{where}: half of a surrogate pair at character {error.start}", param=param) from error
