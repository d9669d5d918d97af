"""Cells of tables as texts: what may stand for a text, for an id, and for any value; the rest is refused by its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from embridge.errors import InvalidInput

__all__ = ["Role", "require_usable", "texts_of"]

Role = Literal["text", "id", "value"]
"""What a column holds: texts; ids, of which whole numbers are some; or any plain value."""

_TAKEN: dict[Role, tuple[type, ...]] = {"text": (str,), "id": (str, int)}
_EXPECTED: dict[Role, str] = {
    "text": "a text",
    "id": "a text or a whole number as id",
    "value": "a text, a number or a date",
}


def texts_of(values: Sequence[Any], role: Role, name: str, where: Callable[[int], str]) -> tuple[str, ...]:
    """One stripped text a value: blank for None and NaN, numbers as Python writes them.

    Args:
        values: Of one column.
        role: What the column holds.
        name: Of the column.
        where: Says where a row stands.

    Returns:
        The texts.

    Raises:
        InvalidInput: A value is none of that role, or holds what no text may.
    """
    if set(map(type, values)) <= {str, type(None)}:
        texts = tuple([value.strip() if value else "" for value in values])
    else:
        texts = tuple([_text(value, role, name, where, row) for row, value in enumerate(values)])
    require_usable(texts, name, where)
    return texts


def require_usable(texts: Sequence[str], name: str, where: Callable[[int], str]) -> None:
    """Refuse a NUL, and half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    whole = "".join(texts)
    if "\0" not in whole:
        try:
            whole.encode()
        except UnicodeEncodeError:
            pass
        else:
            return
    for row, text in enumerate(texts):
        if "\0" in text:
            raise InvalidInput(f"{where(row)}: a NUL stands in {name!r}; remove it")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{where(row)}: half of a surrogate pair, \\u{ord(text[error.start]):04x}, stands in {name!r}; "
                "write the whole character, or leave it out"
            ) from error


def _text(value: Any, role: Role, name: str, where: Callable[[int], str], row: int) -> str:
    if value is None or value != value:  # NaN is how some writers say blank
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{where(row)}: {name!r} holds bytes that are no UTF-8 text; name a column of texts, paths or ids"
            ) from error
    taken = _TAKEN.get(role)
    if taken is None and not isinstance(value, list | dict | tuple):
        return str(value).strip()
    if taken is not None and isinstance(value, taken) and not isinstance(value, bool):
        return str(value).strip()
    raise InvalidInput(f"{where(row)}: expected {_EXPECTED[role]} in {name!r}, came {_described(value)}")


def _described(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}; write a row for each of its elements"
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, value))}; write its text alone"
    if isinstance(value, float) and value.is_integer():
        return f"{value!r}, a float, which is not {int(value)}; write whole numbers or texts"
    return f"{value!r:.60} ({type(value).__name__}); write it as a text"
