"""Qdrant Edge's own client: a shard in a folder; ids of text in the payload, under UUIDs made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import qdrant_edge as edge

from embridge.space import Space
from embridge.stores import Store, open_store

_VECTOR = "embedding"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    yield str(folder)


def store(place: str, name: str, space: Space) -> Store:
    opened = open_store(f"qdrant:{place}/{name}?engine=edge", create=True)
    opened.add_space(space)
    return opened


def client(place: str, name: str, space: Space) -> EdgeClient:
    folder = Path(place) / name
    if folder.exists():
        return EdgeClient(edge.EdgeShard.load(str(folder)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    params = edge.EdgeVectorParams(size=space.dim, distance=edge.Distance.Cosine)
    return EdgeClient(edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors={_VECTOR: params})))


class EdgeClient:
    def __init__(self, shard: Any) -> None:
        self.shard = shard

    def insert(self, ids: Sequence[str], vectors: np.ndarray, titles: Sequence[str]) -> None:
        points = [
            edge.Point(uuid5(NAMESPACE_OID, name), {_VECTOR: vector}, {"id": name, "title": title})
            for name, vector, title in zip(ids, vectors.tolist(), titles, strict=True)
        ]
        self.shard.update(edge.UpdateOperation.upsert_points(points))

    def scan(self, rows: int) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        start = None
        while True:
            request = edge.ScrollRequest(offset=start, limit=rows, with_vector=[_VECTOR], with_payload=["id"])
            records, start = self.shard.scroll(request)
            vectors = np.array([one.vector[_VECTOR] for one in records], np.float32)
            yield [one.payload["id"] for one in records], vectors
            if start is None:
                return

    def fetch(self, ids: Sequence[str]) -> np.ndarray:
        records = self.shard.retrieve([uuid5(NAMESPACE_OID, name) for name in ids], ["id"], [_VECTOR])
        vector_of = {one.payload["id"]: one.vector[_VECTOR] for one in records}
        return np.array([vector_of[name] for name in ids], np.float32)

    def search(self, query: np.ndarray, k: int) -> Sequence[str]:
        nearest = edge.Query.Nearest(query.tolist(), using=_VECTOR)
        found = self.shard.query(edge.QueryRequest(limit=k, query=nearest, with_payload=["id"]))
        return [one.payload["id"] for one in found]

    def close(self) -> None:
        self.shard.close()
