"""The backfill: rows that have no vector of the new model get one, batch by batch, beside readers and writers."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from embridge.errors import GateRefused, InvalidInput
from embridge.progress import Progress, silent
from embridge.rollout._batch import LEAST_ROWS, Batch, Filled, Filling, InRow, Spread, has_company, next_rows
from embridge.rollout._renewal import Encode, Source
from embridge.rollout._tally import Tally
from embridge.rollout._work_list import WorkList
from embridge.space import Space
from embridge.stores.base import Store
from embridge.stores.changes import ChangeQueue

__all__ = ["Backfill", "BackfillLimits", "BackfillResult", "Source"]


@dataclass(frozen=True, slots=True)
class BackfillLimits:
    """How fast and how far a backfill goes.

    Attributes:
        batch_rows: Rows that are encoded and written at once: what a kill can cost, for each batch that is under way. None for
            256, and up to 16,384 while a batch takes less than half a second and nobody else uses the database.
        rows_per_second: At most; None for as many as go.
        most_rows: Rows after which it ends; None for all.
        price: Of an item, in whatever currency; 0 where nothing is paid.
        spend_cap: It stops before more than this is spent, runs before this one included; None for no cap.
        most_failed: Items that may be unreadable; it stops when there are more. None for any number.
        rest: How many times as long as the database was at work for a batch is waited after it, while others are connected.

    Raises:
        InvalidInput: A value is out of range.

    Examples:
        >>> BackfillLimits(batch_rows=64, price=0.001, spend_cap=10.0).batch_rows
        64
    """

    batch_rows: int | None = None
    rows_per_second: float | None = None
    most_rows: int | None = None
    price: float = 0.0
    spend_cap: float | None = None
    most_failed: int | None = None
    rest: float = 0.0

    @property
    def once(self) -> bool:
        """Whether no item of a batch may be encoded twice, so that the cap holds to the item."""
        return self.spend_cap is not None and self.price > 0

    def __post_init__(self) -> None:
        if self.batch_rows is not None and self.batch_rows < 1:
            raise InvalidInput(f"batch_rows is at least 1, came {self.batch_rows}")
        for name in ("rows_per_second", "most_rows", "spend_cap"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInput(f"{name} is above 0, or left out for no limit; came {value}")
        for name in ("price", "rest"):
            if not getattr(self, name) >= 0:
                raise InvalidInput(f"{name} is 0 or more, came {getattr(self, name)}")


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
        noted: Whether it notes each change of an item, whose whole content stands in the row: the database says itself which
            rows to look at again, then.
        spread: Has batches filled by others, several at once; this process does them one by one where None.
        in_row: How items are made of a column in which the whole of each stands; None where they come from elsewhere.

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
    noted: bool = False
    spread: Spread | None = None
    in_row: InRow | None = None

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
        limits = limits or BackfillLimits()
        tally = self._tally(limits)
        total, began, run = self.store.count(self.old), time.monotonic(), _Run(tally, goes_on)
        column = self.in_row.column if self.in_row is not None and self.spread is None else ""
        for page in WorkList(self.store, self.old, self.new, self.queue, tally, column).pages(order):
            with closing(self._spread(run.handed_out(page), limits)) as done:
                for batch, filled in done:
                    tally.take(batch, filled)
                    run.adapt(len(batch.ids), limits, alone=self.spread is None and not has_company(self.store))
                    if limits.most_failed is not None and len(tally.failed) > limits.most_failed:
                        run.ended = "failures"
                    progress(tally.rows + len(tally.failed), total, "rows encoded by the new model")
                    if limits.rows_per_second is not None:
                        time.sleep(max(0.0, began + tally.encoded / limits.rows_per_second - time.monotonic()))
                    run.batch_began = time.monotonic()
            if run.ended:
                break
        tally.settle()
        if run.refused is not None:
            raise run.refused
        ended = "limit" if limits.most_rows is not None and tally.rows >= limits.most_rows else "done"
        spent = tally.encoded * limits.price
        return BackfillResult(tally.rows, dict(tally.failed), tally.encoded, spent, run.ended or ended)

    def _spread(self, batches: Iterable[Batch], limits: BackfillLimits) -> Generator[tuple[Batch, Filled], None, None]:
        if self.spread is not None:
            return self.spread(batches)
        noted = self.noted and self.queue is not None
        spaces = (self.old, self.new)
        filling = Filling(self.store, *spaces, self.source, self.encode, noted, limits.rest, self.in_row, limits.once)
        return filling.one_by_one(batches)

    def _tally(self, limits: BackfillLimits) -> Tally:
        spending = (limits.price, limits.spend_cap)
        size = limits.batch_rows or LEAST_ROWS
        return Tally(self.store.documents, self.old, self.new, size, limits.most_rows, *spending)


@dataclass(slots=True, eq=False)
class _Run:
    """What ends a run: batches that are under way come to their end."""

    tally: Tally
    goes_on: Callable[[], bool]
    ended: str = ""
    refused: GateRefused | None = None
    batch_began: float = field(default_factory=time.monotonic)

    def adapt(self, rows: int, limits: BackfillLimits, *, alone: bool) -> None:
        """More rows a batch while one is over soon and nobody is in the way; few where somebody is."""
        if limits.batch_rows is None:
            size, seconds = self.tally.batch_rows, time.monotonic() - self.batch_began
            self.tally.batch_rows = next_rows(size, rows, seconds) if alone else LEAST_ROWS

    def handed_out(self, page: Iterator[Batch]) -> Iterator[Batch]:
        """The batches of a page, each noted before somebody begins with it."""
        for batch in page:
            if not self.ended and not self.goes_on():
                self.ended = "paused"
            if self.ended:
                return
            try:
                self.tally.hand_out(batch)
            except GateRefused as error:
                self.ended, self.refused = "refused", error
                return
            yield batch
