"""A LanceDB database: its tables, and which of them hold the vectors of a space."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, final

from embridge.errors import InvalidInput, StoreError, require
from embridge.space import Space
from embridge.stores._lance_adopt import described
from embridge.stores._lance_columns import SPACE_KEY, schema_of
from embridge.stores._lance_documents import DOCUMENTS, ENTRIES, LanceDocuments, made_once
from embridge.stores._lance_rows import Source
from embridge.stores.documents import Documents, declarations
from embridge.stores.places import Declaration, Place, Table
from embridge.stores.urls import without_passwords

__all__ = ["LanceDatabase"]

_T = TypeVar("_T")
_LONGEST = 500  # of what LanceDB says
_SOURCE = re.compile(r", /\S+\.rs:\d+:\d+$|^lance error: LanceError\(\w+\): ")

# Of what LanceDB knows of a table's files: each version adds to it, and by itself it keeps 1 GB.
_CACHE_BYTES, _DOCUMENTS_CACHE_BYTES = 16 * 1024 * 1024, 1024 * 1024
_FULL = ("No space left", "Disk quota", "File too large")
_MAKE_ROOM, _RESTORE = "make room; what was there before stands", "restore it from a copy if it is damaged"


@final
class LanceDatabase:
    """A connection, and the names of tables that a store adds: ``space_<id>``, or ``<table>_embridge_<id>`` beside another.

    Args:
        location: A folder, or a URI of object storage.
        table: The table that the store is of; empty for one that has tables of its own alone.
        create: Whether the folder may be made.
    """

    def __init__(self, location: str, table: str, *, create: bool) -> None:
        lancedb = require("lancedb", extra="lancedb")
        self.location, self.table = location, table
        self._prefix = f"{table}_embridge_" if table else "space_"
        if location.startswith("db://"):
            raise StoreError(f"{self}: LanceDB Cloud is not supported; name a folder or object storage, such as s3://")
        if not create and "://" not in location and not Path(location).is_dir():
            what = "is a file" if Path(location).exists() else "does not exist"
            raise StoreError(f"{self} {what}; expected a folder with a LanceDB store")
        self.connection, beside = (
            self.asked(partial(_connected, lancedb, location, cache), "cannot be opened as a LanceDB store")
            for cache in (_CACHE_BYTES, _DOCUMENTS_CACHE_BYTES)
        )
        self.documents = LanceDocuments(beside, f"{table}:", self.asked)

    def __str__(self) -> str:
        return without_passwords(self.location)

    def asked(self, ask: Callable[[], _T], what: str = "cannot be read") -> _T:
        """The answer of LanceDB, its errors as a `StoreError` in one line."""
        try:
            return ask()
        except InvalidInput:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            text = _SOURCE.sub("", " ".join(without_passwords(str(error)).split()))
            text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
            advice = _MAKE_ROOM if any(words in text for words in _FULL) else _RESTORE
            raise StoreError(f"{self} {what}: {text}; {advice}") from error

    def names(self) -> list[str]:
        """All tables, made by this library or not, but those of the documents."""
        names, token = [], None
        while True:
            page = self.connection.list_tables(page_token=token)
            names += page.tables
            token = page.page_token
            if not token:
                return [name for name in names if name not in (DOCUMENTS, ENTRIES)]

    def opened(self, name: str) -> Any:
        """A table."""
        if name not in self.names():
            raise StoreError(f"{self} has no table {name!r}; there are {self.names() or 'none'}")
        return self.connection.open_table(name)

    def tables(self) -> list[Table]:
        """Those that the store is of, or all where it names none."""
        names = [name for name in self.names() if self.table in ("", name) or name.startswith(self._prefix)]
        opened = ((name, self._whole(name)) for name in names)
        return [described(name, table) for name, table in opened if table is not None]

    def sources(self, documents: Documents) -> dict[Space, Source]:
        """Where the vectors of every space stand: adopted and declared, then added."""
        names = self.names()
        sources = {}
        for one in declarations(documents).values():
            table = self._whole(one.place.table) if one.place.table in names else None
            if table is not None and {one.place.id, one.place.vector} <= set(table.schema.names):
                sources[one.space] = Source.of(table, one)
        for name in names:
            table = self._whole(name) if name.startswith(self._prefix) else None
            written = None if table is None else (table.schema.metadata or {}).get(SPACE_KEY)
            if written is not None:
                space = Space.from_dict(json.loads(written))
                sources[space] = Source.of(table, Declaration(space, Place(name, "vector", "id"), adopted=False))
        return sources

    def _whole(self, name: str) -> Any:
        """A table that is listed; None where it was made in part, on a full disk or before a kill."""
        try:
            return self.connection.open_table(name)
        except ValueError as error:
            if "not found" in str(error):
                return None
            raise

    def add(self, space: Space) -> None:
        """Make an empty table for a space, if it is not there."""
        made_once(self.connection, self._prefix + space.id, schema_of(space).empty_table())

    def require_any(self, sources: dict[Space, Source]) -> None:
        """Refuse to be a store where there is nothing that could be one."""
        names = self.asked(self.names)
        if self.table and self.table not in names and not sources:
            raise StoreError(f"{self} has no table {self.table!r}; there are {names or 'none'}")
        if not names and not sources:
            raise StoreError(f"{self} holds no table; is it another folder?")


def _connected(lancedb: Any, location: str, cache_bytes: int) -> Any:
    """A connection that sees what other processes write."""
    session = lancedb.Session(metadata_cache_size_bytes=cache_bytes)
    return lancedb.connect(location, read_consistency_interval=timedelta(0), session=session)
