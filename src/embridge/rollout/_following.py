"""The state of a rollout and what it names, at most so many seconds old."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from embridge.encoders.base import Modality
from embridge.errors import StoreError
from embridge.nearest import Hits
from embridge.rollout._sides import Sides, Wanted, sides_of
from embridge.rollout.journal import current_state
from embridge.rollout.state import RolloutState
from embridge.stores.base import Filter, Store

__all__ = ["Following", "View"]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a call goes by, from its begin to its end.

    Attributes:
        state: Of the rollout.
        sides: What makes vectors.
    """

    state: RolloutState
    sides: Sides


@dataclass(slots=True, eq=False)
class Following:
    """Reads the state again when it is needed and too old. While one thread reads, the others go by what was read before.

    Attributes:
        store: The store.
        wanted: What the caller gave.
        seconds: How old a state may be.
    """

    store: Store
    wanted: Wanted
    seconds: float
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)
    _view: View | None = field(default=None, init=False, repr=False)
    _read_at: float = field(default=0.0, init=False, repr=False)

    @property
    def held(self) -> RolloutState | None:
        """The state that was read last."""
        return None if self._view is None else self._view.state

    def view(self, *, fresh: bool = False) -> View:
        """The view, at most ``seconds`` old, or twice that while it is read; of this moment where it is to be fresh.

        Raises:
            StoreError: No rollout has begun in the store.
        """
        view, age = self._view, time.monotonic() - self._read_at
        if view is not None and not fresh and age <= self.seconds:
            return view
        at_once = fresh or view is None or age > 2 * self.seconds
        if not self._lock.acquire(blocking=at_once):
            assert view is not None
            return view
        try:
            if not fresh and self._view is not None and time.monotonic() - self._read_at <= self.seconds:
                return self._view  # another thread was first
            began = time.monotonic()
            self._view = self._read()
            self._read_at = began
            return self._view
        finally:
            self._lock.release()

    def bridged(self, queries: Sequence[Any], *, k: int, filter: Filter, modality: Modality) -> Hits:
        """What the new model finds in the old rows through the bridge."""
        sides = self.view().sides
        asked = sides.vectors(queries, "new", modality=modality, role="query")
        return self.store.search(sides.upgrade.to_index_space(asked), k, filter=filter)

    def _read(self) -> View:
        state = current_state(self.store.documents)
        if state is None:
            raise StoreError("no rollout has begun in this store; plan and apply one, or search the store itself")
        held = self._view
        if held is not None and held.state == state:
            return held
        same = held is not None and all(
            getattr(held.state, name) == getattr(state, name) for name in ("old", "new", "upgrade", "upgrade_id")
        )
        return View(state, held.sides if held is not None and same else sides_of(self.store, state, self.wanted))
