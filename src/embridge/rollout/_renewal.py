"""Giving rows a new vector beside writers: each row is looked at once more after it was written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.rollout.foreign import delete_revived
from embridge.rollout.stale import note_stale
from embridge.space import Space
from embridge.stores.base import Payload, Store
from embridge.stores.changes import NotesChanges
from embridge.stores.checks import is_column_name
from embridge.stores.presence import present

__all__ = ["Encode", "Renewal", "Source", "carried"]

_PASSES = 20

Source = Callable[[Sequence[str]], tuple[Mapping[str, object], Mapping[str, str]]]
"""Gives the items of some ids, and the reasons for those that cannot be had; an id in neither is gone."""

Encode = Callable[[Sequence[str], Sequence[object]], Embeddings]
"""From ids and their items to vectors of the new space."""


@dataclass(slots=True, eq=False)
class Renewal:
    """Some rows that get a new vector: compare and set, where no database offers it for a row.

    A row whose item changes while it is encoded is encoded again. One that is deleted meanwhile does not come back. A kill in
    between leaves rows open; whoever calls this notes their ids before.

    Attributes:
        store: The store, which holds both spaces.
        old: The space of the rows that are there.
        new: The space that they get a vector of.
        source: Reads items by id.
        encode: Makes their vectors.
        noted: Whether the database notes each change of an item, so that it says itself which ones to look at again.
        once: Whether no item is encoded twice, since each is paid for: what changed meanwhile is noted, and left.
        bulk: Writes rows that had no new vector, and says which ones are to be looked at again; used once.
        encoded: Items that were encoded, those that changed meanwhile once more.
        written: Rows that have a vector of their newest content.
        left: Rows whose vector is of a former content, as is noted beside them.
    """

    store: Store
    old: Space
    new: Space
    source: Source
    encode: Encode
    noted: bool = False
    once: bool = False
    bulk: Callable[[Embeddings], Sequence[str]] | None = None
    encoded: int = 0
    written: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    _settled: set[str] = field(default_factory=set, init=False)  # seen after they were written to be as they were

    def run(self, items: Mapping[str, object]) -> None:
        """Encode and write some items, and look at them again, until none of them changed meanwhile."""
        for _ in range(_PASSES if items else 0):
            names = list(items)
            left = self._write(self.encode(names, [items[name] for name in names]))
            self.encoded += len(names)
            self.written.update(names)
            if self.noted or self.bulk is not None:
                self._settled.update(set(names).difference(left))
                names = list(left)
            self.bulk = None
            if not names:
                break
            again, lost = self.source(names)
            self._leave(list(lost))  # changed into what cannot be had: their vectors are of a former content
            earlier = sorted(self.written.difference(names, self._settled))
            gone = (
                set(names)
                .difference(again, lost)
                .union(set(earlier).difference(present(self.store, self.old, earlier)))
            )
            delete_revived(self.store, gone)
            self.written -= gone
            items = {
                name: item for name, item in again.items() if name in self.written and not _same(item, items.get(name))
            }
            if items and self.once:
                self._leave(list(items))
                self.written -= items.keys()
            if not items or self.once:
                break

    def _leave(self, names: Sequence[str]) -> None:
        if names:
            note_stale(self.store.documents, names)
            self.left.update(names)

    def _write(self, rows: Embeddings) -> Sequence[str]:
        """Write new rows; where each space has rows of its own, with the payload of the old ones. Which to look at again."""
        if self.bulk is not None:
            return self.bulk(rows)
        if isinstance(self.store, NotesChanges):
            return self.store.fill(rows)
        self._upsert(rows)
        return rows.ids

    def _upsert(self, rows: Embeddings) -> None:
        able = self.store.capabilities
        if able.shared_rows or not able.payload:
            self.store.upsert(rows)
            return
        for attempt in range(_PASSES):
            try:
                self.store.upsert(rows, carried(self.store.payload(self.old, rows.ids)))
            except InvalidInput:  # one was deleted since
                if attempt + 1 == _PASSES:
                    raise
                row_of = {name: row for row, name in enumerate(rows.ids)}
                rows = rows.take([row_of[name] for name in present(self.store, self.old, rows.ids)])
                continue
            return


def carried(payload: Payload) -> Payload:
    """What goes along of the payload of a table of others: plain names, and numbers that are finite."""

    def value(one: Any) -> Any:
        return None if isinstance(one, float) and not math.isfinite(one) else one

    return {name: list(map(value, payload[name])) for name in payload if is_column_name(name)}


def _same(one: object, other: object) -> bool:
    """Whether an item is what it was; items of kinds that compare by identity alone are taken to be."""
    if one is other or type(one).__eq__ is object.__eq__:
        return True
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else bool(one == other)  # type: ignore[arg-type]
