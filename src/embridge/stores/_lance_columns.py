"""A space's table in LanceDB: its schema, what its payload columns are of, and rows as Arrow has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import require
from embridge.space import Space
from embridge.stores._columns import Kind, fitted, kind_of

__all__ = ["SPACE_KEY", "as_rows", "as_table", "kinds_of", "ready", "schema_of", "values_of"]

SPACE_KEY = b"embridge.space"
_BLANK = "_blank_"
"""Begins the name of a column without a value, for a moment: LanceDB can neither cast it nor replace it in one step."""


def schema_of(space: Space) -> Any:
    """The schema of an empty table; its metadata say of which space."""
    pa = require("pyarrow", extra="lancedb")
    fields = [("id", pa.string()), ("vector", pa.list_(pa.float32(), space.dim))]
    return pa.schema(fields, metadata={SPACE_KEY: json.dumps(space.to_dict())})


def kinds_of(schema: Any) -> dict[str, Any]:
    """The payload columns, and what each holds; Arrow's own name of it for what this library does not write."""
    types = require("pyarrow", extra="lancedb").types
    kinds: dict[str, Any] = {}
    for field in schema:
        if field.name in ("id", "vector") or field.name.startswith("_"):
            continue
        is_text = types.is_string(field.type) or types.is_large_string(field.type)
        kinds[field.name] = (
            "text" if is_text
            else "true or false" if types.is_boolean(field.type)
            else "whole numbers" if types.is_integer(field.type)
            else "numbers" if types.is_floating(field.type)
            else None if types.is_null(field.type)
            else str(field.type)
        )  # fmt: skip
    blank = (name.removeprefix(_BLANK) for name in schema.names if name.startswith(_BLANK))
    return kinds | {name: None for name in blank if name not in kinds}


def ready(table: Any, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns as the table takes them, which it does from here on: its first rows settle them.

    Raises `InvalidInput` for other columns, and for one of another kind.
    """
    held = kinds_of(table.schema)
    if not held and columns and table.count_rows() == 0:
        table.add_columns([_field(name, kind_of(values)) for name, values in columns.items()])
        return columns
    columns = fitted(held, columns)
    for name, values in columns.items():
        if held[name] is None and (kind := kind_of(values)) is not None:
            _settle(table, name, kind)
    return columns


def as_table(rows: Embeddings, columns: Mapping[str, list[Any]], schema: Any) -> Any:
    """Rows as a table of that schema."""
    pa = require("pyarrow", extra="lancedb")
    flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1))
    arrays = {"id": pa.array(rows.ids, pa.string()), "vector": pa.FixedSizeListArray.from_arrays(flat, rows.space.dim)}
    for field in schema:
        if field.name not in arrays:
            arrays[field.name] = pa.array(columns.get(field.name, [None] * len(rows)), field.type)
    return pa.table([arrays[name] for name in schema.names], schema=schema)


def as_rows(found: Any, space: Space) -> Embeddings:
    """Ids and vectors of rows that were found."""
    flat = found["vector"].combine_chunks().flatten().to_numpy()
    return Embeddings(tuple(found["id"].to_pylist()), flat.reshape(len(found), space.dim), space)


def values_of(found: Any, schema: Any) -> dict[str, list[Any]]:
    """The payload of rows that were found."""
    blank = [None] * len(found)
    return {name: found[name].to_pylist() if name in found.column_names else blank for name in kinds_of(schema)}


def _settle(table: Any, name: str, kind: Kind) -> None:
    """Give a column without a value the type of its first ones; stopped at any point, it is a column without a value."""
    if name in table.schema.names:
        table.alter_columns({"path": name, "rename": _BLANK + name})
    table.add_columns([_field(name, kind)])
    table.drop_columns([_BLANK + name])


def _field(name: str, kind: Kind | None) -> Any:
    pa = require("pyarrow", extra="lancedb")
    of_kind = {"text": pa.string(), "true or false": pa.bool_(), "whole numbers": pa.int64(), "numbers": pa.float64()}
    return pa.field(name, pa.null() if kind is None else of_kind[kind])
