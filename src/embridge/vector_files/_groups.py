"""Tables of vectors a row group at a time, which can be read apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embridge.errors import require
from embridge.vector_files._tables import count_in_table, ids_in, parts_of, require_columns, table_batches, unreadable

__all__ = ["group_batches", "part_groups", "table_ids"]

_ID_ROWS = 1 << 20
_BUFFER_BYTES = 1 << 20


def table_ids(path: Path, name: str) -> tuple[str, ...]:
    """All ids; no vector is read."""
    ids: list[str] = []
    for batch in table_batches(path, _ID_ROWS, (name,)):
        ids += ids_in(batch[name], f"{path}: the column {name}", len(ids))
    return tuple(ids)


def part_groups(path: Path) -> Iterator[tuple[Path, int | None, int]]:
    """The files of a table, their row groups, and the rows of each; of Arrow, a file is one group."""
    for part in parts_of(path):
        if path.suffix != ".parquet":
            yield part, None, count_in_table(part)
            continue
        with unreadable(part):
            said = require("pyarrow.parquet", extra="parquet").read_metadata(part)
            rows = [said.row_group(group).num_rows for group in range(said.num_row_groups)]
        yield from ((part, group, count) for group, count in enumerate(rows))


def group_batches(part: Path, group: int | None, rows: int, names: tuple[str, ...]) -> Iterator[Any]:
    """Tables of at most so many rows of one group."""
    if group is None:
        yield from table_batches(part, rows, names)
        return
    pa = require("pyarrow", extra="parquet")
    require_columns(part, names)
    with unreadable(part):
        parquet = require("pyarrow.parquet", extra="parquet")
        file = parquet.ParquetFile(part, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        batches = file.iter_batches(batch_size=rows, row_groups=[group], columns=list(names))
    while True:
        with unreadable(part):
            batch = next(batches, None)
        if batch is None:
            return
        if len(batch):
            yield pa.Table.from_batches([batch])
