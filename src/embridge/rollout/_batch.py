"""One batch of a backfill: what is done of it, wherever that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from embridge.embeddings import Embeddings
from embridge.rollout._renewal import Encode, Renewal, Source
from embridge.rollout.stale import note_stale
from embridge.space import Space
from embridge.stores.base import Store
from embridge.stores.presence import KnowsCompany, present

__all__ = ["LEAST_ROWS", "Batch", "Filled", "Filling", "Spread", "has_company", "next_rows"]

LEAST_ROWS, _MOST_ROWS = 256, 4_096  # of a batch, where nobody says how many
_SHORT_SECONDS, _LONG_SECONDS = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are encoded and written at once."""

    ids: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.ids):,} rows from {self.ids[0]!r} on"


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of a batch.

    rows: How many have a vector of their newest content. encoded: Items, those that changed meanwhile once more. failed: Ids
    whose items could not be had, with the reason.
    """

    rows: int
    encoded: int
    failed: Mapping[str, str]


Spread = Callable[[Iterable[Batch]], Generator[tuple[Batch, Filled], None, None]]
"""Has batches filled, several at once perhaps, and gives each as it is done; it asks for one when somebody is free for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """Encodes and writes batches, and looks at their rows again until none of their items changed meanwhile.

    Done twice is done once. Whoever is killed in between leaves rows open; whoever hands batches out noted their ids before.

    noted: Whether the database notes each change of an item, and so says itself which rows to look at again. rest: After a
    batch, for how many times as long as its database was at work this waits, while others are connected to it.
    """

    store: Store
    old: Space
    new: Space
    source: Source
    encode: Encode
    noted: bool = False
    rest: float = 0.0

    def __call__(self, batch: Batch) -> Filled:
        began, encoding = time.monotonic(), 0.0

        def encode(ids: Sequence[str], items: Sequence[object]) -> Embeddings:
            nonlocal encoding
            encoding -= time.monotonic()
            vectors = self.encode(ids, items)
            encoding += time.monotonic()
            return vectors

        items, reasons = self.source(batch.ids)
        if reasons and (former := present(self.store, self.new, list(reasons))):
            note_stale(self.store.documents, former)  # until their items can be had
        renewal = Renewal(self.store, self.old, self.new, self.source, encode, noted=self.noted)
        renewal.run(items)
        if self.rest and has_company(self.store):
            time.sleep(self.rest * (time.monotonic() - began - encoding))
        return Filled(len(renewal.written), renewal.encoded, dict(reasons))

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
    return min(_MOST_ROWS, 2 * size) if seconds < _SHORT_SECONDS and rows >= size else size
