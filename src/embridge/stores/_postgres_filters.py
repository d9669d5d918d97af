"""Conditions on a payload in PostgreSQL's SQL."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from embridge.stores._columns import require_comparable
from embridge.stores._exact_numbers import comparable
from embridge.stores._postgres_catalog import Column, quoted
from embridge.stores.base import Condition, Filter

__all__ = ["where"]

_SIGNS = {"==": "=", "!=": "<>"}
_CASTS = {"whole numbers": "int8", "numbers": "float8", "true or false": "bool", "text": "text"}


def where(conditions: Filter, columns: Mapping[str, Column]) -> tuple[str, list[Any]]:
    """What follows a WHERE that has a condition already, and its values.

    Raises `InvalidInput` for a condition that does not fit.
    """
    texts: list[str] = []
    values: list[Any] = []
    for condition in conditions:
        column = columns.get(condition.column)
        if column is not None and column.type == "numeric" and _is_number(condition):
            text, one = _on_decimals(condition, column)
        else:
            require_comparable(condition, {name: other.kind for name, other in columns.items()})
            text, one = _on(condition, columns[condition.column])
        texts.append(f" AND {text}")
        values += one
    return "".join(texts), values


def _is_number(condition: Condition) -> bool:
    value = condition.value[0] if condition.operator == "in" else condition.value
    return isinstance(value, int | float) and not isinstance(value, bool)


def _on_decimals(condition: Condition, column: Column) -> tuple[str, list[Any]]:
    """Decimals come as text and compare as what they are, too: with numbers."""
    name = quoted(column.name)
    if condition.operator == "in":
        return f"{name} = ANY(%s::numeric[])", [list(map(Decimal, condition.value))]
    sign = _SIGNS.get(condition.operator, condition.operator)
    return f"{name} <> 'NaN' AND {name} {sign} %s::numeric", [Decimal(condition.value)]


def _on(condition: Condition, column: Column) -> tuple[str, list[Any]]:
    kind = column.kind
    sign, values = comparable(condition, kind, nul=False)
    name = quoted(column.name)
    some = f"{name} <> 'NaN'" if kind == "numbers" else f"{name} IS NOT NULL"
    if sign == "none":
        return "false", []
    if sign == "any":
        return some, []
    text = column.as_text if kind == "text" else name
    if kind == "text" and not column.by_code_point and (sign not in ("==", "in") or not column.exact_text):
        text += ' COLLATE "C"'
    cast = _CASTS[str(kind)]
    compared = f"{text} = ANY(%s::{cast}[])" if sign == "in" else f"{text} {_SIGNS.get(sign, sign)} %s::{cast}"
    return (f"{compared} AND {some}" if kind == "numbers" else compared), [list(values) if sign == "in" else values[0]]
