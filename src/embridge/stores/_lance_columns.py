"""The payload in a LanceDB table: which columns it is, what they hold, and rows as Arrow has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, require
from embridge.space import Space
from embridge.stores._columns import Kind, fitted, kind_of
from embridge.stores._lance_documents import KEY
from embridge.stores._lance_rows import Source, id_array, id_kind, texts_of

__all__ = ["SPACE_KEY", "as_table", "kinds_of", "kinds_of_source", "payload_of", "ready", "schema_of"]

SPACE_KEY = b"embridge.space"
_BLANK = "_blank_"
"""Begins the name of a column without a value, for a moment: LanceDB can neither cast it nor replace it in one step."""


def schema_of(space: Space) -> Any:
    """The schema of an empty table; its metadata say of which space, and that ids of two writers at once may not repeat."""
    pa = require("pyarrow", extra="lancedb")
    name = pa.field("id", pa.string(), nullable=False, metadata={KEY: "true"})
    return pa.schema(
        [name, pa.field("vector", pa.list_(pa.float32(), space.dim))], metadata={SPACE_KEY: json.dumps(space.to_dict())}
    )


def kinds_of(schema: Any, *without: str) -> dict[str, Any]:
    """Columns but some, and what each holds; Arrow's own name of it for what this library does not write."""
    kinds = {
        field.name: _kind(field.type)
        for field in schema
        if field.name not in without and not field.name.startswith("_")
    }
    blank = (name.removeprefix(_BLANK) for name in schema.names if name.startswith(_BLANK))
    return kinds | {name: None for name in blank if name not in kinds}


def kinds_of_source(source: Source) -> dict[str, Any]:
    """The payload columns of a space; of an adopted table those of values, not its vectors, bytes, lists and objects."""
    schema = source.table.schema
    kinds = kinds_of(schema, *source.columns)
    if not source.declaration.adopted:
        return kinds
    return {name: kind for name, kind in kinds.items() if _is_value(schema.field(name).type)}


def payload_of(found: Any, kinds: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The payload of rows that were found; dates, times and UUIDs as text."""
    columns: dict[str, list[Any]] = {}
    for name in kinds:
        if name not in found.column_names:
            columns[name] = [None] * len(found)
            continue
        column = found[name]
        if id_kind(column.type) == "UUIDs":
            columns[name] = [text for chunk in column.chunks for text in texts_of(chunk)]
            continue
        values = column.to_pylist()
        is_time = require("pyarrow", extra="lancedb").types.is_temporal(column.type)
        columns[name] = [_as_text(value) for value in values] if is_time else values
    return columns


def ready(source: Source, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns as the table takes them, which it does from here on: the first rows of a table of ours settle them.

    Raises `InvalidInput` for other columns, and for one of another kind.
    """
    table, held = source.table, kinds_of_source(source)
    if source.declaration.adopted:
        return fitted(held, columns, some=True)
    if not held and columns and table.count_rows() == 0:
        table.add_columns([_field(name, kind_of(values)) for name, values in columns.items()])
        return columns
    columns = fitted(held, columns)
    for name, values in columns.items():
        if held[name] is None and (kind := kind_of(values)) is not None:
            _settle(table, name, kind)
    return columns


def as_table(rows: Embeddings, columns: Mapping[str, list[Any]], source: Source) -> Any:
    """Rows as the table takes them: of an adopted one only the columns that came."""
    pa = require("pyarrow", extra="lancedb")
    schema, place = source.table.schema, source.place
    arrays = {place.id: id_array(rows.ids, source.id_type), place.vector: _vectors(rows, source.vectors)}
    for field in schema:
        if field.name in arrays or (source.declaration.adopted and field.name not in columns):
            continue
        try:
            arrays[field.name] = pa.array(columns.get(field.name, [None] * len(rows)), field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise InvalidInput(f"payload column {field.name!r} holds {field.type}: {error}") from error
    names = [name for name in schema.names if name in arrays]
    return pa.table([arrays[name] for name in names], schema=pa.schema([schema.field(name) for name in names]))


def _vectors(rows: Embeddings, type_: Any) -> Any:
    pa = require("pyarrow", extra="lancedb")
    flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1))
    fixed = pa.FixedSizeListArray.from_arrays(flat, rows.space.dim)
    return fixed if fixed.type == type_ else fixed.cast(type_)


def _kind(type_: Any) -> Any:
    types = require("pyarrow", extra="lancedb").types
    if types.is_dictionary(type_):
        return _kind(type_.value_type)
    is_text = types.is_string(type_) or types.is_large_string(type_)
    return (
        "text" if is_text
        else "true or false" if types.is_boolean(type_)
        else "whole numbers" if types.is_integer(type_)
        else "numbers" if types.is_floating(type_)
        else None if types.is_null(type_)
        else str(type_)
    )  # fmt: skip


def _is_value(type_: Any) -> bool:
    types = require("pyarrow", extra="lancedb").types
    known = _kind(type_) in (None, "text", "true or false", "whole numbers", "numbers")
    return known or types.is_temporal(type_) or id_kind(type_) is not None


def _as_text(value: Any) -> str | None:
    return None if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)


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
