"""What a command line says of queries: a file of them, and conditions on what is found."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from embridge.errors import InvalidInput, SettingsError, require
from embridge.stores import Condition
from embridge.vector_files import SUFFIXES

__all__ = ["condition_of", "holds_vectors"]

_CONDITION = re.compile(
    r'\s*(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>\w+))\s*(?P<operator>==|!=|<=|>=|=|<|>|in\b)\s*(?P<value>.+?)\s*'
)


def holds_vectors(path: Path) -> bool:
    """Whether a file of queries holds vectors: by its suffix, and a Parquet file by its columns."""
    if path.suffix != ".parquet" or not path.is_file():
        return path.suffix in SUFFIXES
    try:
        names = require("pyarrow.parquet", extra="parquet").read_schema(path).names
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as parquet: {error}") from error
    return "vector" in names


def condition_of(text: str) -> Condition:
    """A condition as people write it, such as ``price<10``, ``kind=shoe`` or ``kind in shoe,boot``.

    A value that is JSON is what it says: a number, true, false, or text in double quotes. All else is text. A column whose
    name is no plain word stands in double quotes, such as ``"my price"<10``.
    """
    parts = _CONDITION.fullmatch(text)
    if parts is None:
        raise SettingsError(
            'a filter is a column, one of == != < <= > >= in, and a value, such as price<10, or "my price"<10 where the column '
            f"is no plain word; came {text!r}"
        )
    column = parts["plain"] or parts["quoted"].replace('""', '"')
    operator = "==" if parts["operator"] == "=" else parts["operator"]
    value = _values(parts["value"]) if operator == "in" else _value(parts["value"])
    try:
        return Condition(column, operator, value)  # type: ignore[arg-type]
    except InvalidInput as error:
        raise SettingsError(f"filter {text!r}: {error}") from error


def _values(text: str) -> tuple[Any, ...]:
    try:
        return tuple(json.loads(f"[{text}]"))
    except ValueError:
        return tuple(_value(part.strip()) for part in text.split(","))


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (str, int, float, bool)) else text
