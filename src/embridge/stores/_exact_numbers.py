"""Conditions on columns whose type cannot hold the value: the one that selects the same rows."""

from __future__ import annotations

import math
import sys
from typing import Any, Literal

from embridge.stores._columns import Kind
from embridge.stores.base import Condition

__all__ = ["Selected", "comparable"]

_LEAST, _MOST = -(1 << 63), (1 << 63) - 1

Selected = tuple[Literal["==", "!=", "<", "<=", ">", ">=", "in", "none", "any"], tuple[Any, ...]]
"""An operator and its values: one, or several for ``in``; ``none`` selects no row, ``any`` each that has a value."""


def comparable(condition: Condition, kind: Kind | None, *, nul: bool = True) -> Selected:
    """The condition on a column of that kind with values that it can hold; `require_comparable` has passed it.

    Whole numbers have 64 bits, others are floats. Without nul, texts hold no such character.
    """
    if kind is None:
        return "none", ()  # no row has a value
    if condition.operator == "in":
        near = [_representable(value, kind, nul) for value in condition.value]
        exact = tuple(value for value, beyond in near if beyond == 0)
        return ("in", exact) if exact else ("none", ())
    value, beyond = _representable(condition.value, kind, nul)
    sign = condition.operator
    if beyond and sign in ("==", "!="):
        return ("none", ()) if sign == "==" else ("any", ())
    if beyond > 0:  # x < 2.5 is x <= 2, and x >= 2.5 is x > 2, where x is whole
        return ("<=" if sign in ("<", "<=") else ">"), (value,)
    if beyond < 0:
        return ("<" if sign in ("<", "<=") else ">="), (value,)
    return sign, (value,)


def _representable(value: Any, kind: Kind, nul: bool) -> tuple[Any, int]:
    """What a column of that kind can hold, next to the value; and whether the value is above, at or below it."""
    if kind == "text":
        head, character, _ = value.partition("\0")
        return (value, 0) if nul or not character else (head, 1)
    if kind == "true or false":
        return value, 0
    near: Any
    if kind == "whole numbers":
        near = min(max(math.floor(value), _LEAST), _MOST)
    else:
        try:
            near = float(value)
        except OverflowError:
            near = sys.float_info.max if value > 0 else -sys.float_info.max
    return near, (value > near) - (value < near)
