"""The local mode of Qdrant's client, an imitation in Python; ids of text in the payload, under UUIDs made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from qdrant_client import QdrantClient, models

from embridge.space import Space
from embridge.stores import Store, open_store

_TABLE, _VECTOR = "items", "embedding"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    yield str(folder)


def store(place: str, name: str, space: Space) -> Store:
    opened = open_store(f"qdrant:{place}/{name}/{_TABLE}?engine=local", create=True)
    opened.add_space(space)
    return opened


def client(place: str, name: str, space: Space) -> LocalClient:
    opened = QdrantClient(path=f"{place}/{name}")
    if not opened.collection_exists(_TABLE):
        opened.create_collection(_TABLE, {_VECTOR: models.VectorParams(size=space.dim, distance="Cosine")})
    return LocalClient(opened)


class LocalClient:
    def __init__(self, opened: QdrantClient) -> None:
        self.opened = opened

    def insert(self, ids: Sequence[str], vectors: np.ndarray, titles: Sequence[str]) -> None:
        points = [
            models.PointStruct(id=_point(name), vector={_VECTOR: vector}, payload={"id": name, "title": title})
            for name, vector, title in zip(ids, vectors.tolist(), titles, strict=True)
        ]
        self.opened.upsert(_TABLE, points)

    def scan(self, rows: int) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        start = None
        while True:
            options = {"limit": rows, "offset": start, "with_payload": ["id"], "with_vectors": [_VECTOR]}
            records, start = self.opened.scroll(_TABLE, **options)
            vectors = np.array([one.vector[_VECTOR] for one in records], np.float32)
            yield [one.payload["id"] for one in records], vectors
            if start is None:
                return

    def fetch(self, ids: Sequence[str]) -> np.ndarray:
        points = [_point(name) for name in ids]
        records = self.opened.retrieve(_TABLE, points, with_payload=["id"], with_vectors=[_VECTOR])
        vector_of = {one.payload["id"]: one.vector[_VECTOR] for one in records}
        return np.array([vector_of[name] for name in ids], np.float32)

    def search(self, query: np.ndarray, k: int) -> Sequence[str]:
        found = self.opened.query_points(_TABLE, query.tolist(), using=_VECTOR, limit=k, with_payload=["id"])
        return [one.payload["id"] for one in found.points]

    def close(self) -> None:
        self.opened.close()


def _point(name: str) -> str:
    return str(uuid5(NAMESPACE_OID, name))
