"""What a backfill has to do: rows without a new vector, in an order, until there are none, those of others included."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from embridge.rollout._batch import Batch
from embridge.rollout._open_writes import forget_abandoned, open_rows
from embridge.rollout._tally import Tally
from embridge.rollout.foreign import delete_revived
from embridge.rollout.stale import forget_stale, stale_rows
from embridge.space import Space
from embridge.stores._bulk import Bulk, FillsInBulk
from embridge.stores.base import Store
from embridge.stores.changes import ChangeQueue
from embridge.stores.presence import present

__all__ = ["WorkList"]

_PASSES = 20
_PAGE_ROWS = 100_000  # of the work list; some databases read all ids for a page
_NOTED_ROWS = 10_000
_OLD_SECONDS = 10.0  # after which others may have given some rows of a page their vector


@dataclass(frozen=True, slots=True, eq=False)
class WorkList:
    """The batches of a backfill, in pages: those of one page may be under way at once, and a page is asked for after it."""

    store: Store
    old: Space
    new: Space
    queue: ChangeQueue | None
    tally: Tally
    column: str = ""  # of the items, where batches are filled here, and the items stand in their rows

    def pages(self, order: Iterable[str]) -> Iterator[Iterator[Batch]]:
        """All there is to do; rows that others write meanwhile too."""
        yield from self._once(order)
        for _ in range(_PASSES):
            if not self.tally.later or not self.tally.size:
                return
            self.tally.later.clear()
            yield from self._stale()

    def _once(self, order: Iterable[str]) -> Iterator[Iterator[Batch]]:
        yield from self._left_open()
        yield from self._stale()
        ordered = iter(order)
        while (size := self.tally.size) and (names := list(islice(ordered, size))):
            yield self._in_order(names, ordered)
        for _ in range(_PASSES):
            found: list[str] = []
            self.tally.cut = False
            yield self._missing(found)
            cut = self.tally.cut
            yield from self._noted()
            if not found or (self.queue is not None and not cut):
                return

    def _left_open(self) -> Iterator[Iterator[Batch]]:
        """All rows that a kill left open, whatever the limit; they count where they had no new vector yet."""
        left = self.tally.left_open
        kept = present(self.store, self.old, left)
        delete_revived(self.store, set(left).difference(kept))  # which a killed run may have written again
        if not kept:
            return
        self.tally.open.update(dict.fromkeys(kept))
        had, size = len(present(self.store, self.new, kept)), self.tally.batch_rows
        yield (Batch(tuple(kept[start : start + size])) for start in range(0, len(kept), size))
        self.tally.rows = max(0, self.tally.rows - had)

    def _stale(self) -> Iterator[Iterator[Batch]]:
        """Rows whose new vectors are of a former content, as far as that was noted."""
        documents, began = self.store.documents, time.time()
        stale = sorted({*stale_rows(documents), *open_rows(documents)})
        if not stale:
            return
        self.tally.cut = False
        pages = (present(self.store, self.old, stale[n : n + _NOTED_ROWS]) for n in range(0, len(stale), _NOTED_ROWS))
        yield (batch for page in pages for batch in self._parts(page))
        if not self.tally.cut:
            forget_stale(documents, sorted(set(stale) - self.tally.failed.keys() - self.tally.later))
            forget_abandoned(documents, now=began)

    def _in_order(self, names: list[str], ordered: Iterator[str]) -> Iterator[Batch]:
        while names:
            yield from self._parts(self._lacking(names))
            names = list(islice(ordered, self.tally.size))

    def _missing(self, found: list[str]) -> Iterator[Batch]:
        """One pass over what is missing, in the store's order; a row that could have a vector is named in ``found``."""
        if (bulk := self._bulk()) is not None:
            for lacking in bulk.rows(lambda: self.tally.size, self.tally.failed):
                found[:] = found or lacking.ids[:1]
                yield Batch(lacking.ids, lacking, bulk)
            self.tally.cut |= not self.tally.size
            if found and bulk.settled:
                found.clear()
            return
        after = None
        while (size := self.tally.size) and (
            names := self.store.missing(self.new, self.old, after=after, limit=max(size, _PAGE_ROWS))
        ):
            after, left = names[-1], [name for name in names if name not in self.tally.failed]
            found[:] = found or left[:1]
            yield from self._fresh(left)
        self.tally.cut |= not size

    def _bulk(self) -> Bulk | None:
        """A pass that the store makes itself, where it can."""
        if not self.column or self.queue is not None or not isinstance(self.store, FillsInBulk):
            return None
        return self.store.bulk(self.new, self.old, self.column)

    def _fresh(self, names: list[str]) -> Iterator[Batch]:
        """The batches of a page, without the rows that others have seen to since it was read."""
        read = time.monotonic()
        for batch in self._parts(names):
            if time.monotonic() - read < _OLD_SECONDS:
                yield batch
            elif lacking := self._lacking(batch.ids):
                yield Batch(tuple(lacking))

    def _noted(self) -> Iterator[Iterator[Batch]]:
        """What others wrote meanwhile, where the database notes it: behind the place where a pass is, too."""
        for _ in range(_PASSES if self.queue is not None else 0):
            assert self.queue is not None
            changes = self.queue.read(limit=_NOTED_ROWS)
            self.tally.cut = False
            yield self._parts(self._lacking([name for _, name in changes]))
            if not changes or not self.tally.size:
                return
            if not self.tally.cut:
                self.queue.forget([number for number, _ in changes])

    def _lacking(self, names: Sequence[str]) -> list[str]:
        """Of some rows, those without a new vector that could have one, and that nobody is at."""
        there = set(present(self.store, self.old, names)) - set(present(self.store, self.new, names))
        out = self.tally.failed.keys() | self.tally.open.keys()
        return [name for name in dict.fromkeys(names) if name in there and name not in out]

    def _parts(self, names: list[str]) -> Iterator[Batch]:
        while names and (size := self.tally.size):
            yield Batch(tuple(names[:size]))
            names = names[size:]
        self.tally.cut |= bool(names)
