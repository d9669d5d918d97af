"""What the body of a request may hold: one that is wrong in a million places is refused at the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from embridge.serve._errors import Refusal

__all__ = ["Body", "are_plain_texts", "require_text"]


class Body(BaseModel):
    """A body with the keys that it names and no others.

    Examples:
        >>> class Point(Body):
        ...     x: int
        >>> Point.model_validate({"x": 1, "y": 2})
        Traceback (most recent call last):
        embridge.serve._errors.Refusal: y: there is no such key here
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys(cls, values: Any) -> Any:
        """The same before pydantic collects an error for every key."""
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                raise Refusal(400, f"{key[:80]}: there is no such key here", param=key[:80])
        return values


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
