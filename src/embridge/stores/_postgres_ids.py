"""Ids: text here; text, whole numbers or UUIDs in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from embridge.errors import InvalidInput
from embridge.stores._postgres_binary import ARRAY_ITEMS, array, fields
from embridge.stores._postgres_catalog import Column
from embridge.stores.checks import require_ids

__all__ = ["found_ids", "id_array", "id_fields", "id_type", "require_writable_ids"]

_BITS = {"int2": 16, "int4": 32, "int8": 64}


def id_type(column: Column) -> str:
    """The type that ids are sent as."""
    return column.type if column.type in (*_BITS, "uuid") else "text"


def found_ids(column: Column, ids: Sequence[str]) -> list[str]:
    """Those that the column could hold, each once: the others are surely not there."""
    if column.is_text and _is_storable("".join(ids)):
        return list(dict.fromkeys(ids))
    possible = _possible(column)
    return [name for name in dict.fromkeys(ids) if possible(name)]


def require_writable_ids(column: Column, ids: Sequence[str]) -> None:
    """Raise `InvalidInput` for an id that the column cannot hold."""
    require_ids(ids)
    if column.is_text and "\0" not in "".join(ids):
        return
    possible = _possible(column)
    for name in ids:
        if not possible(name):
            raise InvalidInput(
                f"ids: {name!r:.60} is no {column.word}, which column {column.name!r} holds{_advice(column)}"
            )


def id_array(column: Column, ids: Sequence[str], wire: type) -> Any:
    """Ids that the column can hold as a value to send."""
    name = id_type(column)
    return wire(array(id_fields(column, ids), ARRAY_ITEMS[name]))


def id_fields(column: Column, ids: Sequence[str]) -> list[bytes]:
    """The same, one by one."""
    return fields(id_type(column), map(int, ids) if column.type in _BITS else ids, what="ids")


def _advice(column: Column) -> str:
    return "; PostgreSQL's text holds no NUL" if column.is_text else ""


def _possible(column: Column) -> Callable[[str], bool]:
    if column.type in _BITS:
        most = 1 << (_BITS[column.type] - 1)
        return lambda name: _is_whole(name) and -most <= int(name) < most
    return _is_uuid if column.type == "uuid" else _is_storable


def _is_whole(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 19 and str(int(name)) == name


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _is_storable(name: str) -> bool:
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
