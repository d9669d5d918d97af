"""LanceDB's own client: a table in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from embridge.space import Space
from embridge.stores import Store, open_store


@contextmanager
def served(folder: Path) -> Iterator[str]:
    yield str(folder)


def store(place: str, name: str, space: Space) -> Store:
    opened = open_store(f"lancedb:{place}/{name}", create=True)
    opened.add_space(space)
    return opened


def client(place: str, name: str, space: Space) -> LanceClient:
    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), space.dim)), ("title", pa.string())])
    return LanceClient(lancedb.connect(f"{place}/{name}").create_table("rows", schema=schema, exist_ok=True))


class LanceClient:
    def __init__(self, table: Any) -> None:
        self.table = table

    def insert(self, ids: Sequence[str], vectors: np.ndarray, titles: Sequence[str]) -> None:
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        rows = pa.table({"id": pa.array(ids), "vector": column, "title": pa.array(titles)})
        self.table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def scan(self, rows: int) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        for batch in self.table.search().select(["id", "vector"]).to_batches(rows):
            yield batch["id"].to_pylist(), _matrix(batch["vector"])

    def fetch(self, ids: Sequence[str]) -> np.ndarray:
        where = f"id IN ({', '.join(repr(one) for one in ids)})"
        found = self.table.search().where(where).select(["id", "vector"]).limit(len(ids)).to_arrow().combine_chunks()
        row_of = {name: row for row, name in enumerate(found["id"].to_pylist())}
        return _matrix(found["vector"].chunk(0))[[row_of[one] for one in ids]]

    def search(self, query: np.ndarray, k: int) -> Sequence[str]:
        found = self.table.search(query).distance_type("cosine").limit(k).select(["id", "_distance"]).to_arrow()
        return found["id"].to_pylist()

    def close(self) -> None:
        pass


def _matrix(column: Any) -> np.ndarray:
    return column.flatten().to_numpy().reshape(len(column), -1)
