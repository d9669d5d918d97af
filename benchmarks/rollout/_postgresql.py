"""psycopg on a table of others, of a server that is started from the wheel with PostgreSQL and pgvector."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import psycopg

from embridge.stores.places import Place

PLACE = Place("items", "embedding", "id")
FOREIGN_WRITES = True
_LOG_FILES = 40  # of 16 MB
_SERVER = Path(__file__).parents[2] / "tests" / "support" / "postgres_server.py"
_SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "min_wal_size": "1GB",
    "fsync": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
}


@contextmanager
def served(folder: Path) -> Iterator[str]:  # noqa: ARG001 - PostgreSQL's folder is one that its own account may enter
    spec = spec_from_file_location("postgres_server", _SERVER)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{_SERVER} cannot be loaded")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.postgres_running(_SETTINGS) as server:
        yield server.url(server.database())


def url(place: str) -> str:
    return f"{place}?table={PLACE.table}"


def insert(place: str, table: str, ids: Sequence[str], vectors: np.ndarray, titles: Sequence[str], batch: int) -> None:
    """Make a table of these rows by COPY, so many at once."""
    dim = vectors.shape[1]
    head = struct.pack(">HH", dim, 0)
    with psycopg.connect(place, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
        cursor.execute(f"CREATE TABLE {table} (id text PRIMARY KEY, embedding vector({dim}), title text)")
        for start in range(0, len(ids), batch):
            part = slice(start, start + batch)
            with cursor.copy(f"COPY {table} (id, embedding, title) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "bytea", "text"])
                for one, vector, title in zip(ids[part], vectors[part].astype(">f4"), titles[part], strict=True):
                    copy.write_row((one, head + vector.tobytes(), title))


def settle(place: str) -> None:
    """Let the server be as one that has run for a while: its log's files are there to be used again."""
    with psycopg.connect(place, autocommit=True) as connection:
        for _ in range(_LOG_FILES):
            connection.execute("SELECT pg_logical_emit_message(true, '', ''), pg_switch_wal()")
        connection.execute("CHECKPOINT")


class Client:
    """An application that searches the old vectors and writes them, item by item."""

    def __init__(self, place: str) -> None:
        self._connection = psycopg.connect(place, autocommit=True)

    def search(self, query: np.ndarray, k: int) -> list[str]:
        select = f"SELECT id FROM {PLACE.table} ORDER BY embedding <=> %s::vector LIMIT %s"
        return [one for (one,) in self._connection.execute(select, (str(query.tolist()), k)).fetchall()]

    def write(self, one: str, vector: np.ndarray, title: str) -> None:
        statement = (
            f"INSERT INTO {PLACE.table} (id, embedding, title) VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE "
            "SET embedding = EXCLUDED.embedding, title = EXCLUDED.title"
        )
        self._connection.execute(statement, (one, str(vector.tolist()), title))

    def tidy(self) -> None:
        """The server does it itself."""

    def close(self) -> None:
        self._connection.close()
