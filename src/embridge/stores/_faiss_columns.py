"""FAISS files: the other columns of a Parquet file of ids, read only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embridge.errors import StoreError, require

__all__ = ["as_payload", "columns_of", "payload_names", "values_at"]

_PAYLOAD_KINDS = ("text", "true or false", "whole numbers", "numbers")


def columns_of(path: Path | None) -> dict[str, str]:
    """What the columns hold, by name: a kind of payload, or Arrow's word where it is none."""
    if path is None or path.suffix.lower() != ".parquet":
        return {}
    types = require("pyarrow.types", extra="parquet")
    return {column.name: _kind(types, column.type) for column in _dataset(path).schema}


def payload_names(columns: Mapping[str, str], *, but: str) -> list[str]:
    """Of columns those that are payload, but the one of the ids."""
    return [name for name, kind in columns.items() if kind in _PAYLOAD_KINDS and name != but]


def as_payload(value: Any) -> Any:
    """A value as a payload has it: dates and times as text."""
    return value.isoformat() if getattr(value, "isoformat", None) else value


def values_at(path: Path, names: list[str], numbers: np.ndarray) -> dict[str, list[Any]]:
    """Those columns of the rows of those numbers."""
    rows = _dataset(path).take(numbers, columns=names)
    return {name: rows[name].to_pylist() for name in names}


def _dataset(path: Path) -> Any:
    dataset = require("pyarrow.dataset", extra="parquet")
    try:
        return dataset.dataset(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:300]}") from error


def _kind(types: Any, kind: Any) -> str:
    if types.is_string(kind) or types.is_large_string(kind) or types.is_temporal(kind):
        return "text"
    if types.is_boolean(kind):
        return "true or false"
    if types.is_integer(kind):
        return "whole numbers"
    return "numbers" if types.is_floating(kind) else str(kind)
