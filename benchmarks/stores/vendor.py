"""What a vendor's part has: where its engine is, and its own client doing what a store does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from embridge.embeddings import Embeddings
from embridge.space import Space
from embridge.stores import Store

__all__ = ["Batches", "Client", "Large", "Vendor", "filled_twice", "vendor"]

Batches = Callable[[], Iterator[tuple[list[str], np.ndarray, list[str]]]]
"""Ids, vectors and titles, some rows at once."""

Large = tuple[str, Mapping[str, str]]
"""A place with many rows, and what the table is called for the store (``embridge``) and for the client."""


class Client(Protocol):
    """The vendor's own client on one table of id, vector and title, as a program without this library would use it."""

    def insert(self, ids: Sequence[str], vectors: np.ndarray, titles: Sequence[str]) -> None:
        """Write a batch, replacing rows of the same id."""

    def scan(self, rows: int) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        """All ids and vectors, float32 [n, d], so many rows at once."""
        ...

    def fetch(self, ids: Sequence[str]) -> np.ndarray:
        """The vectors of these ids, in their order."""
        ...

    def search(self, query: np.ndarray, k: int) -> Sequence[str]:
        """The ids of the k nearest by cosine, best first."""
        ...

    def close(self) -> None:
        """Let go of what is held."""


class Vendor(Protocol):
    """A module ``_<vendor>.py`` beside this one.

    It may have a function ``large(folder, batches, space)`` that gives a `Large` in less time than `filled_twice`.
    """

    def served(self, folder: Path) -> AbstractContextManager[str]:
        """Start the engine, if it is a server, with its files in the folder; gives the place that the others take."""
        ...

    def store(self, place: str, name: str, space: Space) -> Store:
        """The store of that name with the space; made where it is not there. In any process."""
        ...

    def client(self, place: str, name: str, space: Space) -> Client:
        """The client on a table of that name; made where it is not there. In any process."""
        ...


@contextmanager
def filled_twice(of: Vendor, folder: Path, batches: Batches, space: Space) -> Iterator[Large]:
    """Many rows in a table of the store and in one of the client."""
    names = {"embridge": "large", "client": "large_bare"}
    with of.served(folder) as place:
        store, client = of.store(place, names["embridge"], space), of.client(place, names["client"], space)
        for ids, vectors, titles in batches():
            payload = {"title": titles} if store.capabilities.payload else None
            store.upsert(Embeddings(tuple(ids), vectors, space), payload)
            client.insert(ids, vectors, titles)
        store.close()
        client.close()
        yield place, names


def vendor(name: str) -> Vendor:
    """A vendor's part by the vendor's name."""
    return cast(Vendor, import_module(f"benchmarks.stores._{name.replace('-', '_')}"))
