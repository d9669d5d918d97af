"""Files of vectors written a part at a time, with further columns beside the vectors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from embridge.atomic_write import atomic_file, atomic_pair
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, require
from embridge.space import Space, require_same
from embridge.vector_files._npy import BLOCK_BYTES, CHECKSUM, belongs, checksums, sidecar_of
from embridge.vector_files._said import vector_suffix
from embridge.vector_files._tables import SPACE_KEY

__all__ = ["Part", "write_npy_header", "write_rows"]

Part = tuple[Embeddings, Mapping[str, Sequence[Any]]]
"""Some rows, and their further columns: text, true or false, whole numbers, numbers, or None."""


def write_rows(parts: Callable[[], Iterable[Part]], path: Path | str, space: Space) -> int:
    """Write rows as they come; memory holds one part, and the file appears whole or not at all.

    Args:
        parts: Begins the rows. It is called again where a column turns out to hold another kind than its first values did,
            such as numbers after whole ones. All parts have the same columns; an npy has none.
        path: As for `write_vectors`.
        space: Of the rows.

    Returns:
        How many rows were written.

    Raises:
        InvalidInput: There are no rows, a column holds two kinds, or it cannot be written there.
        SpaceMismatch: A part is of another space.

    Examples:
        >>> from embridge import read_vectors
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a", "b"])
        >>> write_rows(lambda: [(rows, {"title": ["a cat", None]})], "rows.parquet", rows.space)
        2
        >>> read_vectors("rows.parquet").ids
        ('a', 'b')
    """
    path = Path(path)
    suffix = vector_suffix(path)
    if suffix == ".npy":
        return _write_npy(parts(), path, space)
    kinds: dict[str, type | None] = {}
    while True:
        try:
            with atomic_file(path) as temporary:
                return _write_table(parts(), temporary, suffix, space, kinds)
        except _OtherKind as other:
            kinds[other.column] = other.kind


class _OtherKind(Exception):
    """A column holds another kind than was taken for granted so far."""

    def __init__(self, column: str, kind: type) -> None:
        super().__init__(column)
        self.column, self.kind = column, kind


def _write_table(parts: Iterable[Part], path: Path, suffix: str, space: Space, kinds: dict[str, type | None]) -> int:
    pa, writer, count = require("pyarrow", extra="parquet"), None, 0
    try:
        for rows, columns in parts:
            require_same(space, rows.space, what="rows to write")
            for name, values in columns.items():
                kinds[name] = _kind(name, values, kinds.get(name), first=writer is None)
            schema = _schema(space, {name: kinds[name] for name in columns})
            writer = writer or _writer(path, suffix, schema)
            writer.write_table(_table(rows, columns, schema))
            count += len(rows)
    except pa.ArrowException as error:
        raise InvalidInput(f"{path.name}: {' '.join(str(error).split())[:200]}") from error
    finally:
        if writer is not None:
            writer.close()
    return _some(count)


def _kind(name: str, values: Sequence[Any], known: type | None, *, first: bool) -> type | None:
    """What the column holds, this part included; raises `_OtherKind` where the rows before were written as less."""
    kinds = set(map(type, values)) - {type(None)} | ({known} if known else set())
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1 or not kinds <= {str, bool, int, float}:
        words = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise InvalidInput(f"column {name!r} holds {words}; a column holds one of text, truths, whole numbers, numbers")
    kind = next(iter(kinds), None)
    if kind is not None and kind is not known and not first:
        raise _OtherKind(name, kind)
    return kind


def _schema(space: Space, kinds: Mapping[str, type | None]) -> Any:
    pa = require("pyarrow", extra="parquet")
    types: dict[type | None, Any] = {
        str: pa.string(),
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
        None: pa.null(),
    }
    fields = [("id", pa.string()), ("vector", pa.list_(pa.float32(), space.dim))]
    fields += [(name, types[kind]) for name, kind in kinds.items()]
    return pa.schema(fields, metadata={SPACE_KEY: json.dumps(space.to_dict())})


def _writer(path: Path, suffix: str, schema: Any) -> Any:
    if suffix == ".parquet":
        return require("pyarrow.parquet", extra="parquet").ParquetWriter(path, schema)
    return require("pyarrow.ipc", extra="parquet").new_file(str(path), schema)


def _table(rows: Embeddings, columns: Mapping[str, Sequence[Any]], schema: Any) -> Any:
    pa = require("pyarrow", extra="parquet")
    flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1))
    further = [pa.array(values, schema.field(name).type) for name, values in columns.items()]
    vectors = pa.FixedSizeListArray.from_arrays(flat, rows.space.dim)
    return pa.table([pa.array(rows.ids, pa.string()), vectors, *further], schema=schema)


def _write_npy(parts: Iterable[Part], path: Path, space: Space) -> int:
    """An npy whose number of rows is known at its end, and its JSON, whose ids are written as they come."""
    with atomic_pair(path, sidecar_of(path), belongs=belongs) as (array, description):
        count = 0
        with array.open("wb") as file, description.open("w", encoding="utf-8") as names:
            start = write_npy_header(file, 0, space.dim)
            names.write(f'{{"space": {json.dumps(space.to_dict())}, "ids": [')
            for rows, _ in parts:
                require_same(space, rows.space, what="rows to write")
                file.write(np.ascontiguousarray(rows.vectors, "<f4").data)
                names.write((", " if count and len(rows) else "") + json.dumps(rows.ids)[1:-1])
                count += len(rows)
            file.seek(0)
            if write_npy_header(file, _some(count), space.dim) != start:
                raise AssertionError("numpy left no room for the number of rows")
        with array.open("rb") as file:  # a memory map of it all would count as memory
            blocks = iter(partial(file.read, BLOCK_BYTES), b"")
            sums = [
                sum_ for block in blocks for sum_ in checksums(np.frombuffer(block, np.uint8), CHECKSUM, BLOCK_BYTES)
            ]
        with description.open("a", encoding="utf-8") as names:
            names.write(f'], "npy": {json.dumps({"block_bytes": BLOCK_BYTES, CHECKSUM: sums})}}}')
    return count


def write_npy_header(file: IO[bytes], rows: int, dim: int) -> int:
    """Where the numbers begin: numpy leaves room for rows to come."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _some(count: int) -> int:
    if not count:
        raise InvalidInput("there are no rows; nothing is written")
    return count
