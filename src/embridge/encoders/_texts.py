"""Text items are strings that a tokenizer and a file can take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from embridge.errors import InvalidInput

__all__ = ["require_texts"]


def require_texts(items: Iterable[Any]) -> None:
    """Raise `InvalidInput`, naming the first, for an item that is no string, or one that is no text.

    Half of a character that takes two (a lone surrogate, as ``"\\ud83d"`` in a file of JSON) cannot be written as UTF-8, and
    NUL ends a text for some tokenizers and not for others.
    """
    for row, item in enumerate(items):
        if not isinstance(item, str):
            raise InvalidInput(f"text items are strings; item {row} is {type(item).__name__}")
        if "\0" in item:
            raise InvalidInput(f"text item {row} holds a NUL character: {_shown(item)}; remove it")
        if not item.isascii() and any("\ud800" <= character <= "\udfff" for character in item):
            raise InvalidInput(
                f"text item {row} holds half of a character (a lone surrogate): {_shown(item)}; write the character whole, "
                "or remove it"
            )


def _shown(text: str) -> str:
    return ascii(text[:60])
