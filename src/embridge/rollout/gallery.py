"""Gallery: what an application searches and writes, whatever stage of a rollout its store is in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Literal, TypeVar

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders.base import Encoder, Modality
from embridge.errors import InvalidInput, SpaceMismatch, StoreError
from embridge.nearest import Hits
from embridge.query.merging import Merge
from embridge.query.mixed import MixedSearch
from embridge.rollout.journal import current_state
from embridge.rollout.shadow import Shadow
from embridge.rollout.stale import note_stale
from embridge.rollout.state import RolloutState, Serving, Writes, serving, writes
from embridge.stores.base import Filter, Payload, Store

__all__ = ["Answer", "Gallery"]

_T = TypeVar("_T")
Client = Literal["old", "new"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search gave.

    Attributes:
        hits: Ids and scores; under ``mixed`` the merged values.
        served: What answered: the old model, the bridge, both kinds of rows, or new rows alone.
        version: Of the rollout's state that was gone by.

    Examples:
        >>> import numpy as np
        >>> Answer(Hits((("a",),), np.ones((1, 1), np.float32)), "bridge", 3).served
        'bridge'
    """

    hits: Hits
    served: Serving
    version: int


@dataclass(slots=True, eq=False)
class Gallery:
    """A store on its way from one model to another, for applications that stay open all the while.

    It reads the rollout's state and follows it: every call goes by a state that is at most ``follow_seconds`` old. It may be
    used by many threads, as far as the store's client may.

    Attributes:
        store: The store. Its state says where the rollout stands; see `embridge.rollout.state`.
        upgrade: The upgrade of the rollout.
        new: The new model; needed for items, not for vectors.
        old: The old model; needed for items while it answers. What the new model writes gets its old vector by the bridge
            where the old model is not at hand.
        merge: How hits of old and of new rows are merged while the backfill goes on; a `Calibration` that was fitted is best.
        follow_seconds: How old a state may be.

    Raises:
        SpaceMismatch: A model, or the rollout, is of other spaces than the upgrade.
        StoreError: No rollout has begun in the store.

    Examples:
        >>> import numpy as np
        >>> from embridge import Space
        >>> from embridge.adapters import Identity, Prefix, Provenance
        >>> from embridge.rollout.journal import record_move
        >>> from embridge.stores import MemoryStore
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> store = MemoryStore(old)
        >>> store.upsert(Embeddings.of(np.eye(2, dtype=np.float32), old, ["a", "b"]))
        >>> state = RolloutState(old, new, "upgrade", "a1b2", phase="bridged", canary=1.0)
        >>> record_move(store.documents, None, state, entry={"move": "bridge", "by": "me", "at_seconds": 0.0, "why": {}})
        True
        >>> gallery = Gallery(store, Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")))
        >>> answer = gallery.search(Embeddings.of(np.array([[0, 1, 5]], np.float32), new), 1)
        >>> answer.hits.ids, answer.served
        ((('b',),), 'bridge')
    """

    store: Store
    upgrade: Upgrade
    new: Encoder | None = None
    old: Encoder | None = None
    merge: Merge = "rrf"
    follow_seconds: float = 0.5
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)
    _state: RolloutState | None = field(default=None, init=False, repr=False)
    _read_at: float = field(default=0.0, init=False, repr=False)
    _shadow: Shadow = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._shadow = Shadow(self.store.documents, self._through_bridge)
        sides = ((self.new, self.upgrade.new_space), (self.old, self.upgrade.old_space))
        for encoder, space in sides:
            if encoder is not None and encoder.space != space:
                raise SpaceMismatch(f"the upgrade is of {space}, and the model gives {encoder.space}")
        self.state(fresh=True)

    def _require_upgrade(self, state: RolloutState) -> None:
        for stated, space in ((state.old, self.upgrade.old_space), (state.new, self.upgrade.head.target)):
            if stated != space:
                raise SpaceMismatch(
                    f"the rollout of this store is of {stated}, and the upgrade of {space}; open it with its own"
                )

    def state(self, *, fresh: bool = False) -> RolloutState:
        """The rollout's state, at most ``follow_seconds`` old; of this moment where it is to be fresh."""
        with self._lock:
            if fresh or self._state is None or time.monotonic() - self._read_at > self.follow_seconds:
                state = current_state(self.store.documents)
                if state is None:
                    raise StoreError(
                        "no rollout has begun in this store; plan and apply one, or search the store itself"
                    )
                self._require_upgrade(state)
                self._state, self._read_at = state, time.monotonic()
            return self._state

    def search(
        self,
        queries: Sequence[str] | Embeddings,
        k: int,
        *,
        filter: Filter = (),
        client: Client = "new",
        draw: float | None = None,
    ) -> Answer:
        """Find the k best items of every query, as the rollout stands.

        Args:
            queries: Texts, or vectors of the new model, or of the old one for an old client.
            k: How many hits a query gets at most.
            filter: On the payload.
            client: Whether the client knows of the new model; others are answered by the old one as long as there are rows.
            draw: A number in [0, 1) by which the canary decides for all queries of the call; the same one for a user shows
                that user one thing. Drawn where None.

        Returns:
            The hits, and what answered.

        Raises:
            InvalidInput: The model that has to answer is not at hand.
            SpaceMismatch: Vectors are of another model than the one that answers.
        """
        drawn, began = random.random() if draw is None else draw, time.perf_counter()  # noqa: S311
        answer = self._by_state(
            lambda state: self._search(state, queries, k, filter, serving(state, client=client, draw=drawn))
        )
        if client == "new":
            seconds = time.perf_counter() - began
            self._shadow.offer(self._state, queries, k, filter=filter, hits=answer.hits, seconds=seconds)
        return answer

    def write(
        self,
        ids: Sequence[str],
        items: Sequence[object] | Embeddings,
        payload: Payload | None = None,
        *,
        modality: Modality = "text",
    ) -> None:
        """Write items, new ones and changed ones, with the rows that the state asks for.

        An item gets its old vector from the old model where that is at hand, and by the bridge otherwise.

        Args:
            ids: Of the items.
            items: Texts or images, or their vectors of the new model, or of the old one in states in which it alone writes.
            payload: Columns of their values.
            modality: What the items are.

        Raises:
            InvalidInput: The model that the state needs is not at hand.
            SpaceMismatch: Vectors are of neither model.
        """
        write = partial(self._write, ids=tuple(ids), items=items, payload=payload, modality=modality)
        asked = self._by_state(write)
        if (
            writes(self.state(fresh=True)).new and not asked.new
        ):  # the rollout moved meanwhile; its backfill may be past these
            self._by_state(write)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete items, with all their rows.

        Args:
            ids: Of the items; those that are not there change nothing.
        """
        self.store.delete(ids)

    def _by_state(self, call: Callable[[RolloutState], _T]) -> _T:
        """The call by the state at hand; where rows of it are gone since, once more by the state of this moment."""
        state = self.state()
        try:
            return call(state)
        except (SpaceMismatch, StoreError):
            fresh = self.state(fresh=True)
            if fresh.version == state.version:
                raise
            return call(fresh)

    def _search(
        self, state: RolloutState, queries: Sequence[str] | Embeddings, k: int, filter: Filter, served: Serving
    ) -> Answer:
        search = partial(self.store.search, filter=filter)
        asked = self._vectors(queries, "old" if served == "old" else "new", "text", "query")
        if served == "mixed":
            mixed = MixedSearch(search, search, self.upgrade, self.merge, backfilled=self._backfilled)
            return Answer(mixed.search(asked, k), served, state.version)
        if served == "bridge":
            asked = self.upgrade.to_index_space(asked)
        elif served == "new":
            asked = self.upgrade.head(asked)
        return Answer(search(asked, k), served, state.version)

    def _write(
        self,
        state: RolloutState,
        ids: tuple[str, ...],
        items: Sequence[object] | Embeddings,
        payload: Payload | None,
        modality: Modality,
    ) -> Writes:
        asked, given = writes(state), items.space if isinstance(items, Embeddings) else None
        rows: list[Embeddings] = []
        if asked.old and (given == self.upgrade.old_space or (given is None and self.old is not None)):
            rows.append(self._vectors(items, "old", modality, "document", ids))
        elif asked.old:
            rows.append(self.upgrade.to_index_space(self._vectors(items, "new", modality, "document", ids)))
        if asked.new:  # last: a backfill that writes in between sees by the old row that the item changed
            rows.append(self.upgrade.head(self._vectors(items, "new", modality, "document", ids)))
        if not asked.new and self.upgrade.head.target in self.store.spaces():  # after a rollback
            note_stale(self.store.documents, ids)
        for each in rows:
            self.store.upsert(each, payload)
        return asked

    def _through_bridge(self, queries: Sequence[str], k: int, filter: Filter) -> Hits:
        asked = self.upgrade.to_index_space(self._vectors(queries, "new", "text", "query"))
        return self.store.search(asked, k, filter=filter)

    def _backfilled(self, ids: Sequence[str]) -> Collection[str]:
        """Of some ids, those that have a new row."""
        return self.store.fetch(self.upgrade.head.target, ids).ids

    def _vectors(
        self,
        items: Sequence[object] | Embeddings,
        side: Client,
        modality: Modality,
        role: Literal["query", "document"],
        ids: tuple[str, ...] | None = None,
    ) -> Embeddings:
        space = self.upgrade.old_space if side == "old" else self.upgrade.new_space
        if isinstance(items, Embeddings):
            if items.space != space:
                raise SpaceMismatch(f"the {side} model answers now; expected its vectors ({space}), came {items.space}")
            return items if ids is None else Embeddings(ids, items.vectors, space)
        encoder = self.old if side == "old" else self.new
        if encoder is None:
            raise InvalidInput(f"the {side} model answers now, and is not at hand; open the gallery with {side}=…")
        return Embeddings.of(encoder.encode(list(items), modality=modality, role=role), space, ids)
