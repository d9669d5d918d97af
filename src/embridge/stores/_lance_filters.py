"""Conditions on a payload as SQL of LanceDB, exact where the two sides are numbers of different kinds."""

from __future__ import annotations

import math
import sys
from typing import Any

from embridge.stores._columns import Kind
from embridge.stores.base import Condition

__all__ = ["literal", "quoted", "sql"]

_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_NONE = "false"


def sql(condition: Condition, kind: Kind | None) -> str:
    """The condition on a column of that kind; `require_comparable` has passed it."""
    column, several = quoted(condition.column), condition.operator == "in"
    if kind is None:
        return _NONE  # no row has a value
    if kind not in ("whole numbers", "numbers"):
        values = condition.value if several else (condition.value,)
        return _compared(column, condition.operator, [literal(value) for value in values])
    if several:
        near = [_representable(value, kind) for value in condition.value]
        return _compared(column, "in", [literal(value) for value, beyond in near if beyond == 0])
    value, beyond = _representable(condition.value, kind)
    sign: str = condition.operator
    if beyond and sign in ("==", "!="):
        return _NONE if sign == "==" else f"{column} IS NOT NULL"
    if beyond:  # x < 2.5 is x <= 2, and x > 2.5 is x > 2, where x is whole
        sign = {"<": "<=", ">=": ">"}.get(sign, sign) if beyond > 0 else {"<=": "<", ">": ">="}.get(sign, sign)
    return _compared(column, sign, [literal(value)])


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return f"`{name}`"


def literal(value: Any) -> str:
    """Text, a number or a truth in SQL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value) if value != _LEAST else f"CAST('{_LEAST}' AS BIGINT)"  # its digits alone are too large a number


def _compared(column: str, operator: str, literals: list[str]) -> str:
    if operator == "in":
        return f"{column} IN ({', '.join(literals)})" if literals else _NONE
    return f"{column} {'=' if operator == '==' else operator} {literals[0]}"


def _representable(value: Any, kind: Kind) -> tuple[Any, int]:
    """A number that a column of that kind can hold, next to the value; and whether the value is above, at or below it."""
    near: Any
    if kind == "whole numbers":
        near = min(max(math.floor(value), _LEAST), _MOST)
    else:
        try:
            near = float(value)
        except OverflowError:
            near = sys.float_info.max if value > 0 else -sys.float_info.max
    return near, (value > near) - (value < near)
