"""Parquet, Arrow and Feather: a column of ids, a column of vectors, and the space in the schema's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, MissingSetting, require
from embridge.space import Space

__all__ = [
    "SPACE_KEY",
    "column_names",
    "count_in_table",
    "ids_in",
    "parts_of",
    "require_columns",
    "rows_of",
    "table_batches",
    "table_columns",
    "table_space",
    "texts_of",
    "unreadable",
    "values_of",
    "whole_table",
    "write_table",
]

SPACE_KEY = b"embridge.space"
_OURS = ("id", "vector")
_BUFFER_BYTES = 1 << 20  # so that a row group is read as it is needed, and not whole; what pre_buffer reads, it keeps
_STREAM_ENDS = (b"\xff\xff\xff\xff\0\0\0\0", b"\0\0\0\0")


def write_table(rows: Embeddings, path: Path, *, suffix: str) -> None:
    """Write a table of the kind that the suffix says."""
    table = _to_table(rows)
    if suffix == ".parquet":
        require("pyarrow.parquet", extra="parquet").write_table(table, path)
        return
    with require("pyarrow.ipc", extra="parquet").new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def column_names(columns: Mapping[str, str] | None) -> tuple[str, str]:
    """The file's names of ids and vectors."""
    unknown = sorted(set(columns or ()) - set(_OURS))
    if unknown:
        raise InvalidInput(f"columns: a file of vectors has {' and '.join(_OURS)}, not {unknown[0]!r}")
    names = dict(zip(_OURS, _OURS, strict=True)) | dict(columns or {})
    return names["id"], names["vector"]


def table_space(path: Path) -> Space | None:
    """The space that the file says, or each file of a folder."""
    spaces = []
    for part in parts_of(path):
        written = (_schema(part).metadata or {}).get(SPACE_KEY)
        try:
            spaces.append(None if written is None else Space.from_dict(json.loads(written)))
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{part} does not hold a space in its metadata ({error}); write it again") from error
    if len(set(spaces)) > 1:
        raise InvalidInput(f"{path}: its files say {len(set(spaces))} spaces; a folder of vectors is of one")
    return spaces[0]


def whole_table(path: Path, names: tuple[str, ...]) -> Any:
    """All rows of those two columns; of Arrow, as a memory map."""
    pa, tables = require("pyarrow", extra="parquet"), []
    for part in parts_of(path):
        require_columns(part, names)
        with unreadable(part):
            if path.suffix == ".parquet":
                parquet = require("pyarrow.parquet", extra="parquet")
                tables.append(parquet.ParquetFile(part).read(columns=list(names)).select(list(names)))
            else:
                table = _read_arrow(part).select(list(names))
                table.validate(full=True)  # Arrow itself would follow damaged offsets out of the file
                tables.append(table)
    with unreadable(path):
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables)


def table_batches(path: Path, rows: int, names: tuple[str, ...]) -> Iterator[Any]:
    """Tables of at most so many rows, one after the other."""
    pa = require("pyarrow", extra="parquet")
    for part in parts_of(path):
        require_columns(part, names)
        if path.suffix != ".parquet":
            table = whole_table(part, names)
            yield from (table.slice(start, rows) for start in range(0, len(table), rows))
            continue
        with unreadable(part):
            file = require("pyarrow.parquet", extra="parquet").ParquetFile(
                part, buffer_size=_BUFFER_BYTES, pre_buffer=False
            )
            batches = file.iter_batches(batch_size=rows, columns=list(names))
        while True:
            with unreadable(part):
                batch = next(batches, None)
            if batch is None:
                break
            if len(batch):
                yield pa.Table.from_batches([batch])


def rows_of(table: Any, path: Path, names: tuple[str, str], *, start: int = 0) -> tuple[tuple[str, ...], np.ndarray]:
    """Ids and vectors of a table, whose first row is number ``start`` of the file."""
    if not len(table):
        raise InvalidInput(f"{path}: no rows; nothing to read")
    columns = [table[name] for name in names]
    with unreadable(path):
        ids = ids_in(columns[0], f"{path}: the column {names[0]}", start)
        parts = [_matrix(chunk, f"{path}: the column {names[1]}") for chunk in columns[1].chunks if len(chunk)]
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:
        raise InvalidInput(f"{path}: the vectors differ in length ({sorted(widths)}); a file holds one dim")
    return ids, parts[0] if len(parts) == 1 else np.concatenate(parts)


def texts_of(table: Any, path: Path, names: tuple[str, str], *, start: int = 0) -> Iterator[tuple[str, str]]:
    """Ids and texts of a table's rows; rows without a text are passed over."""
    types, column = require("pyarrow", extra="parquet").types, table[names[1]]
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        raise InvalidInput(f"{path}: the column {names[1]}: expected texts, came {kind}; name a column of texts")
    with unreadable(path):
        ids, texts = ids_in(table[names[0]], f"{path}: the column {names[0]}", start), column.to_pylist()
    return ((name, text) for name, text in zip(ids, texts, strict=True) if text)


def table_columns(path: Path | str) -> dict[str, str]:
    """The columns of a table, and Arrow's word for what each holds.

    Args:
        path: A Parquet, Arrow or Feather file.

    Returns:
        By name, in order.

    Examples:
        >>> import pyarrow as pa
        >>> import pyarrow.parquet as pq
        >>> pq.write_table(pa.table({"sku": [7], "title": ["a red shoe"]}), "shop.parquet")
        >>> table_columns("shop.parquet")
        {'sku': 'int64', 'title': 'string'}
    """
    part = parts_of(Path(path))[0]
    schema = _schema(part)
    with unreadable(part):
        return {field.name: str(field.type) for field in schema}


