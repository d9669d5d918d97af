"""The store behind searches and writes: galleries that threads borrow, one at a time each."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, LifoQueue
from typing import Any, Literal, ParamSpec, TypeVar

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder
from embridge.encoders.base import Modality
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.nearest import Hits
from embridge.rollout.gallery import Answer, Gallery
from embridge.rollout.journal import current_state
from embridge.rollout.state import RolloutState, Serving, serving
from embridge.serve._batching import refused_cuts
from embridge.settings.serve import ServeSettings
from embridge.space import Space
from embridge.stores import Filter, Store, open_store

__all__ = ["Galleries", "Question", "Side"]

Side = Literal["old", "new"]
_T = TypeVar("_T")
_P = ParamSpec("_P")
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Question:
    """A search, before it is known which model answers it.

    Attributes:
        k: How many hits.
        filter: On the payload.
        client: Whether who asks knows of the new model.
        draw: The number in [0, 1) by which the canary decides.

    Examples:
        >>> Question(3).client
        'new'
    """

    k: int
    filter: Filter = ()
    client: Side = "new"
    draw: float = 0.0


class Galleries:
    """A store by several connections, of which a call borrows one.

    Before a rollout has begun in the store, new clients are answered through the bridge and old ones by the old model; from
    then on as the rollout stands.

    Args:
        stores: The connections.
        upgrade: The upgrade.
        encoders: By side.

    Raises:
        SpaceMismatch: The store does not hold the space that the upgrade searches, and no rollout led away from it.

    Examples:
        >>> from embridge.stores import MemoryStore
        >>> from embridge import Space
        >>> from embridge.adapters import Identity, Prefix, Provenance
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))
        >>> Galleries([MemoryStore(old)], upgrade, {}).side(Question(1))
        'new'
    """

    def __init__(self, stores: Sequence[Store], upgrade: Upgrade, encoders: Mapping[str, Encoder]) -> None:
        self.upgrade, self._encoders, self._stores = upgrade, encoders, tuple(stores)
        self._free: LifoQueue[Store] = LifoQueue()
        self._threads = ThreadPoolExecutor(len(self._stores), thread_name_prefix="store")
        self._galleries: dict[int, Gallery] = {}
        for store in self._stores:
            self._free.put(store)
        self._require_space(self._stores[0])

    @classmethod
    def opened(cls, settings: ServeSettings, upgrade: Upgrade, encoders: Mapping[str, Encoder]) -> Galleries:
        """The galleries that the settings name."""
        assert settings.store is not None
        stores: list[Store] = []
        try:
            for _ in range(settings.connections):
                stores.append(open_store(settings.store, declarations=settings.declarations))
            return cls(stores, upgrade, encoders)
        except BaseException:
            for store in stores:
                store.close()
            raise

    def close(self) -> None:
        """Close the connections when they come back; a store that does not answer gets no more than a few seconds."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for _ in self._stores:
            try:
                store = self._free.get(timeout=_PATIENCE_SECONDS)
            except Empty:
                return
            if id(store) in self._galleries:
                self._galleries.pop(id(store)).close()
            store.close()

    async def run(self, call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        """A call in a thread, of which there are as many as connections: where the store hangs, no other thread waits for it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args, **options))

    def state(self) -> RolloutState | None:
        """Where the rollout stands, a moment old at most; None before it begins."""
        with self._borrowed() as (_, gallery):
            return None if gallery is None else gallery.state()

    def side(self, question: Question) -> Side:
        """Whose vectors the question needs now."""
        state = self.state()
        if state is None:
            return question.client
        return "old" if serving(state, client=question.client, draw=question.draw) == "old" else "new"

    def search(self, vectors: Embeddings, question: Question) -> tuple[Answer, dict[str, list[Any]]]:
        """The hits of some queries, and the payload of them all by column, in the order of their distinct ids.

        Raises `SpaceMismatch` where the rollout moved on since `side` was asked.
        """
        with self._borrowed() as (store, gallery):
            if gallery is None:
                answer = self._before(store, vectors, question)
            else:
                answer = gallery.search(
                    vectors, question.k, filter=question.filter, client=question.client, draw=question.draw
                )
            return answer, _payload(store, self.upgrade.old_space, gallery, answer.hits)

    def by_item(self, name: str, question: Question) -> tuple[Answer, dict[str, list[Any]]]:
        """The items most like one that is there, itself left out.

        Its old row asks old rows, which are complete as long as there are any; its new row the others.
        """
        with self._borrowed() as (store, gallery):
            held = store.spaces()
            space = self.upgrade.old_space if self.upgrade.old_space in held else self.upgrade.head.target
            row = store.fetch(space, [name])
            if not len(row):
                raise InvalidInput(f"there is no item {name!r}")
            hits = store.search(row, question.k + 1, filter=question.filter)
            hits = _without(hits, name, question.k)
            state = current_state(store.documents)
            served: Serving = "old" if space == self.upgrade.old_space else "new"
            answer = Answer(hits, served, 0 if state is None else state.version)
            return answer, _payload(store, space, gallery, hits)

    def write(
        self, ids: Sequence[str], items: Sequence[Any], payload: dict[str, list[Any]], modality: Modality
    ) -> None:
        """Write items, with the rows that the state asks for."""
        with self._borrowed() as (store, gallery), refused_cuts():
            if gallery is not None:
                gallery.write(ids, items, payload or None, modality=modality)
                return
            side = "old" if "old" in self._encoders else "new"
            vectors = self._encoders[side].encode(items, modality=modality, role="document")
            space = self.upgrade.old_space if side == "old" else self.upgrade.new_space
            rows = Embeddings.of(vectors, space, ids)
            store.upsert(rows if side == "old" else self.upgrade.to_index_space(rows), payload or None)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete items, with all their rows."""
        with self._borrowed() as (store, gallery):
            (store if gallery is None else gallery).delete(ids)

    def with_store(self, call: Callable[[Store], _T]) -> _T:
        """What a call gives that borrows the store, whichever rollout it is on."""
        store = self._free.get()
        try:
            return call(store)
        finally:
            self._free.put(store)

    def ping(self) -> None:
        """Ask the store what it holds; raises `StoreError` or `SpaceMismatch` where that is not what is served."""
        with self._borrowed() as (store, _):
            self._require_space(store)

    def _require_space(self, store: Store) -> None:
        held, state = store.spaces(), current_state(store.documents)
        if self.upgrade.old_space not in held and not (state and state.old_dropped):
            names = "; ".join(map(str, held)) or "none"
            raise SpaceMismatch(f"the upgrade searches rows of {self.upgrade.old_space}; the store holds: {names}")

    @contextmanager
    def _borrowed(self) -> Iterator[tuple[Store, Gallery | None]]:
        store = self._free.get()
        try:
            yield store, self._gallery(store)
        finally:
            self._free.put(store)

    def _gallery(self, store: Store) -> Gallery | None:
        """The connection's gallery, once a rollout has begun."""
        known = self._galleries.get(id(store))
        if known is None and current_state(store.documents) is not None:
            new, old = self._encoders.get("new"), self._encoders.get("old")
            known = self._galleries[id(store)] = Gallery(store, self.upgrade, new, old)
        return known

    def _before(self, store: Store, vectors: Embeddings, question: Question) -> Answer:
        """The answer before any rollout."""
        old = vectors.space == self.upgrade.old_space
        asked = vectors if old else self.upgrade.to_index_space(vectors)
        return Answer(store.search(asked, question.k, filter=question.filter), "old" if old else "bridge", 0)


def new_draw() -> float:
    """A number in [0, 1) for a question that brings none."""
    return random.random()  # noqa: S311


def _payload(store: Store, space: Space, gallery: Gallery | None, hits: Hits) -> dict[str, list[Any]]:
    """The payload of all hits; an item that was deleted since has None everywhere."""
    ids = list(dict.fromkeys(name for found in hits.ids for name in found))
    if not ids or not store.capabilities.payload:
        return {}
    if gallery is not None:
        return gallery.payload(ids)
    with suppress(InvalidInput):  # one was deleted since
        return store.payload(space, ids)
    there = store.fetch(space, ids).ids
    columns = store.payload(space, there) if there else {}
    row_of = {name: row for row, name in enumerate(there)}
    return {
        column: [values[row_of[name]] if name in row_of else None for name in ids] for column, values in columns.items()
    }


def _without(hits: Hits, name: str, k: int) -> Hits:
    rows = [i for i, one in enumerate(hits.ids[0]) if one != name][:k]
    return Hits((tuple(hits.ids[0][i] for i in rows),), hits.scores[:1, rows])
