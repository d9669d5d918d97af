"""One batch of a backfill: what is done of it, wherever that is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass

from embridge.rollout._renewal import Encode, Renewal, Source
from embridge.rollout.stale import note_stale
from embridge.space import Space
from embridge.stores.base import Store

__all__ = ["Batch", "Filled", "Filling", "Spread"]


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
    """

    store: Store
    old: Space
    new: Space
    source: Source
    encode: Encode

    def __call__(self, batch: Batch) -> Filled:
        items, reasons = self.source(batch.ids)
        if reasons and (former := self.store.fetch(self.new, list(reasons)).ids):
            note_stale(self.store.documents, former)  # until their items can be had
        renewal = Renewal(self.store, self.old, self.new, self.source, self.encode)
        renewal.run(items)
        return Filled(len(renewal.written), renewal.encoded, dict(reasons))

    def one_by_one(self, batches: Iterable[Batch]) -> Generator[tuple[Batch, Filled], None, None]:
        """Fill them here, one after the other."""
        for batch in batches:
            yield batch, self(batch)
