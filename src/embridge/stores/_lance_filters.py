"""Conditions on a payload as SQL of LanceDB, exact where the two sides are numbers of different kinds."""

from __future__ import annotations

from typing import Any

from embridge.stores._columns import Kind
from embridge.stores._exact_numbers import comparable
from embridge.stores.base import Condition

__all__ = ["literal", "quoted", "sql"]

_LEAST = -(1 << 63)


def sql(condition: Condition, kind: Kind | None) -> str:
    """The condition on a column of that kind; `require_comparable` has passed it."""
    column = quoted(condition.column)
    operator, values = comparable(condition, kind)
    if operator in ("none", "any"):
        return "false" if operator == "none" else f"{column} IS NOT NULL"
    if operator == "in":
        return f"{column} IN ({', '.join(map(literal, values))})"
    return f"{column} {'=' if operator == '==' else operator} {literal(values[0])}"


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return "`" + name.replace("`", "``") + "`"


def literal(value: Any) -> str:
    """Text, a number or a truth in SQL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value) if value != _LEAST else f"CAST('{_LEAST}' AS BIGINT)"  # its digits alone are too large a number
