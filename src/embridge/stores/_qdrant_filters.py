"""Conditions as a filter of Qdrant that lets no row out that meets them; what it lets in too much is looked at here."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from embridge.errors import InvalidInput
from embridge.stores._columns import meets
from embridge.stores.base import Condition, Filter

__all__ = ["all_of", "has_path", "has_value", "has_vector", "key_path", "meet", "narrowed"]

_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def has_path(column: str) -> bool:
    """Whether Qdrant can be told of a payload key."""
    return bool(column) and '"' not in column


def key_path(column: str) -> str:
    """A payload key as a path: quoted, so that it is one step whatever its letters."""
    if not has_path(column):
        raise InvalidInput(f"{column!r}: Qdrant finds no payload key whose name is empty or has a double quote")
    return column if column.isascii() and column.isidentifier() else f'"{column}"'


def has_value(column: str) -> dict[str, Any]:
    """Rows with a value in a column."""
    return {"must_not": [{"is_empty": {"key": key_path(column)}}]}


def has_vector(name: str) -> dict[str, Any]:
    """Rows with a vector of that name."""
    return {"has_vector": name}


def all_of(conditions: Sequence[Mapping[str, Any]], none_of: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any] | None:
    """The filter that asks for all of some conditions and none of others; None where it asks for nothing."""
    parts = {"must": list(conditions), "must_not": list(none_of)}
    return {name: part for name, part in parts.items() if part} or None


def narrowed(filter: Filter) -> list[dict[str, Any]]:
    """Conditions of Qdrant that every row fulfils which meets the filter.

    Qdrant compares numbers in float64 and texts for equality alone, and an index on whole numbers cuts fractions off: so
    bounds are widened where they are no float64, and what has no counterpart asks for some value.
    """
    return [one for condition in filter for one in _narrowed(condition)]


def meet(payload: Mapping[str, Any] | None, filter: Filter) -> bool:
    """Whether a row meets the filter, exactly; lists and objects meet nothing, nor does another kind of value."""
    return all(_meets((payload or {}).get(one.column), one) for one in filter)


def _meets(value: Any, condition: Condition) -> bool:
    choices = condition.value if condition.operator == "in" else (condition.value,)
    return _family(value) == _family(choices[0]) != "" and meets(value, condition)


def _family(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "number" if isinstance(value, int | float) else ""


def _narrowed(condition: Condition) -> list[dict[str, Any]]:
    key, value = key_path(condition.column), condition.value
    if condition.operator == "in":
        return [_one_of(key, value)]
    if condition.operator == "==":
        return [_equal(key, value)]
    if condition.operator == "!=":
        excluded = [_match(key, value)] if _matchable(value) else []
        return [{"must_not": [{"is_empty": {"key": key}}, *excluded]}]
    if isinstance(value, bool):
        return [_one_of(key, [truth for truth in (False, True) if _ORDER[condition.operator](truth, value)])]
    if isinstance(value, str):
        return [has_value(condition.column)]
    return [_range(key, value, below=condition.operator in ("<", "<="), above=condition.operator in (">", ">="))]


def _one_of(key: str, values: Sequence[Any]) -> dict[str, Any]:
    if values and isinstance(values[0], str):
        return {"key": key, "match": {"any": list(values)}}
    return {"should": [_equal(key, value) for value in values]} if values else {"has_id": []}


def _equal(key: str, value: Any) -> dict[str, Any]:
    return _match(key, value) if isinstance(value, str | bool) else _range(key, value, below=True, above=True)


def _match(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "match": {"value": value}}


def _matchable(value: Any) -> bool:
    """Whether rows with just this value may be left out; not those with a truth, which not every client can name."""
    return isinstance(value, str) or (type(value) is int and _LEAST <= value <= _MOST)


def _range(key: str, value: float, *, below: bool, above: bool) -> dict[str, Any]:
    """Numbers up to a value, or from it on, itself included."""
    low, high = _bounds(value)
    bounds = {"lte": high} if below else {}
    bounds |= {"gte": low} if above else {}
    finite = {name: bound for name, bound in bounds.items() if math.isfinite(bound)}
    return {"key": key, "range": finite} if finite else {"must_not": [{"is_empty": {"key": key}}]}


def _bounds(value: float) -> tuple[float, float]:
    """The nearest float64 at or below a number, and at or above it."""
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
        largest = math.nextafter(math.inf, 0)
        return (largest, math.inf) if value > 0 else (-math.inf, -largest)
    if near == value and abs(near) < 1 << 53:
        return near, near
    return math.nextafter(near, -math.inf), math.nextafter(near, math.inf)
