"""FAISS itself: a flat index in memory, written to a file with its ids beside it after every batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np

from embridge.space import Space
from embridge.stores import Store, open_store


@contextmanager
def served(folder: Path) -> Iterator[str]:
    yield str(folder)


def store(place: str, name: str, space: Space) -> Store:
    opened = open_store(f"faiss:{place}/{name}/rows.faiss", create=True)
    opened.add_space(space)
    return opened


def client(place: str, name: str, space: Space) -> FaissClient:
    return FaissClient(Path(place) / f"{name}.faiss", space.dim)


class FaissClient:
    def __init__(self, path: Path, dim: int) -> None:
        self.path, self.names = path, path.with_suffix(".json")
        self.index = faiss.read_index(str(path)) if path.exists() else faiss.IndexFlatIP(dim)
        self.ids: list[str] = json.loads(self.names.read_text()) if path.exists() else []
        self.row_of = {name: row for row, name in enumerate(self.ids)}

    def insert(self, ids: Sequence[str], vectors: np.ndarray, titles: Sequence[str]) -> None:
        self.row_of |= {name: row for row, name in enumerate(ids, len(self.ids))}
        self.ids += ids
        self.index.add(vectors)
        faiss.write_index(self.index, str(self.path))
        self.names.write_text(json.dumps(self.ids))

    def scan(self, rows: int) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        for start in range(0, len(self.ids), rows):
            ids = self.ids[start : start + rows]
            yield ids, self.index.reconstruct_n(start, len(ids))

    def fetch(self, ids: Sequence[str]) -> np.ndarray:
        vectors: np.ndarray = self.index.reconstruct_batch(np.array([self.row_of[one] for one in ids]))
        return vectors

    def search(self, query: np.ndarray, k: int) -> Sequence[str]:
        return [self.ids[row] for row in self.index.search(query[None], k)[1][0]]

    def close(self) -> None:
        pass
