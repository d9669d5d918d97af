"""The backfill: rows that have no vector of the new model get one, batch by batch, beside readers and writers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from embridge.errors import GateRefused, InvalidInput, StoreError
from embridge.progress import Progress, silent
from embridge.rollout._open_writes import (
    BACKFILL,
    backfilling_rows,
    encoded_before,
    encoded_on_read,
    forget_abandoned,
    open_rows,
)
from embridge.rollout._renewal import Encode, Renewal, Source
from embridge.rollout.foreign import delete_revived
from embridge.rollout.stale import forget_stale, note_stale, stale_rows
from embridge.space import Space
from embridge.stores.base import Store
from embridge.stores.changes import ChangeQueue

__all__ = ["Backfill", "BackfillLimits", "BackfillResult", "Source"]

_PASSES = 20
_PAGE_ROWS = 10_000  # of the work list; some databases read all ids for a page


@dataclass(frozen=True, slots=True)
class BackfillLimits:
    """How fast and how far a backfill goes.

    Attributes:
        batch_rows: Rows that are encoded and written at once: what a kill can cost.
        rows_per_second: At most; None for as many as go.
        most_rows: Rows after which it ends; None for all.
        price: Of an item, in whatever currency; 0 where nothing is paid.
        spend_cap: It stops before more than this is spent, runs before this one included; None for no cap.
        most_failed: Items that may be unreadable; it stops when there are more. None for any number.

    Raises:
        InvalidInput: A value is out of range.

    Examples:
        >>> BackfillLimits(batch_rows=64, price=0.001, spend_cap=10.0).batch_rows
        64
    """

    batch_rows: int = 256
    rows_per_second: float | None = None
    most_rows: int | None = None
    price: float = 0.0
    spend_cap: float | None = None
    most_failed: int | None = None

    def __post_init__(self) -> None:
        if self.batch_rows < 1:
            raise InvalidInput(f"batch_rows is at least 1, came {self.batch_rows}")
        for name in ("rows_per_second", "most_rows", "spend_cap"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInput(f"{name} is above 0, or left out for no limit; came {value}")
        if not self.price >= 0:
            raise InvalidInput(f"price is 0 or more, came {self.price}")


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """How a backfill ended.

    Attributes:
        rows: Rows that got a new vector.
        failed: Ids whose items could not be had, with the reason; their old vectors stay.
        encoded: Items that were encoded, those that changed meanwhile once more.
        spent: Of the price.
        ended: ``done``, ``paused``, ``limit``, or ``failures`` where more items could not be had than may be.

    Examples:
        >>> BackfillResult(2, {}, 2, 0.0, "done").ended
        'done'
    """

    rows: int
    failed: Mapping[str, str]
    encoded: int
    spent: float
    ended: str


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    encoded: int = 0
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    noted: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Backfill:
    """Gives rows that have no new vector one, batch by batch, beside readers and writers.

    A row that is changed while its item is encoded is encoded again; one that is deleted meanwhile does not come back: each
    row is looked at once more after it was written. Whoever kills this loses one batch of work, and no row: the store knows
    what is missing, and which rows were not looked at again, and the next run goes on there. Of two that run at once one is
    too many: a lease of the rollout's state keeps them apart.

    Attributes:
        store: The store, which holds both spaces.
        old: The space of the rows that are there.
        new: The space that they get a vector of.
        source: Reads items by id.
        encode: From ids and their items to vectors of the new space.
        queue: What others write meanwhile, where the database notes it; without it, passes go on until none finds a row.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings
        >>> from embridge.stores import MemoryStore
        >>> old, new = Space("mini", "1", 2), Space("mini", "2", 2)
        >>> store = MemoryStore(old, new)
        >>> store.upsert(Embeddings.of(np.eye(2, dtype=np.float32), old, ["a", "b"]))
        >>> def encode(ids, items):
        ...     return Embeddings.of(np.ones((len(ids), 2), np.float32), new, ids)
        >>> result = Backfill(store, old, new, lambda ids: (dict.fromkeys(ids, "text"), {}), encode).run()
        >>> result.rows, store.missing(new, old, limit=9)
        (2, [])
    """

    store: Store
    old: Space
    new: Space
    source: Source
    encode: Encode
    queue: ChangeQueue | None = None

    def run(
        self,
        *,
        order: Iterable[str] = (),
        limits: BackfillLimits | None = None,
        goes_on: Callable[[], bool] = lambda: True,
        progress: Progress = silent,
    ) -> BackfillResult:
        """Go on until no row is without a new vector, or until something ends it.

        Args:
            order: Ids in the order that pays; those it does not name follow in the store's order.
            limits: How fast and how far.
            goes_on: Asked before each batch: False pauses. A controller renews its lease there.
            progress: Hears how many rows are done.

        Returns:
            What was done.

        Raises:
            GateRefused: The next batch would pass the spend cap; what was written stays.
        """
        limits, tally = limits or BackfillLimits(), self._tally()
        total, began = self.store.count(self.old), time.monotonic()
        for batch in self._batches(order, limits, tally):
            if not goes_on():
                return _result(tally, limits, "paused")
            self._require_money(len(batch), limits, tally)
            self._fill(batch, limits, tally)
            if limits.most_failed is not None and len(tally.failed) > limits.most_failed:
                return _result(tally, limits, "failures")
            progress(tally.rows + len(tally.failed), total, "rows encoded by the new model")
            if limits.rows_per_second is not None:
                time.sleep(max(0.0, began + tally.encoded / limits.rows_per_second - time.monotonic()))
        ended = "limit" if limits.most_rows is not None and tally.rows >= limits.most_rows else "done"
        return _result(tally, limits, ended)

    def _tally(self) -> _Tally:
        documents = self.store.documents
        return _Tally(before=encoded_before(documents, self.new), noted=documents.read(BACKFILL))

    def _batches(self, order: Iterable[str], limits: BackfillLimits, tally: _Tally) -> Iterator[list[str]]:
        """What is missing, in order, until nothing is: rows that others write meanwhile too."""
        open_ids = backfilling_rows(self.store.documents, self.old)
        kept = list(self.store.fetch(self.old, open_ids).ids)
        delete_revived(self.store, set(open_ids).difference(kept))  # which a killed run may have written again
        if kept:  # one batch, and whole, or the note of some would be lost; they count where they had no new vector yet
            had = len(self.store.fetch(self.new, kept).ids)
            yield kept
            tally.rows = max(0, tally.rows - had)
        documents, began = self.store.documents, time.time()
        stale = sorted({*stale_rows(documents), *open_rows(documents)})
        for start in range(0, len(stale), _PAGE_ROWS):
            yield from _parts(list(self.store.fetch(self.old, stale[start : start + _PAGE_ROWS]).ids), limits, tally)
        if stale and _size(limits, tally):
            forget_stale(documents, sorted(set(stale) - tally.failed.keys()))
            forget_abandoned(documents, now=began)
        ordered = iter(order)
        while (size := _size(limits, tally)) and (names := list(islice(ordered, size))):
            yield from _parts(self._lacking(names, tally), limits, tally)
        for _ in range(_PASSES):
            after, found = None, False
            while (size := _size(limits, tally)) and (
                names := self.store.missing(self.new, self.old, after=after, limit=max(size, _PAGE_ROWS))
            ):
                after = names[-1]
                for batch in _parts([name for name in names if name not in tally.failed], limits, tally):
                    found = True
                    yield batch
            yield from self._noted(limits, tally)
            if not found or self.queue is not None:
                return

    def _noted(self, limits: BackfillLimits, tally: _Tally) -> Iterator[list[str]]:
        """What others wrote meanwhile, where the database notes it: behind the place where a pass is, too."""
        for _ in range(_PASSES if self.queue is not None else 0):
            assert self.queue is not None
            changes = self.queue.read(limit=_PAGE_ROWS)
            yield from _parts(self._lacking([name for _, name in changes], tally), limits, tally)
            if not changes or not _size(limits, tally):
                return
            self.queue.forget([number for number, _ in changes])

    def _lacking(self, names: Sequence[str], tally: _Tally) -> list[str]:
        """Of some rows, those without a new vector that could have one."""
        there = set(self.store.fetch(self.old, names).ids) - set(self.store.fetch(self.new, names).ids)
        return [name for name in dict.fromkeys(names) if name in there - tally.failed.keys()]

    def _fill(self, ids: list[str], limits: BackfillLimits, tally: _Tally) -> None:
        """Encode and write some rows, and look at them again, until none of their items changed meanwhile."""
        items, reasons = self.source(ids)
        tally.failed.update(reasons)
        if reasons and (former := self.store.fetch(self.new, list(reasons)).ids):
            note_stale(self.store.documents, former)  # until their items can be had
        self._note(list(items), tally)
        try:
            self._require_money(len(items), limits, tally)  # queries pay too, by what was noted a moment ago
        except GateRefused:
            self._note([], tally)
            raise
        renewal = Renewal(self.store, self.old, self.new, self.source, self.encode)
        renewal.run(items)
        tally.encoded += renewal.encoded
        self._note([], tally)
        tally.rows += len(renewal.written)

    def _note(self, ids: Sequence[str], tally: _Tally) -> None:
        """Say of which rows a kill would leave open whether their items changed meanwhile."""
        others = (tally.noted or {}).get("encoded", {})
        encoded = others | {self.new.id: tally.before + tally.encoded + len(ids)}
        noted = {"old": self.old.id, "ids": list(ids), "encoded": encoded}
        if not self.store.documents.swap(BACKFILL, tally.noted, noted):
            raise StoreError("another backfill runs in this store; stop one of the two")
        tally.noted = noted

    def _require_money(self, count: int, limits: BackfillLimits, tally: _Tally) -> None:
        if limits.spend_cap is None:
            return
        encoded = tally.before + encoded_on_read(self.store.documents, self.new) + tally.encoded
        if (encoded + count) * limits.price > limits.spend_cap:
            raise GateRefused(
                f"the next {count} items would cost more than the spend cap of {limits.spend_cap:g} "
                f"({encoded:,} were encoded for {encoded * limits.price:g}); raise it to go on"
            )


def _size(limits: BackfillLimits, tally: _Tally) -> int:
    """Rows of the next batch; 0 where no more are wanted."""
    left = limits.batch_rows if limits.most_rows is None else limits.most_rows - tally.rows
    return max(0, min(limits.batch_rows, left))


def _parts(names: list[str], limits: BackfillLimits, tally: _Tally) -> Iterator[list[str]]:
    while names and (size := _size(limits, tally)):
        yield names[:size]
        names = names[size:]


def _result(tally: _Tally, limits: BackfillLimits, ended: str) -> BackfillResult:
    return BackfillResult(tally.rows, dict(tally.failed), tally.encoded, tally.encoded * limits.price, ended)
