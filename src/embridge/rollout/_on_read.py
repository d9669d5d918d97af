"""Backfill on read: what a query makes the new model encode is kept, so that what people look for is done first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from embridge.embeddings import Embeddings
from embridge.errors import GateRefused
from embridge.items import read_items
from embridge.rollout._open_writes import OpenWrites, encoded_before, encoded_on_read
from embridge.rollout._renewal import Renewal
from embridge.rollout._sides import Sides
from embridge.rollout.state import RolloutState
from embridge.stores.base import Store
from embridge.stores.presence import present

__all__ = ["OnRead"]

_BATCH_ROWS = 256
_AGAIN_SECONDS = 60.0  # after which an item that could not be had is asked for again


@dataclass(slots=True, eq=False)
class OnRead:
    """Encodes items that queries found, one thread at a time, and writes their new rows.

    Attributes:
        store: The store.
        open_writes: Where the rows are noted meanwhile.
    """

    store: Store
    open_writes: OpenWrites
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)
    _failed: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def encode(self, sides: Sides, state: RolloutState, ids: Sequence[str]) -> None:
        """Give rows a new vector, as far as their items can be had and the spend cap reaches.

        An item that changes meanwhile is encoded again, and one that is deleted does not come back.
        """
        upgrade, items = sides.upgrade, sides.items
        assert items is not None

        def source(names: Sequence[str]) -> tuple[Mapping[str, object], Mapping[str, str]]:
            there = present(self.store, state.old, names)
            found = read_items(items, self.store, state.old, there)
            return dict(zip(found.ids, found.items, strict=True)), found.missing

        def encode(names: Sequence[str], found: Sequence[Any]) -> Embeddings:
            return upgrade.head(sides.vectors(found, "new", modality=items.modality, role="document", ids=names))

        with self._lock:
            for start in range(0, len(ids), _BATCH_ROWS):
                batch = self._lacking(state, ids[start : start + _BATCH_ROWS])
                found, reasons = source(batch)
                self._failed |= dict.fromkeys(reasons, time.monotonic())
                renewal = Renewal(self.store, state.old, state.new, source, encode, once=bool(state.most_encoded))
                if found and not self._kept(state, renewal, found):
                    return

    def _kept(self, state: RolloutState, renewal: Renewal, items: Mapping[str, object]) -> bool:
        """False where the spend cap would be passed."""
        documents, most = self.store.documents, None
        if state.most_encoded:
            most = state.most_encoded - encoded_before(documents, state.new)
        try:
            with self.open_writes.noted(list(items), encoded=len(items), new=state.new, most=most):
                left = state.most_encoded - encoded_before(documents, state.new) - encoded_on_read(documents, state.new)
                if most is not None and left < 0:  # the backfill took them since
                    return False
                renewal.run(items)
        except GateRefused:
            return False
        return True

    def _lacking(self, state: RolloutState, ids: Sequence[str]) -> list[str]:
        """Those that nobody encoded since, and that could be had a moment ago."""
        done, since = set(present(self.store, state.new, ids)), time.monotonic() - _AGAIN_SECONDS
        self._failed = {name: at for name, at in self._failed.items() if at > since}
        return [name for name in ids if name not in done and name not in self._failed]
