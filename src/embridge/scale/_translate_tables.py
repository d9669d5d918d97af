"""A Parquet table mapped into a folder of Parquet files, a row group each; the other columns go along as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embridge.atomic_write import atomic_file
from embridge.embeddings import require_vectors
from embridge.errors import require
from embridge.scale._mapping import map_from, mapped
from embridge.space import Space
from embridge.vector_files._groups import group_batches
from embridge.vector_files._numbers import as_float32
from embridge.vector_files._ranges import Range
from embridge.vector_files._tables import SPACE_KEY, rows_of

__all__ = ["MapTable", "TableWorker", "VectorsOf"]

VectorsOf = Callable[[Any, Range], np.ndarray]
"""From a part of a table to the new vectors of its rows."""


@dataclass(frozen=True, slots=True)
class MapTable:
    """Prepares the map of vectors that stand in a table."""

    upgrade: Path
    source: Space
    batch_rows: int

    def __call__(self) -> VectorsOf:
        adapter = map_from(self.upgrade, self.source)

        def vectors_of(table: Any, part: Range) -> np.ndarray:
            assert part.names is not None
            _, vectors = rows_of(table, part.path, part.names)
            numbers = as_float32(vectors, part.path, cast=part.cast)
            require_vectors(numbers, dim=self.source.dim, what=f"{part.path}, {part}")
            return np.concatenate(list(mapped(adapter, numbers, self.batch_rows)))

        return vectors_of


@dataclass(frozen=True, slots=True)
class TableWorker:
    """Prepares a worker: what makes vectors, and the folder of its parts. A part that is there is done."""

    vectors: Callable[[], VectorsOf]
    target: Space
    folder: Path
    columns: tuple[str, ...]
    batch_rows: int

    def __call__(self) -> Callable[[Range], int]:
        vectors_of = self.vectors()

        def translate(part: Range) -> int:
            path = self.folder / f"part-{part.first:012d}.parquet"
            if path.exists():
                return part.rows
            tables = (self._renewed(table, vectors_of(table, part), part) for table in self._tables(part))
            with atomic_file(path) as temporary:
                _write(tables, temporary)
            return part.rows

        return translate

    def _tables(self, part: Range) -> Iterator[Any]:
        yield from group_batches(part.path, part.group, self.batch_rows, self.columns)

    def _renewed(self, table: Any, vectors: np.ndarray, part: Range) -> Any:
        pa = require("pyarrow", extra="parquet")
        assert part.names is not None
        column = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).reshape(-1)), self.target.dim)
        field = pa.field(part.names[1], column.type)
        table = table.set_column(table.column_names.index(part.names[1]), field, column)
        return table.replace_schema_metadata({SPACE_KEY: json.dumps(self.target.to_dict())})


def _write(tables: Iterator[Any], path: Path) -> None:
    parquet, writer = require("pyarrow.parquet", extra="parquet"), None
    try:
        for table in tables:
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
