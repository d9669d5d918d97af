"""Vectors on disk, up to a number of bytes; the least recently used go first."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import final

import numpy as np

from embridge.atomic_write import temporary_folder
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError
from embridge.shapes import Float32
from embridge.space import Space, require_same

__all__ = ["VectorCache"]

_TABLES = {
    "about": "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "rows": "CREATE TABLE rows (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, used INTEGER NOT NULL)",
    "vectors": "CREATE TABLE vectors (number INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
    "rows_by_used": "CREATE INDEX rows_by_used ON rows (used)",
}
_PAGE_BYTES = 32_768  # a few vectors a page: with smaller pages half of each would stay empty
_LEAST_BYTES = 1 << 20  # below it the empty tables are most of the file
_TOUCHED = 10_000  # uses remembered before they are written
_ASKED = 500  # ids in one statement
_WAIT_SECONDS = 30.0
_CHECK_BYTES = 4
_ROW_EXTRA_BYTES = 64  # about what the id and its two indices take


@final
class VectorCache:
    """Vectors of one space by id, in one SQLite file of at most ``max_bytes``.

    It survives restarts; a crash leaves every write whole or not done, and may forget which vectors were used last.
    Several threads and processes of one machine may use one file. Its write-ahead log, some megabytes beside it while it
    is open, needs a disk of that machine's own. A file that is damaged or foreign is refused, and stays as it is.

    Args:
        path: The file; it is made where there is none.
        space: Of the vectors.
        max_bytes: How large the file may grow; what was used longest ago makes room.

    Raises:
        SpaceMismatch: The file is of another space.
        StoreError: The file is damaged, or no cache.
        InvalidInput: ``max_bytes`` is too few to hold anything.

    Examples:
        >>> space = Space("new", "1", 2)
        >>> with VectorCache("cache.sqlite", space, max_bytes=2**20 + 64) as cache:
        ...     cache.put(Embeddings.of(np.eye(2, dtype=np.float32), space, ["a", "b"]))
        >>> with VectorCache("cache.sqlite", space, max_bytes=2**20 + 64) as cache:
        ...     {name: vector.tolist() for name, vector in cache.get(["b", "c"]).items()}
        {'b': [0.0, 1.0]}
    """

    def __init__(self, path: Path | str, space: Space, *, max_bytes: int) -> None:
        self._row_bytes = 4 * space.dim
        least = _LEAST_BYTES + 8 * self._row_bytes
        if max_bytes < least:
            raise InvalidInput(f"a cache of {space.dim}-d vectors takes at least {least} bytes, came {max_bytes}")
        self.path, self.space, self.max_bytes = Path(path), space, max_bytes
        self._lock = threading.Lock()
        self._touched: dict[int, None] = {}
        with self._told():
            if not self.path.exists():
                self._create()
            self._database = self._open()

    def get(self, ids: Sequence[str]) -> dict[str, Float32[np.ndarray, " d"]]:
        """The vectors of those ids that are held, by id."""
        found: dict[str, np.ndarray] = {}
        with self._lock, self._told():
            for start in range(0, len(ids), _ASKED):
                names = {_key(name): name for name in ids[start : start + _ASKED]}
                asked = ",".join("?" * len(names))
                statement = f"SELECT number, id, vector FROM rows JOIN vectors USING (number) WHERE id IN ({asked})"  # noqa: S608
                for number, key, content in self._database.execute(statement, list(names)):
                    found[names[key]] = self._vector(names[key], content)
                    self._touched.pop(number, None)  # to its place at the end
                    self._touched[number] = None
            if len(self._touched) > _TOUCHED:
                with self._transaction() as database:
                    self._write_touched(database)
        return found

    def put(self, rows: Embeddings) -> None:
        """Hold these vectors, the last ones last; what was used longest ago makes room."""
        require_same(self.space, rows.space, what="vectors for this cache")
        at_once = max(1, self.max_bytes // (8 * self._row_bytes))
        for part in rows.chunks(at_once):
            with self._lock, self._told(), self._transaction() as database:
                used = self._write_touched(database)
                for place, (name, vector) in enumerate(zip(part.ids, part.vectors, strict=True), start=1):
                    number = database.execute(
                        "INSERT INTO rows (id, used) VALUES (?, ?) "
                        "ON CONFLICT (id) DO UPDATE SET used = excluded.used RETURNING number",
                        (_key(name), used + place),
                    ).fetchone()[0]
                    database.execute(
                        "INSERT OR REPLACE INTO vectors VALUES (?, ?)", (number, self._packed(name, vector))
                    )
                self._evict(database)

    def __len__(self) -> int:
        with self._lock, self._told():
            return _number(self._database, "SELECT count(*) FROM rows")

    @property
    def size_bytes(self) -> int:
        """What the file takes, without the write-ahead log."""
        with self._lock, self._told():
            return _PAGE_BYTES * _number(self._database, "PRAGMA page_count")

    def close(self) -> None:
        """Write which vectors were used, and let go of the file; closing twice is closing once."""
        with self._lock, self._told(), closing(self._database):
            if self._touched:
                with self._transaction() as database:
                    self._write_touched(database)

    def __enter__(self) -> VectorCache:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _create(self) -> None:
        """Under another name first, so that the file is there whole or not at all; another process may win."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(self.path, within=False) as folder:
            made = folder / "made"
            with closing(sqlite3.connect(made, isolation_level=None)) as database:
                for setting in (f"page_size={_PAGE_BYTES}", "auto_vacuum=INCREMENTAL", "journal_mode=WAL"):
                    database.execute(f"PRAGMA {setting}").fetchall()
                database.execute("BEGIN")
                for statement in _TABLES.values():
                    database.execute(statement)
                described = json.dumps(self.space.to_dict())
                database.execute("INSERT INTO about VALUES ('space', ?)", (described,))
                database.execute("COMMIT")
            for ending in ("-wal", "-shm"):  # of an earlier cache of this name, which SQLite would apply to this one
                if not self.path.exists():
                    self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            try:
                os.link(made, self.path)  # unlike a rename, it never replaces what another process has just made
            except FileExistsError:
                return

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * self._row_bytes + (1 << 20))
            database.execute("PRAGMA trusted_schema=OFF")
            held = database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
            if dict(held) != _TABLES:
                raise StoreError(f"{self.path} is no cache made by embridge, or a truncated one; choose another name")
            described = database.execute("SELECT value FROM about WHERE key = 'space'").fetchone()
            require_same(self._space(described), self.space, what=f"the cache {self.path}")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(f"PRAGMA wal_autocheckpoint={(4 << 20) // _PAGE_BYTES}").fetchall()
        except BaseException:
            database.close()
            raise
        return database

    def _space(self, described: tuple[object] | None) -> Space:
        try:
            return Space.from_dict(json.loads(str(described[0] if described else "")))
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{self.path} does not say of which space it is: {error}; delete it") from error

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path} cannot be used as a cache: {error}; deleting it costs no more than re-embedding"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _write_touched(self, database: sqlite3.Connection) -> int:
        """Write which rows were used, in order; the number of the last use."""
        last = _number(database, "SELECT coalesce(max(used), 0) FROM rows")
        marks = [(last + place, number) for place, number in enumerate(self._touched, start=1)]
        database.executemany("UPDATE rows SET used = ? WHERE number = ?", marks)
        self._touched.clear()
        return last + len(marks)

    def _evict(self, database: sqlite3.Connection) -> None:
        """Drop the rows used longest ago until the pages in use fit, then give the free pages back."""
        most = self.max_bytes // _PAGE_BYTES
        while (excess := _pages_in_use(database) - most) > 0:
            count = max(1, excess * _PAGE_BYTES // (self._row_bytes + _ROW_EXTRA_BYTES))
            oldest = database.execute("SELECT number FROM rows ORDER BY used LIMIT ?", (count,)).fetchall()
            if not oldest:
                break
            database.executemany("DELETE FROM vectors WHERE number = ?", oldest)
            database.executemany("DELETE FROM rows WHERE number = ?", oldest)
        for _ in range(_number(database, "PRAGMA freelist_count")):
            database.execute("PRAGMA incremental_vacuum")  # Python takes one step of it, which is one page

    def _vector(self, name: str, content: object) -> np.ndarray:
        if not isinstance(content, bytes) or len(content) != self._row_bytes + _CHECK_BYTES:
            raise StoreError(f"{self.path} holds something else than {self.space.dim} numbers for a row; delete it")
        vector = np.frombuffer(content, "<f4", self.space.dim).astype(np.float32)
        if self._packed(name, vector) != content or not np.isfinite(vector).all():
            raise StoreError(f"{self.path} is damaged: the vector of {name!r} is not what was written; delete it")
        return vector

    def _packed(self, name: str, vector: np.ndarray) -> bytes:
        """The vector and a checksum of it, its id and its space: a file may lose its end, or a bit."""
        content = vector.astype("<f4").tobytes()
        check = zlib.crc32(content, zlib.crc32(_key(name), zlib.crc32(self.space.id.encode())))
        return content + check.to_bytes(_CHECK_BYTES, "little")


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # any string may be an id


def _number(database: sqlite3.Connection, statement: str) -> int:
    return int(database.execute(statement).fetchone()[0])


def _pages_in_use(database: sqlite3.Connection) -> int:
    return _number(database, "PRAGMA page_count") - _number(database, "PRAGMA freelist_count")