def count_in_table(path: Path) -> int:
    """How many rows a table has; no vectors are read."""
    count = 0
    for part in parts_of(path):
        with unreadable(part):
            if path.suffix == ".parquet":
                count += require("pyarrow.parquet", extra="parquet").read_metadata(part).num_rows
            else:
                count += len(_read_arrow(part))
    return count


def values_of(table: Any, path: Path, names: Sequence[str]) -> dict[str, list[Any]]:
    """Further columns of a table's rows."""
    with unreadable(path):
        return {name: table[name].to_pylist() for name in names}


def ids_in(column: Any, where: str, start: int) -> tuple[str, ...]:
    """The ids of a column whose first row is number ``start``."""
    pa = require("pyarrow", extra="parquet")
    types, kind = pa.types, column.type
    if types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if column.null_count:
        row = start + column.is_null().to_numpy().argmax()
        raise InvalidInput(f"{where}: row {row} has no id (null); give every row an id of its own")
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    uuid = getattr(kind, "extension_name", "") == "arrow.uuid"
    decimal = types.is_decimal(kind) and kind.scale == 0
    if not (text or uuid or decimal or types.is_integer(kind)):
        raise InvalidInput(f"{where}: expected ids as text, whole numbers or UUIDs, came {kind}; convert them")
    values = column.to_pylist()
    return tuple(values if text else [str(int(v)) for v in values] if decimal else map(str, values))


def _matrix(chunk: Any, where: str) -> np.ndarray:
    pa = require("pyarrow", extra="parquet")
    types, compute = pa.types, require("pyarrow.compute", extra="parquet")
    tensor: Any = chunk.type
    if getattr(tensor, "extension_name", "") == "arrow.fixed_shape_tensor" and len(tensor.shape) == 1:
        chunk = chunk.storage
    kind = chunk.type
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    is_list = any(check(kind) for check in lists)
    if not is_list or not (types.is_integer(kind.value_type) or types.is_floating(kind.value_type)):
        raise InvalidInput(f"{where}: expected lists of numbers, came {kind}")
    if chunk.null_count:
        raise InvalidInput(f"{where}: some vectors are null; remove these rows")
    lengths = compute.min_max(compute.list_value_length(chunk)).as_py()
    if lengths["min"] != lengths["max"] or not lengths["max"]:
        raise InvalidInput(f"{where}: the vectors differ in length or are empty ({lengths}); a file holds one dim")
    values: np.ndarray = chunk.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(chunk), -1)


def _to_table(rows: Embeddings) -> Any:
    pa = require("pyarrow", extra="parquet")
    flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, rows.space.dim)
    metadata = {SPACE_KEY: json.dumps(rows.space.to_dict())}
    schema = pa.schema([("id", pa.string()), ("vector", vectors.type)], metadata=metadata)
    return pa.table([pa.array(rows.ids, pa.string()), vectors], schema=schema)


def parts_of(path: Path) -> list[Path]:
    """The file; of a folder, as Spark and Hive write it, its files by name."""
    if not path.is_dir():
        return [path]
    inside = (file.relative_to(path) for file in path.rglob(f"*{path.suffix}"))
    parts = sorted(path / file for file in inside if not any(name.startswith(("_", ".")) for name in file.parts))
    if not parts:
        raise InvalidInput(f"{path} is a folder without {path.suffix} files; name a file of vectors")
    return parts


def _schema(path: Path) -> Any:
    with unreadable(path):
        if path.suffix == ".parquet":
            return require("pyarrow.parquet", extra="parquet").read_schema(path)
        return _opened_arrow(path).schema


def _names_in(path: Path) -> list[str]:
    schema = _schema(path)
    with unreadable(path):  # a damaged name is no text
        return list(schema.names)


def _opened_arrow(path: Path) -> Any:
    """Of either form: the file, or the stream that the datasets library writes under the same name."""
    pa = require("pyarrow", extra="parquet")
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[:4] == b"FEA1":
        raise InvalidInput(f"{path} is of Feather's version 1; write it again as version 2, which is Arrow")
    source = pa.memory_map(str(path))
    return pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)


def _read_arrow(path: Path) -> Any:
    opened = _opened_arrow(path)
    if hasattr(opened, "get_batch"):
        return opened.read_all()
    with path.open("rb") as file:
        file.seek(-8, 2)
        if not file.read().endswith(_STREAM_ENDS):
            raise InvalidInput(f"{path} is an Arrow stream without its end: it was not written whole; write it again")
    return opened.read_all()


def require_columns(path: Path, names: tuple[str, ...]) -> None:
    """Raise `MissingSetting` unless the file has each of these columns once."""
    there = _names_in(path)
    wrong = [name for name in names if there.count(name) != 1]
    if wrong:
        columns = ", ".join(chain(map(repr, there[:20]), ["…"] if len(there) > 20 else []))
        raise MissingSetting(
            f"{path}: expected columns {' and '.join(names)}, each once, came {columns}; say what they are called with "
            "columns= (YAML: columns: {id: …, vector: …})"
        )


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Arrow's errors, as ours."""
    pa = require("pyarrow", extra="parquet")
    try:
        yield
    except InvalidInput:
        raise
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError, pa.ArrowException) as error:
        text = " ".join(str(error).split())[:200]
        raise InvalidInput(f"{path} cannot be read as {path.suffix[1:]}: {text}; write it again") from error
