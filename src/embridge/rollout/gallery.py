"""Gallery: what an application searches and writes, whatever stage of a rollout its store is in."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders.base import Encoder, Modality
from embridge.errors import EmbridgeError, SpaceMismatch, StoreError
from embridge.items import ItemSource
from embridge.nearest import Hits
from embridge.query.merging import Merge
from embridge.rollout._answers import Answering
from embridge.rollout._following import Following, View
from embridge.rollout._on_read import OnRead
from embridge.rollout._open_writes import OpenWrites
from embridge.rollout._sides import Client, Wanted
from embridge.rollout._writing import Writing, payload_of
from embridge.rollout.shadow import Shadow
from embridge.rollout.state import RolloutState, Serving, serving, writes
from embridge.space import Space
from embridge.stores import open_store
from embridge.stores.base import Filter, Payload, Store

__all__ = ["Answer", "Gallery"]

_T = TypeVar("_T")
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search gave.

    Attributes:
        hits: Ids and scores; where hits of old and new rows are merged, the merged values.
        served: What answered; see `embridge.rollout.state.Serving`.
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

    Every call goes by a state that is at most ``follow_seconds`` old. Many threads may use it at once.

    Attributes:
        store: The store. Its state says where the rollout stands; see `embridge.rollout.state`.
        upgrade: The upgrade of the rollout, or its folder; None for the folder that the rollout names.
        new: The new model, or its name; needed for items, not for vectors.
        old: The old model, or its name; needed for items while it answers. What the new model writes gets its old vector by
            the bridge where the old model is not at hand.
        merge: How hits of old and of new rows are merged while the backfill goes on; a `Calibration` that was fitted is best.
        follow_seconds: How old a state may be.
        items: Where the items of rows come from; needed where queries encode what they find.
        lookup: Whether models and items that are not given are those that the upgrade and the store name.

    Raises:
        SpaceMismatch: A model, or the rollout, is of other spaces than the upgrade.
        StoreError: No rollout has begun in the store.
        InvalidInput: The upgrade cannot be loaded, or is another than the rollout's.

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
    upgrade: Upgrade | Path | str | None = None
    new: Encoder | str | None = None
    old: Encoder | str | None = None
    merge: Merge = "rrf"
    follow_seconds: float = 0.5
    items: ItemSource | None = None
    lookup: bool = False
    _following: Following = field(init=False, repr=False)
    _writing: Writing = field(init=False, repr=False)
    _on_read: OnRead = field(init=False, repr=False)
    _shadow: Shadow = field(init=False, repr=False)
    _owned: bool = field(default=False, init=False, repr=False)
    _depths: deque[int] = field(default_factory=deque, init=False, repr=False)

    def __post_init__(self) -> None:
        wanted = Wanted(self.upgrade, self.new, self.old, self.items, self.lookup)
        self._following = Following(self.store, wanted, self.follow_seconds)
        open_writes = OpenWrites(self.store.documents)
        self._writing, self._on_read = Writing(self.store, open_writes), OnRead(self.store, open_writes)
        self._shadow = Shadow(self.store.documents)
        self.state(fresh=True)

    @classmethod
    def open(cls, store: Store | Path | str, upgrade: Upgrade | Path | str | None = None, **options: Any) -> Gallery:
        """Open a store by its URL: with the upgrade, the models and the items that its rollout names, unless others are given.

        Args:
            store: Its URL, its folder, or an open store.
            upgrade: The upgrade, or where its folder is by now.
            **options: ``new``, ``old``, ``merge``, ``follow_seconds`` and ``items``: see `Gallery`.

        Returns:
            The gallery; it is best closed when it is needed no longer.

        Raises:
            StoreError: The store cannot be opened, or no rollout has begun in it.
            InvalidInput: The upgrade cannot be loaded, or is another than the rollout's.
            SpaceMismatch: A model is of another space than the rollout.

        Examples:
            >>> Gallery.open("memory:")
            Traceback (most recent call last):
            embridge.errors.StoreError: no rollout has begun in this store; ...
        """
        if isinstance(store, Store):
            return cls(store, upgrade, lookup=True, **options)
        opened = open_store(store)
        try:
            gallery = cls(opened, upgrade, lookup=True, **options)
        except BaseException:
            opened.close()
            raise
        gallery._owned = True
        return gallery

    def close(self) -> None:
        """Let go of a store that `open` opened; one that was given stays open."""
        self._shadow.close()
        with suppress(EmbridgeError):  # what stays noted is encoded once more
            self._on_read.open_writes.settle()
        if self._owned:
            self.store.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def state(self, *, fresh: bool = False) -> RolloutState:
        """The rollout's state, at most ``follow_seconds`` old; of this moment where it is to be fresh."""
        return self._following.view(fresh=fresh).state

    @property
    def query_space(self) -> Space:
        """The space of the new model's query vectors."""
        return self._following.view().sides.upgrade.new_space

    def search(
        self,
        queries: str | Sequence[Any] | Embeddings,
        k: int,
        *,
        filter: Filter = (),
        client: Client = "new",
        draw: float | None = None,
        modality: Modality = "text",
    ) -> Answer:
        """Find the k best items of every query, as the rollout stands.

        Args:
            queries: A text; texts or images; or vectors of the new model, or of the old one for an old client.
            k: How many hits a query gets at most.
            filter: On the payload.
            client: Whether the client knows of the new model; others are answered by the old one as long as there are rows.
            draw: A number in [0, 1) by which the canary decides for all queries of the call; the same one for a user shows
                that user one thing. Drawn where None.
            modality: What the queries are.

        Returns:
            The hits, and what answered.

        Raises:
            InvalidInput: The model that has to answer is not at hand.
            SpaceMismatch: Vectors are of another model than the one that answers.
        """
        drawn, began = random.random() if draw is None else draw, time.perf_counter()  # noqa: S311
        asked = [queries] if isinstance(queries, str) else queries

        def answered(view: View) -> Answer:
            served = self._served(view, serving(view.state, client=client, draw=drawn))
            side: Client = "old" if served == "old" else "new"
            vectors = view.sides.vectors(asked, side, modality=modality, role="query")
            return Answer(self._hits(view, served, vectors, k, filter), served, view.state.version)

        answer = self._by_state(answered)
        if client == "new":
            ask = partial(self._following.bridged, k=k, filter=filter, modality=modality)
            seconds = time.perf_counter() - began
            self._shadow.offer(self._following.held, asked, ask, hits=answer.hits, seconds=seconds)
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

        Args:
            ids: Of the items.
            items: Texts or images, or their vectors of the new model, or of the old one in states in which it alone writes.
            payload: Columns of their values.
            modality: What the items are.

        Raises:
            InvalidInput: The model that the state needs is not at hand.
            SpaceMismatch: Vectors are of neither model.
        """
        write = partial(self._writing.write, ids=tuple(ids), items=items, payload=payload, modality=modality)
        asked = self._by_state(write)
        if writes(self.state(fresh=True)).new and not asked.new:  # it moved, and its backfill may be past these
            self._by_state(write)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete items, with all their rows.

        Args:
            ids: Of the items; those that are not there change nothing.
        """
        self.store.delete(ids)

    def opened(self, ids: Sequence[str]) -> None:
        """Say which items somebody opened: while queries encode what they find, these are encoded at once too.

        Args:
            ids: Of the items; those that have a new vector, or are not there, change nothing.
        """
        view = self._following.view()
        if self._served(view, serving(view.state, client="new", draw=0.0)) == "cascade":
            self._on_read.encode(view.sides, view.state, list(dict.fromkeys(ids)))

    def payload(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """The payload of some items, such as hits, in that order; an item that was deleted since has None everywhere.

        Args:
            ids: Of the items.

        Returns:
            Columns of one value an item.
        """
        return self._by_state(lambda view: payload_of(self.store, view.state, ids))

    def _by_state(self, call: Callable[[View], _T]) -> _T:
        """The call by the state at hand; where rows of it are gone since, again by the state of that moment."""
        view = self._following.view()
        for _ in range(_TRIES):
            try:
                return call(view)
            except (SpaceMismatch, StoreError):
                fresh = self._following.view(fresh=True)
                if fresh.state.version == view.state.version:
                    raise
                view = fresh
        return call(view)

    def _served(self, view: View, served: Serving) -> Serving:
        """What is served: nothing is encoded on read where the new model or the items are not at hand."""
        able = "new" in view.sides.encoders and view.sides.items is not None
        return "mixed" if served == "cascade" and not able else served

    def _hits(self, view: View, served: Serving, asked: Embeddings, k: int, filter: Filter) -> Hits:
        state, sides, depths = view.state, view.sides, deque() if filter else self._depths
        search, renewed = partial(self.store.search, filter=filter), partial(self.store.fetch, state.new)
        answering = Answering(search, sides.upgrade, self.merge, renewed, depths)
        return answering.hits(served, state, asked, k, partial(self._on_read.encode, sides, state))
