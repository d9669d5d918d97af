"""Writes of LanceDB: whole or not at all, also when interrupted."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.space import Space
from embridge.stores._lance_columns import as_table, ready
from embridge.stores._lance_rows import Source, texts_of

__all__ = ["SmallFiles", "drop_repeats", "ended", "written"]

_T = TypeVar("_T")
_ATTEMPTS = 5
_MERGED_EVERY = 64  # writes of this process
_MOST_BYTES = 1 << 25  # of vectors that are written anew between two writes
_OVERTAKEN = ("conflict", "already exists", "Too many concurrent writers")


def ended(write: Callable[[], _T]) -> _T:
    """The write's result; an interrupt waits for its end, since LanceDB would write on in a thread of its own."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        return write()  # interrupts do not reach it, or end the process at once
    noted: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: noted.append((number, frame)))
    try:
        return write()
    finally:
        signal.signal(signal.SIGINT, handler)
        if noted:
            handler(*noted[0])


def written(source: Source, rows: Embeddings, columns: dict[str, list[Any]]) -> None:
    """Write rows in one commit, replacing those of the same id; again, where another writer changed the columns meanwhile."""
    there = _row_ids(source, rows.ids) if source.declaration.adopted else {}
    for attempt in range(_ATTEMPTS):
        try:
            data = as_table(rows, ready(source, columns), source)
            merge = source.table.merge_insert(source.place.id)
            result = merge.when_matched_update_all().when_not_matched_insert_all().execute(data)
            if source.declaration.adopted:
                drop_repeats(source, [name for name in rows.ids if name not in there])
            elif result.num_updated_rows + result.num_inserted_rows > len(rows):
                drop_repeats(source, rows.ids)
            return
        except InvalidInput:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            overtaken = any(words in str(error) for words in _OVERTAKEN)
            if not overtaken or attempt == _ATTEMPTS - 1:
                raise


def drop_repeats(source: Source, ids: Sequence[str]) -> None:
    """Keep one row of each id: LanceDB lets two writers insert the same one at the same moment, unless both merge into ours.

    Both keep the row that was in first, so that whoever looks later finds nothing to do.
    """
    for _ in range(_ATTEMPTS if ids else 0):  # again, since rows that are compacted at the moment lie elsewhere
        later = [row for rows in _row_ids(source, ids).values() for row in sorted(rows)[1:]]
        if not later:
            return
        source.table.delete(f"_rowid IN ({', '.join(map(str, later))})")


def _row_ids(source: Source, ids: Sequence[str]) -> dict[str | None, list[int]]:
    """LanceDB's own numbers of the rows of those ids, by id."""
    select = source.table.search().where(source.among(ids)).select([source.place.id])
    found = select.with_row_id(True).to_arrow()
    names = [name for chunk in found[source.place.id].chunks for name in texts_of(chunk)]
    rows: dict[str | None, list[int]] = {}
    for name, row in zip(names, found["_rowid"].to_pylist(), strict=True):
        rows.setdefault(name, []).append(row)
    return rows


@dataclass(frozen=True, slots=True)
class SmallFiles:
    """Merges the files that small writes leave in a table of ours: each takes time and memory of every later call.

    Larger tables, indexed ones and those of others are left to their owner: to merge also sorts new vectors into an index.
    """

    _writes: Counter[Space] = field(default_factory=Counter)

    def after_write(self, source: Source) -> None:
        """Count a write, and merge now and then; what fails is for a later write to do."""
        space, table = source.declaration.space, source.table
        self._writes[space] += 1
        if source.declaration.adopted or self._writes[space] % _MERGED_EVERY:
            return
        with suppress(ValueError, RuntimeError, OSError):
            if 4 * space.dim * table.count_rows() <= _MOST_BYTES and not table.list_indices():
                ended(table.optimize)
