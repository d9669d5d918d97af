"""One batch of a backfill: what is done of it, wherever that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from embridge.embeddings import Embeddings
from embridge.rollout._renewal import Encode, Renewal, Source, carried
from embridge.rollout.stale import note_stale
from embridge.space import Space
from embridge.stores._bulk import Bulk, LackingRows
from embridge.stores.base import Store
from embridge.stores.presence import KnowsCompany, present

__all__ = ["LEAST_ROWS", "Batch", "Filled", "Filling", "InRow", "Spread", "has_company", "next_rows"]

LEAST_ROWS, _MOST_ROWS = 256, 16_384  # of a batch, where nobody says how many
_BRIEF_SECONDS, _SHORT_SECONDS, _LONG_SECONDS = 0.1, 0.5, 2.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are encoded and written at once; as they were read, where the store fills in bulk."""

    ids: tuple[str, ...]
    lacking: LackingRows | None = None
    bulk: Bulk | None = None

    def __str__(self) -> str:
        return f"{len(self.ids):,} rows from {self.ids[0]!r} on"


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of a batch.

    rows: How many have a vector of their newest content. encoded: Items, those that changed meanwhile once more. failed: Ids
    whose items could not be had, with the reason. later: Ids of rows that changed meanwhile, and are to be done once more.
    """

    rows: int
    encoded: int
    failed: Mapping[str, str]
    later: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class InRow:
    """Items that stand in a column of their rows.

    column: Its name. read: From ids and its values to the items by id, and to the reasons why others cannot be had.
    """

    column: str
    read: Callable[[Sequence[str], Sequence[Any]], tuple[Mapping[str, object], Mapping[str, str]]]


Spread = Callable[[Iterable[Batch]], Generator[tuple[Batch, Filled], None, None]]
"""Has batches filled, several at once perhaps, and gives each as it is done; it asks for one when somebody is free for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """Encodes and writes batches, and looks at their rows again until none of their items changed meanwhile.

    Done twice is done once. Whoever is killed in between leaves rows open; whoever hands batches out noted their ids before.

    noted: Whether the database notes each change of an item, and so says itself which rows to look at again. rest: After a
    batch, for how many times as long as its database was at work this waits, while others are connected to it. once: Whether
    no item is encoded twice for one batch.
    """

    store: Store
    old: Space
    new: Space
    source: Source
    encode: Encode
    noted: bool = False
    rest: float = 0.0
    in_row: InRow | None = None
    once: bool = False

    def __call__(self, batch: Batch) -> Filled:
        began, encoding = time.monotonic(), 0.0

        def encode(ids: Sequence[str], items: Sequence[object]) -> Embeddings:
            nonlocal encoding
            encoding -= time.monotonic()
            vectors = self.encode(ids, items)
            encoding += time.monotonic()
            return vectors

        lacking = batch.lacking
        if lacking is None or self.in_row is None:
            items, reasons = self.source(batch.ids)
        else:
            items, reasons = self.in_row.read(lacking.ids, lacking.values)
        if reasons and (former := present(self.store, self.new, list(reasons))):
            note_stale(self.store.documents, former)  # until their items can be had
        renewal = Renewal(self.store, self.old, self.new, self.source, encode, noted=self.noted, once=self.once)
        if lacking is not None and batch.bulk is not None:
            renewal.bulk = partial(_in_bulk, batch.bulk, lacking)
        renewal.run(items)
        if self.rest and has_company(self.store):
            time.sleep(self.rest * (time.monotonic() - began - encoding))
        return Filled(len(renewal.written), renewal.encoded, dict(reasons), tuple(sorted(renewal.left)))

    def one_by_one(self, batches: Iterable[Batch]) -> Generator[tuple[Batch, Filled], None, None]:
        """Fill them here, one after the other."""
        for batch in batches:
            yield batch, self(batch)


def has_company(store: Store) -> bool:
    """Whether other clients of the database are there, as far as it tells."""
    return isinstance(store, KnowsCompany) and store.others()


def next_rows(size: int, rows: int, seconds: float) -> int:
    """How many rows a batch has next, if nobody says it: more where one is over soon, since that costs less a row."""
    if seconds > _LONG_SECONDS:
        return max(LEAST_ROWS, size // 2)
    if seconds >= _SHORT_SECONDS or rows < size:
        return size
    return min(_MOST_ROWS, (4 if seconds < _BRIEF_SECONDS else 2) * size)


def _in_bulk(bulk: Bulk, lacking: LackingRows, rows: Embeddings) -> Sequence[str]:
    """Write rows as they lacked a vector, with the payload that was read with them; which to look at again."""
    payload = lacking.payload
    if len(rows) < len(lacking.ids):
        row_of = {name: row for row, name in enumerate(lacking.ids)}
        payload = {name: [values[row_of[one]] for one in rows.ids] for name, values in payload.items()}
    return bulk.write(rows, carried(payload), lacking)
