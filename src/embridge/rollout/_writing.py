"""Writing items with the rows that a state asks for, so that a kill or a move in between leaves no row of a former content."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from embridge.embeddings import Embeddings
from embridge.encoders.base import Modality
from embridge.errors import InvalidInput, SpaceMismatch, StoreError
from embridge.rollout._following import View
from embridge.rollout._open_writes import OpenWrites
from embridge.rollout._sides import Client, Sides
from embridge.rollout.stale import note_stale
from embridge.rollout.state import RolloutState, Writes, writes
from embridge.space import Space
from embridge.stores.base import Payload, Store
from embridge.stores.presence import present

__all__ = ["Writing", "payload_of"]

_ATTEMPTS = 20


@dataclass(slots=True, eq=False)
class Writing:
    """Writes of one gallery.

    Attributes:
        store: The store.
        open_writes: Where rows are noted while they are written.
    """

    store: Store
    open_writes: OpenWrites
    _without_old: int = field(
        default=0, init=False, repr=False
    )  # the version by which the old rows were seen to be gone

    def write(
        self,
        view: View,
        ids: tuple[str, ...],
        items: Sequence[object] | Embeddings,
        payload: Payload | None,
        modality: Modality,
    ) -> Writes:
        """Write some items; which rows they got."""
        state, asked = view.state, writes(view.state)
        asked = Writes(old=asked.old or self._old_is_there(state), new=asked.new)
        rows = _rows(view.sides, asked, ids, items, modality)
        if not asked.new and state.new in self.store.spaces():  # after a rollback
            note_stale(self.store.documents, ids)
        with self._noted(state, ids) if asked.new else nullcontext():
            for (
                each
            ) in rows:  # the new ones last: a backfill that writes in between sees by the old row that the item changed
                self._upsert(each, payload, state)
        return asked

    def _noted(self, state: RolloutState, ids: tuple[str, ...]) -> AbstractContextManager[None]:
        """Rows that have a new vector, of a former content if the writer is killed now, or that a backfill may give one."""
        held = self.store.spaces()
        changed = sorted(
            {name for space in (state.new, state.old) if space in held for name in present(self.store, space, ids)}
        )
        return self.open_writes.noted(changed) if changed else nullcontext()

    def _upsert(self, rows: Embeddings, payload: Payload | None, state: RolloutState) -> None:
        try:
            self.store.upsert(rows, payload)
        except (SpaceMismatch, StoreError):
            if not (state.old_dropped and rows.space == state.old and rows.space not in self.store.spaces()):
                raise
            self._without_old = state.version

    def _old_is_there(self, state: RolloutState) -> bool:
        """Whether old rows that are to be dropped still stand; should the drop fail, they will have missed nothing."""
        if not state.old_dropped or self._without_old == state.version:
            return False
        if state.old in self.store.spaces():
            return True
        self._without_old = state.version
        return False


def _rows(
    sides: Sides, asked: Writes, ids: tuple[str, ...], items: Sequence[object] | Embeddings, modality: Modality
) -> list[Embeddings]:
    """The old rows, of the old model where it is at hand, and the new ones."""
    upgrade, space = sides.upgrade, items.space if isinstance(items, Embeddings) else None

    def made(side: Client) -> Embeddings:
        return sides.vectors(items, side, modality=modality, role="document", ids=ids)

    by_old = space == upgrade.old_space or (space is None and "old" in sides.encoders)
    new = made("new") if asked.new or (asked.old and not by_old) else None
    rows = []
    if asked.old:
        rows.append(made("old") if new is None or by_old else upgrade.to_index_space(new))
    if asked.new and new is not None:
        rows.append(upgrade.head(new))
    return rows


def payload_of(store: Store, state: RolloutState, ids: Sequence[str]) -> dict[str, list[Any]]:
    """The payload of items, of whichever rows they have; None everywhere for one that is gone."""
    held = store.spaces()
    values: dict[str, dict[str, Any]] = {}
    names: dict[str, None] = {}
    for space in (state.new, state.old):
        left = [name for name in dict.fromkeys(ids) if name not in values]
        if space in held and left:
            there, columns = _there(store, space, left)
            names |= dict.fromkeys(columns)
            for row, name in enumerate(there):
                values[name] = {column: columns[column][row] for column in columns}
    return {column: [values.get(name, {}).get(column) for name in ids] for column in names}


def _there(store: Store, space: Space, ids: Sequence[str]) -> tuple[Sequence[str], Payload]:
    """Of some rows, those that are there, and their payload; again where one is deleted in between."""
    for _ in range(_ATTEMPTS):
        there = present(store, space, ids)
        try:
            return there, store.payload(space, there) if there else {}
        except InvalidInput:
            ids = there
    raise StoreError("rows are being deleted faster than their payload can be read; ask again")
