"""What a backfill has done and what is under way, noted beside the rows before anybody begins with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from embridge.errors import GateRefused, StoreError
from embridge.rollout._batch import Batch, Filled
from embridge.rollout._open_writes import BACKFILL, backfilling_rows, encoded_before, encoded_on_read
from embridge.space import Space
from embridge.stores.documents import Documents

__all__ = ["Tally"]


@dataclass(slots=True, eq=False)
class Tally:
    """The figures of one run.

    documents: Of the store. most_rows: Rows after which it ends. price: Of an item. spend_cap: Of all runs. rows: That have a
    new vector. encoded: Items, in this run. failed: Ids whose items could not be had, with the reason. open: Rows that a kill
    would leave open, or did. under_way: Rows of batches that were handed out. later: That changed
    meanwhile, as is noted beside them. cut: Whether rows were left for the limit's sake.
    """

    documents: Documents
    old: Space
    new: Space
    batch_rows: int
    most_rows: int | None
    price: float
    spend_cap: float | None
    rows: int = 0
    encoded: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    open: dict[str, None] = field(default_factory=dict)
    under_way: int = 0
    later: set[str] = field(default_factory=set)
    cut: bool = False
    _before: int = field(default=0, init=False)
    _noted: dict[str, Any] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._before, self._noted = encoded_before(self.documents, self.new), self.documents.read(BACKFILL)

    @property
    def left_open(self) -> list[str]:
        """The rows that are noted: of a run before, those that it was at when it was killed."""
        return backfilling_rows(self.documents, self.old)

    @property
    def size(self) -> int:
        """Rows of the next batch; 0 where no more are wanted."""
        left = self.batch_rows if self.most_rows is None else self.most_rows - self.rows - self.under_way
        return max(0, min(self.batch_rows, left))

    def hand_out(self, batch: Batch) -> None:
        """Note a batch before somebody begins with it.

        Raises:
            GateRefused: It would pass the spend cap; it is not handed out.
            StoreError: Another backfill runs in this store.
        """
        self._require_money(batch)
        self.open.update(dict.fromkeys(batch.ids))
        self.under_way += len(batch.ids)
        self._note()
        self.under_way -= len(batch.ids)
        try:
            self._require_money(batch)  # queries pay too, by what was noted a moment ago
        except GateRefused:
            self._strike_out(batch)
            raise
        self.under_way += len(batch.ids)

    def take(self, batch: Batch, filled: Filled) -> None:
        """What came of a batch; its rows are struck out with the next note, since a commit costs more than to make it again."""
        self.under_way -= len(batch.ids)
        self._strike_out(batch)
        self.rows += filled.rows
        self.encoded += filled.encoded
        self.failed.update(filled.failed)
        self.later.update(filled.later)

    def settle(self) -> None:
        """Strike out what is done."""
        if self._noted is not None and self._noted.get("old") == self.old.id and self._noted["ids"]:
            self._note()

    def _strike_out(self, batch: Batch) -> None:
        for name in batch.ids:
            self.open.pop(name, None)

    def _note(self) -> None:
        """Say of which rows a kill would leave open whether their items changed meanwhile."""
        others = (self._noted or {}).get("encoded", {})
        encoded = others | {self.new.id: self._before + self.encoded + self.under_way}
        noted = {"old": self.old.id, "ids": list(self.open), "encoded": encoded}
        if noted == self._noted:
            return
        if not self.documents.swap(BACKFILL, self._noted, noted):
            raise StoreError("another backfill runs in this store; stop one of the two")
        self._noted = noted

    def _require_money(self, batch: Batch) -> None:
        if self.spend_cap is None:
            return
        count = len(batch.ids)
        encoded = self._before + encoded_on_read(self.documents, self.new) + self.encoded + self.under_way
        if (encoded + count) * self.price > self.spend_cap:
            raise GateRefused(
                f"the next {count} items would cost more than the spend cap of {self.spend_cap:g} "
                f"({encoded:,} were encoded for {encoded * self.price:g}); raise it to go on"
            )
