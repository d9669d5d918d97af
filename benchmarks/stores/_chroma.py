"""Chroma's own client, of the server in Chroma's wheel."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from socket import socket
from typing import Any
from urllib.request import urlopen

import chromadb
import numpy as np

from benchmarks.stores.vendor import Batches, Large
from embridge.space import Space
from embridge.stores import Declaration, Place, Store, open_store

_DEADLINE_SECONDS = 60
_LARGE, _LATE, _WRITTEN_ROWS = "large", 2_000_000, 5_000


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["chroma", "run", "--path", str(folder / "data"), "--host", "127.0.0.1", "--port", str(port)]
    program = f"import chromadb_rust_bindings as chroma; chroma.cli({words!r})"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([sys.executable, "-c", program], stdout=log, stderr=log) as server,
    ):
        try:
            _wait(f"http://127.0.0.1:{port}/api/v2/heartbeat", server)
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()


@contextmanager
def large(folder: Path, batches: Batches, space: Space) -> Iterator[Large]:
    """Many rows, written once by the client in a process of its own, adopted by the store."""
    writer = get_context("spawn").Process(target=_written, args=(folder / "data", batches))
    writer.start()
    writer.join()
    if writer.exitcode:
        sys.exit("Chroma could not be filled")
    with served(folder) as place:
        opened = open_store(f"chroma:http://{place}/{_LARGE}")
        opened.adopt(Declaration(space, Place(_LARGE)))
        yield place, {"embridge": _LARGE, "client": _LARGE}


def _written(folder: Path, batches: Batches) -> None:
    late = {"sync_threshold": _LATE, "batch_size": _LATE}
    graph = {"space": "cosine", "ef_construction": 10, "max_neighbors": 4, **late}  # a rough one: the server makes it
    own = chromadb.PersistentClient(str(folder))
    collection = own.create_collection(_LARGE, embedding_function=None, configuration={"hnsw": graph})
    for ids, vectors, _ in batches():  # no title: a scan reads none, and they take longer than the vectors
        for start in range(0, len(ids), _WRITTEN_ROWS):
            part = slice(start, start + _WRITTEN_ROWS)
            collection.upsert(ids=ids[part], embeddings=vectors[part])


def store(place: str, name: str, space: Space) -> Store:
    opened = open_store(f"chroma:http://{place}/{name}", create=True)
    opened.add_space(space)
    return opened


def client(place: str, name: str, space: Space) -> ChromaClient:  # noqa: ARG001
    host, _, port = place.partition(":")
    return ChromaClient(
        chromadb.HttpClient(host, int(port)).get_or_create_collection(
            name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
    )


class ChromaClient:
    def __init__(self, collection: Any) -> None:
        self.collection = collection

    def insert(self, ids: Sequence[str], vectors: np.ndarray, titles: Sequence[str]) -> None:
        self.collection.upsert(ids=list(ids), embeddings=vectors, metadatas=[{"title": title} for title in titles])

    def scan(self, rows: int) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        start = 0
        while (found := self.collection.get(limit=rows, offset=start, include=["embeddings"]))["ids"]:
            yield found["ids"], np.asarray(found["embeddings"], np.float32)
            start += len(found["ids"])

    def fetch(self, ids: Sequence[str]) -> np.ndarray:
        found = self.collection.get(ids=list(ids), include=["embeddings"])
        row_of = {name: row for row, name in enumerate(found["ids"])}
        vectors: np.ndarray = np.asarray(found["embeddings"], np.float32)[[row_of[one] for one in ids]]
        return vectors

    def search(self, query: np.ndarray, k: int) -> Sequence[str]:
        ids: list[str] = self.collection.query(query_embeddings=query[None], n_results=k, include=["distances"])["ids"][
            0
        ]
        return ids

    def close(self) -> None:
        pass


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(address) as answer:
                answer.read()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit("the Chroma server did not start")
