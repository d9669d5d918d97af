"""Collections of Qdrant made with its own clients: the engine in a folder, the client's local mode, and its memory.

There is no server here. The client in memory stands for one where it is told its version: its calls are those that a server
gets, its answers an imitation's.
"""

from functools import cache
from uuid import UUID

import numpy as np
import qdrant_edge
from qdrant_client import QdrantClient, models

from embridge.stores import Place, open_store, parse_url
from embridge.stores._qdrant_client import ClientEngine
from embridge.stores._qdrant_documents import ServerDocuments
from embridge.stores._qdrant_opening import engine_of
from embridge.stores.qdrant import QdrantStore
from embridge.testing import ForeignTable

DISTANCES = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid"}
VERSIONS = {"server 1.18": (1, 18), "server 1.15": (1, 15)}


@cache
def memory_client(location):
    return QdrantClient(":memory:")


def server(location, version=(1, 18)):
    """The engine of a client in memory, as if it were a server of that version."""
    return ClientEngine(memory_client(location), "Qdrant in memory", version=version)


def own(kind):
    """Makes stores of this library's own, for `embridge.testing.check_store`."""

    def make(spaces, location):
        if kind in VERSIONS:
            engine = server(location, VERSIONS[kind])
            store = QdrantStore(engine, "items", ServerDocuments(engine, "items"))
        else:
            store = open_store(f"qdrant:{location}/items?engine={kind}", create=True)
        for space in spaces:
            store.add_space(space)
        return store

    return make


def foreign(kind, vector):
    """Makes collections of someone else's, for `embridge.testing.check_adopted_store`."""

    def make(ids, vectors, columns, metric, location):
        if not all(isinstance(one, UUID) or (isinstance(one, int) and one >= 0) for one in ids):
            return None
        names = [one if isinstance(one, int) else str(one) for one in ids]
        payloads = [
            {name: values[row] for name, values in columns.items() if values[row] is not None or row % 2}
            | {"more": {"tags": [row]}}
            for row in range(len(ids))
        ]
        engine, opened = _written(
            kind, vector, location, DISTANCES[metric], list(zip(names, vectors.tolist(), payloads, strict=True))
        )

        def snapshot():
            records, _ = engine().scroll("items", 1_000, vector=vector, payload=True)
            held = [one.vector[vector] if isinstance(one.vector, dict) else one.vector for one in records]
            units = np.array(held) / (np.linalg.norm(held, axis=1, keepdims=True) if metric == "cosine" else 1)
            return [(str(one.id), row, one.payload) for one, row in zip(records, units.round(5).tolist(), strict=True)]

        return ForeignTable(opened, Place("items", vector), snapshot)

    return make


def _written(kind, vector, location, distance, rows):
    """What gives the engine, and a store of documents."""
    if kind == "edge":
        edge_shard(location, vector, len(rows[0][1]), distance, rows).close()
    else:
        client = memory_client(location) if kind in VERSIONS else QdrantClient(path=str(location))
        params = models.VectorParams(size=len(rows[0][1]), distance=distance)
        client.create_collection("items", vectors_config={vector: params} if vector else params)
        points = [models.PointStruct(id=i, vector={vector: v} if vector else v, payload=p) for i, v, p in rows]
        client.upsert("items", points)
        if kind not in VERSIONS:
            client.close()
    if kind in VERSIONS:
        engine = server(location, VERSIONS[kind])
        return (lambda: engine), lambda held: QdrantStore(engine, "items", held or ServerDocuments(engine, "items"))
    url = f"qdrant:{location}/items"
    return (lambda: engine_of(parse_url(url), create=False)), lambda held: open_store(url, declarations=held)


def edge_shard(location, vector, dim, distance, rows=(), **options):
    """A shard of the engine in ``location/items``, open."""
    location.mkdir(parents=True, exist_ok=True)
    params = qdrant_edge.EdgeVectorParams(size=dim, distance=getattr(qdrant_edge.Distance, distance))
    shard = qdrant_edge.EdgeShard.create(
        str(location / "items"), qdrant_edge.EdgeConfig(vectors={vector: params}, **options)
    )
    points = [qdrant_edge.Point(i, {vector: v}, p) for i, v, p in rows]
    shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
    return shard
