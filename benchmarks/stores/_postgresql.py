"""psycopg, on a server that is started from the wheel with PostgreSQL and pgvector: a table in a database."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from embridge.space import Space
from embridge.stores import Store, open_store

_SERVER = Path(__file__).parents[2] / "tests" / "support" / "postgres_server.py"
_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "fsync": "on", "full_page_writes": "on"}


@contextmanager
def served(folder: Path) -> Iterator[str]:  # noqa: ARG001 - PostgreSQL's folder is one that its own account may enter
    spec = spec_from_file_location("postgres_server", _SERVER)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{_SERVER} cannot be loaded")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.postgres_running(_SETTINGS) as server:
        yield server.url(server.database())


def store(place: str, name: str, space: Space) -> Store:
    opened = open_store(f"{place}?table={name}", create=True)
    opened.add_space(space)
    return opened


def client(place: str, name: str, space: Space) -> PostgresClient:
    connection = psycopg.connect(place, autocommit=True)
    columns = f"id text PRIMARY KEY, embedding vector({space.dim}), title text"
    connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
    return PostgresClient(connection, name)


class PostgresClient:
    def __init__(self, connection: Any, table: str) -> None:
        self.connection, self.table = connection, table

    def insert(self, ids: Sequence[str], vectors: np.ndarray, titles: Sequence[str]) -> None:
        """By COPY into a table of the session, and from there, since COPY cannot replace rows."""
        connection, head = self.connection, struct.pack(">HH", vectors.shape[1], 0)
        connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS batch (LIKE {self.table}) ON COMMIT DELETE ROWS")
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy("COPY batch (id, embedding, title) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "bytea", "text"])
                for one, vector, title in zip(ids, vectors.astype(">f4"), titles, strict=True):
                    copy.write_row((one, head + vector.tobytes(), title))
            changes = "embedding = EXCLUDED.embedding, title = EXCLUDED.title"
            cursor.execute(f"INSERT INTO {self.table} SELECT * FROM batch ON CONFLICT (id) DO UPDATE SET {changes}")

    def scan(self, rows: int) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        statement = f"COPY (SELECT id, embedding FROM {self.table}) TO STDOUT (FORMAT BINARY)"
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["text", "bytea"])
            every = copy.rows()
            while part := list(islice(every, rows)):
                yield [one for one, _ in part], _matrix([content for _, content in part])

    def fetch(self, ids: Sequence[str]) -> np.ndarray:
        select = f"SELECT id, embedding FROM {self.table} WHERE id = ANY(%s)"
        found = dict(self.connection.execute(select, (ids,), binary=True).fetchall())
        return _matrix([found[one] for one in ids])

    def search(self, query: np.ndarray, k: int) -> Sequence[str]:
        select = f"SELECT id, embedding <=> %s::vector FROM {self.table} ORDER BY 2 LIMIT %s"
        return [one for one, _ in self.connection.execute(select, (str(query.tolist()), k)).fetchall()]

    def close(self) -> None:
        self.connection.close()


def _matrix(contents: Sequence[bytes]) -> np.ndarray:
    numbers = np.frombuffer(b"".join([content[4:] for content in contents]), ">f4")
    return numbers.reshape(len(contents), -1).astype(np.float32)
