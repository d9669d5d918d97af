"""Rows of a store that get the vector to which a map takes the one that they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embridge.adapters.base import Adapter
from embridge.embeddings import Embeddings
from embridge.rollout._batch import Filling
from embridge.scale._mapping import map_from
from embridge.space import Space
from embridge.stores import Store, open_store

__all__ = ["Place", "filling_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """A store, and the upgrade and the space of it."""

    url: str
    upgrade: Path
    space: Space
    declarations: Path | None = None

    def __call__(self) -> Filling:
        """What a worker does of a batch: it opens the store itself."""
        return filling_of(open_store(self.url, declarations=self.declarations), self)


def filling_of(store: Store, place: Place) -> Filling:
    """What maps the rows of a store, batch by batch."""
    adapter = map_from(place.upgrade, place.space)
    return Filling(store, place.space, adapter.target, _old_rows(store, place.space), _mapping(adapter, place.space))


def _old_rows(store: Store, space: Space) -> Callable[[Sequence[str]], tuple[Mapping[str, object], Mapping[str, str]]]:
    def source(ids: Sequence[str]) -> tuple[Mapping[str, object], Mapping[str, str]]:
        rows = store.fetch(space, ids)
        return dict(zip(rows.ids, rows.vectors, strict=True)), {}

    return source


def _mapping(adapter: Adapter, space: Space) -> Callable[[Sequence[str], Sequence[Any]], Embeddings]:
    def encode(ids: Sequence[str], items: Sequence[Any]) -> Embeddings:
        return adapter(Embeddings(tuple(ids), np.stack(items), space))

    return encode
