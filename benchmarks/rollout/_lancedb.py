"""LanceDB's own client on a table of others: written at once, searched by an application that knows nothing of a rollout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from embridge.stores.places import Place

PLACE = Place("items", "vector", "id")
FOREIGN_WRITES = False
_KEPT = timedelta(minutes=1)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    yield str(folder)


def url(place: str) -> str:
    return f"lancedb:{place}/shop#items"


def insert(place: str, table: str, ids: Sequence[str], vectors: np.ndarray, titles: Sequence[str], batch: int) -> None:
    """Make a table of these rows, so many at once, as fast as the engine takes them."""
    database, made = lancedb.connect(f"{place}/shop"), None
    for start in range(0, len(ids), batch):
        part = slice(start, start + batch)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors[part].reshape(-1)), vectors.shape[1])
        rows = pa.table({"id": list(ids[part]), "vector": column, "title": list(titles[part])})
        made = database.create_table(table, rows) if made is None else made
        if start:
            made.add(rows)


def settle(place: str) -> None:
    """Nothing runs but what is called."""


class Client:
    """An application that searches the old vectors."""

    def __init__(self, place: str) -> None:
        self._database = lancedb.connect(f"{place}/shop")
        self._table: Any = self._database.open_table(PLACE.table)

    def search(self, query: np.ndarray, k: int) -> list[str]:
        self._table.checkout_latest()
        found = self._table.search(query).distance_type("cosine").limit(k).select(["id", "_distance"]).to_arrow()
        names: list[str] = found["id"].to_pylist()
        return names

    def tidy(self) -> None:
        """What LanceDB advises after twenty commits: small files become larger ones."""
        for name in self._database.list_tables().tables:
            with suppress(ValueError, RuntimeError, OSError):  # another's commit came first
                self._database.open_table(name).optimize(cleanup_older_than=_KEPT)

    def close(self) -> None:
        pass
