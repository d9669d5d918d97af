"""What a payload may hold, and what its columns are compared by: the same rules for every store."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from embridge.errors import InvalidInput

__all__ = ["Kind", "fitted", "kind_of", "meets", "plain", "plain_column", "require_comparable", "require_text"]

Kind = Literal["text", "true or false", "whole numbers", "numbers"]
"""What the values of a column are; None stands for a column that holds no value yet."""

_KINDS: dict[type, Kind] = {str: "text", bool: "true or false", int: "whole numbers", float: "numbers"}
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_EXPECTED = "text, true or false, whole numbers within 64 bits, finite numbers, or None for no value"
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, choices: value in choices,
}


def plain(value: Any) -> Any:
    """The value as Python's own text, number or truth; raises `ValueError` with the reason for anything else."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        require_text(value)
        return str.__str__(value)
    if type(value) in (bool, int) or value is None:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no value; say None where there is none")
        return float(value)
    advice = "; write it as text, such as 2026-03-01" if hasattr(value, "isoformat") else ""
    raise ValueError(f"{value!r:.60} is {type(value).__name__}{advice}")


def require_text(text: str) -> None:
    """Raise `ValueError` for half of a surrogate pair, which no text in UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!r:.60} holds half of a surrogate pair at {error.start}") from error


def plain_column(name: str, values: list[Any]) -> list[Any]:
    """A column's values as Python's own, all of one kind; raises `InvalidInput` naming the first row that is not."""
    column = values if _is_plain(values) else _plain_values(name, values)
    kinds = {_KINDS[kind] for kind in set(map(type, column)) if kind in _KINDS}
    if kinds == {"whole numbers", "numbers"}:
        return _as_numbers(name, column)
    if len(kinds) > 1:
        raise InvalidInput(f"payload column {name!r}: a column holds one type, came {' and '.join(sorted(kinds))}")
    whole = [value for value in column if value is not None] if kinds == {"whole numbers"} else []
    if whole and not _LEAST <= min(whole) <= max(whole) <= _MOST:
        row = next(row for row, value in enumerate(column) if value is not None and not _LEAST <= value <= _MOST)
        raise InvalidInput(
            f"payload column {name!r}, row {row}: {column[row]} does not fit into 64 bits; keep it as text"
        )
    return column


def kind_of(values: Iterable[Any]) -> Kind | None:
    """The kind of a column of `plain_column`."""
    return next((_KINDS[type(value)] for value in values if value is not None), None)


def fitted(known: Mapping[str, Any], columns: Mapping[str, list[Any]], *, some: bool = False) -> dict[str, list[Any]]:
    """Columns as those that rows carry already; whole numbers may join numbers, and rows without a value any.

    Raises `InvalidInput` for other columns, for one of another kind and, unless some are enough, for fewer.
    """
    if not set(columns) <= set(known) or (not some and len(columns) < len(known)):
        raise InvalidInput(
            f"payload: rows of this store carry {sorted(known)}, came {sorted(columns)}; "
            + ("write some of these" if some else "write the same ones, with None where there is no value")
        )
    joined = {}
    for name, values in columns.items():
        old, new = known[name], kind_of(values)
        if old == "numbers" and new == "whole numbers":
            values = _as_numbers(name, values)
        elif None not in (old, new) and old != new:
            raise InvalidInput(f"payload column {name!r} holds {old}, came {new}; convert the values")
        joined[name] = values
    return joined


def require_comparable(condition: Any, kinds: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` for a condition on a column that is not there, or with values of another kind than it holds."""
    if condition.column not in kinds:
        raise InvalidInput(f"filter: no payload column {condition.column!r}; there are {sorted(kinds)}")
    kind = kinds[condition.column]
    values = condition.value if condition.operator == "in" else (condition.value,)
    if kind is not None and any(_family(_KINDS[type(value)]) != _family(kind) for value in values):
        raise InvalidInput(f"filter: {condition} does not fit the column, which holds {kind}")


def meets(value: Any, condition: Any) -> bool:
    """Whether a row's value meets a condition that `require_comparable` let pass; a row without a value meets none."""
    return value is not None and _COMPARE[condition.operator](value, condition.value)


def _family(kind: str) -> str:
    return "numbers" if kind == "whole numbers" else kind


def _is_plain(values: list[Any]) -> bool:
    """Whether all values are Python's own and usable, found without a step for each."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {str}:
        try:
            "".join(value for value in values if value is not None).encode()
        except UnicodeEncodeError:
            return False
        return True
    if kinds <= {float}:
        return all(math.isfinite(value) for value in values if value is not None)
    return kinds <= {int} or kinds <= {bool}


def _plain_values(name: str, values: Sequence[Any]) -> list[Any]:
    column = []
    for row, value in enumerate(values):
        try:
            column.append(plain(value))
        except ValueError as error:
            raise InvalidInput(f"payload column {name!r}, row {row}: expected {_EXPECTED}; {error}") from error
    return column


def _as_numbers(name: str, values: Sequence[Any]) -> list[float | None]:
    for row, value in enumerate(values):
        if value is not None and (abs(value) > _MOST or float(value) != value):
            raise InvalidInput(
                f"payload column {name!r}, row {row}: {value} has too many digits to stand among numbers with a fraction; "
                "keep the column as text"
            )
    return [None if value is None else float(value) for value in values]
