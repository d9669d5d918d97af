"""The payload of a Qdrant collection as columns: it has no schema, so rows say what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from embridge.errors import StoreError
from embridge.stores._columns import Kind, fitted, kind_of, require_comparable
from embridge.stores._qdrant_engine import ID_KEY, Engine
from embridge.stores._qdrant_filters import all_of, has_path, has_value, key_path
from embridge.stores.base import Condition, Filter
from embridge.stores.documents import Documents

__all__ = [
    "columns_of_others",
    "described",
    "fitted_columns",
    "known_kinds",
    "require_columns",
    "scalars",
    "start_columns",
]

COLUMNS = "columns of "
"""With a collection's name, the document with the payload columns of one that this library made."""

_KINDS = get_args(Kind)
_WITHOUT_PATH = "a key that Qdrant cannot be asked for"
_SAMPLE, _VALUES = 256, 32
_ATTEMPTS = 50


def known_kinds(documents: Documents, name: str) -> dict[str, Kind | None] | None:
    """The payload columns of a collection that this library made; None for one of someone else's."""
    document = documents.read(COLUMNS + name)
    return None if document is None else dict(document["kinds"])


def fitted_columns(
    documents: Documents, name: str, columns: dict[str, list[Any]], *, some: bool
) -> dict[str, list[Any]]:
    """Columns as the rows of a collection of ours carry them; the first of several writers settles what they hold."""
    for _ in range(_ATTEMPTS):
        document = documents.read(COLUMNS + name)
        kinds = dict((document or {"kinds": {}})["kinds"])
        joined = fitted(kinds, columns, some=some) if kinds else columns
        new = kinds | {column: kinds.get(column) or kind_of(values) for column, values in joined.items()}
        if new == kinds or documents.swap(COLUMNS + name, document, {"kinds": new}):
            return joined
    raise StoreError(f"{name}: what columns hold was changed by others {_ATTEMPTS} times in a row; try again")


def start_columns(documents: Documents, name: str) -> None:
    """Note that a collection is ours, and has no columns yet."""
    for _ in range(_ATTEMPTS):
        document = documents.read(COLUMNS + name)
        if document == {"kinds": {}} or documents.swap(COLUMNS + name, document, {"kinds": {}}):
            return
    raise StoreError(f"{name}: others make this collection at the same time; try again")


def described(engine: Engine, name: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Payload keys by name, and what they hold, as the first rows and the payload indexes say."""
    records, _ = engine.scroll(name, _SAMPLE, payload=True)
    found: dict[str, str] = {}
    for record in records:
        for key, value in (record.payload or {}).items():
            if key != ID_KEY and found.get(key, "nothing") == "nothing":
                found[key] = _kind(value) if has_path(key) else _WITHOUT_PATH
    return {key: kind for key, kind in fields.items() if key not in found and key != ID_KEY} | found


def scalars(kinds: Mapping[str, str]) -> list[str]:
    """The keys that are payload columns: of texts, truths and numbers, or without a value so far."""
    return [name for name, kind in kinds.items() if kind not in ("lists", "objects", _WITHOUT_PATH)]


def columns_of_others(engine: Engine, name: str, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Columns as the rows of someone else's collection seem to carry them."""
    if not columns:
        return columns
    held = described(engine, name, {})
    kinds = {column: kind if kind in _KINDS else None for column, kind in held.items() if column in scalars(held)}
    return fitted(kinds, columns, some=True) if kinds else columns


def require_columns(engine: Engine, name: str, filter: Filter, known: Mapping[str, Kind | None] | None) -> None:
    """Refuse conditions on keys that no row has, and on values of another kind than rows hold."""
    for condition in filter:
        if known is not None:
            require_comparable(condition, known)
            continue
        path, column = key_path(condition.column), condition.column
        records, _ = engine.scroll(name, _VALUES, where=all_of([has_value(column)]), payload=[path])
        kinds = {_kind((record.payload or {}).get(column)) for record in records}
        held = sorted(kinds - {"lists", "objects", "nothing"})
        if held:
            require_comparable(condition, {column: _meant(held, condition)})
        elif (others := described(engine, name, {})).get(column) != "nothing":
            require_comparable(condition, dict.fromkeys(one for one in scalars(others) if one != column))


def _meant(kinds: Sequence[str], condition: Condition) -> str:
    """Of a key with values of several kinds, the one that the condition is about; rows with another meet nothing."""
    values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    kind, numbers = kind_of(values), ("numbers", "whole numbers")
    return next((one for one in kinds if one == kind or (one in numbers and kind in numbers)), kinds[0])


def _kind(value: Any) -> str:
    if isinstance(value, list | dict):
        return "lists" if isinstance(value, list) else "objects"
    return kind_of([value]) or "nothing"
