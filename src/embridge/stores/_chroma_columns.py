"""Chroma: payload columns as metadata, which has no columns, and conditions on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from embridge.stores._columns import Kind, kind_of
from embridge.stores.base import Filter

__all__ = ["DOCUMENT", "found_kinds", "kinds_of_columns", "metadatas", "native", "usable"]

DOCUMENT = "document"
_KINDS: dict[type, Kind] = {str: "text", bool: "true or false", int: "whole numbers", float: "numbers"}

Kinds = dict[str, Kind | None]


def found_kinds(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What columns hold, from some rows: a kind of payload, or ``several kinds``, or ``lists``."""
    types: dict[str, set[str]] = {}
    for record in records:
        for name, value in record.items():
            types.setdefault(name, set()).add(_KINDS.get(type(value), "lists"))
    numbers = {"whole numbers", "numbers"}
    return {
        name: kinds.copy().pop() if len(kinds) == 1 else "numbers" if kinds == numbers else "several kinds"
        for name, kinds in sorted(types.items())
    }


def usable(kinds: Mapping[str, str]) -> Kinds:
    """Of found kinds, the columns that are payload."""
    return {name: kind for name, kind in kinds.items() if kind in _KINDS.values()}  # type: ignore[misc]


def metadatas(columns: Mapping[str, Sequence[Any]], rows: int) -> tuple[list[dict[str, Any]] | None, list[Any] | None]:
    """Metadata and documents of rows; a None takes an earlier value away."""
    documents = list(columns[DOCUMENT]) if DOCUMENT in columns else None
    names = [name for name in columns if name != DOCUMENT]
    return ([{name: columns[name][i] for name in names} for i in range(rows)] if names else None), documents


def native(filter: Filter, kinds: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Filter]:
    """What Chroma can be asked exactly, and the conditions that are left: it orders no text, and has no missing values."""
    asked: list[dict[str, Any]] = []
    left = []
    for condition in filter:
        plain = kinds[condition.column] in ("text", "true or false") and condition.column != DOCUMENT
        if plain and condition.operator in ("==", "in"):
            word = "$eq" if condition.operator == "==" else "$in"
            value = list(condition.value) if condition.operator == "in" else condition.value
            asked.append({condition.column: {word: value}})
        else:
            left.append(condition)
    where = None if not asked else asked[0] if len(asked) == 1 else {"$and": asked}
    return where, tuple(left)


def kinds_of_columns(known: Mapping[str, Kind | None], columns: Mapping[str, Sequence[Any]]) -> Kinds:
    """The kinds, with those that columns settle."""
    return {**known, **{name: known.get(name) or kind_of(values) for name, values in columns.items()}}
