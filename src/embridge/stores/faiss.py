"""FAISS: an index in a file, with ids beside it, one file a space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores._columns import fitted, require_comparable
from embridge.stores._faiss_adopting import require_adoptable
from embridge.stores._faiss_cache import FaissCache
from embridge.stores._faiss_columns import as_payload, columns_of, payload_names, values_at
from embridge.stores._faiss_files import FaissFiles, files_of
from embridge.stores._faiss_index import faiss_module
from embridge.stores._faiss_rows import FaissRows
from embridge.stores._faiss_search import nearest
from embridge.stores._faiss_write import Changed, with_rows, without_rows
from embridge.stores.base import SCAN_ROWS, Filter, Payload
from embridge.stores.capabilities import Capabilities
from embridge.stores.checks import (
    require_column,
    require_columns,
    require_held,
    require_ids,
    require_limit,
    require_payload,
    require_present,
)
from embridge.stores.documents import STATE, Documents, FileDocuments, change_declarations, declarations
from embridge.stores.places import (
    Declaration,
    IndexState,
    Place,
    RawRows,
    Table,
    VectorColumn,
    checked_parts,
    checked_records,
)
from embridge.stores.urls import StoreUrl

__all__ = ["FaissStore", "open_faiss"]

_Declared = dict[Space, Declaration]

_ABLE = Capabilities(exact=True, filter=False, persistent=True, payload=False, adopt=True, foreign_writes="scan")


@final
class FaissStore:
    """A file of ``faiss.write_index`` in memory, and others of this library's own beside it.

    Ids are those of a file beside (lines, JSON, npy, Parquet, CSV), or the numbers in the index, or row numbers. A space
    that is added has a flat file of its own, and its ids beside. Rows carry no payload; the columns of a Parquet file of
    ids are read. What another process writes is seen. Needs the extra ``faiss``.

    A write replaces the file, whole or not at all: write in large batches.

    Args:
        url: The file, and in its options what is beside it: ``faiss:FILE?ids=FILE&column=NAME&vectors=FILE&nprobe=N&ef=N``.
        create: Whether it may be missing; spaces are added beside it then.
        documents: Where declarations stand; in ``FILE.embridge.json`` where None.

    Raises:
        StoreError: The file is not there.
        SettingsError: An option is unknown.
        MissingExtra: FAISS is not installed.

    Examples:
        >>> space = Space("toy", "1", 2)
        >>> store = FaissStore(StoreUrl("faiss", "items.faiss"), create=True)
        >>> store.add_space(space)
        >>> store.upsert(Embeddings.of(np.eye(2, dtype=np.float32), space, ["a", "b"]))
        >>> store.search(Embeddings.of(np.array([[0.9, 0.1]], np.float32), space), 1).ids
        (('a',),)
    """

    def __init__(self, url: StoreUrl, *, create: bool = False, documents: Documents | None = None) -> None:
        faiss_module()
        self._files, self._cache = files_of(url), FaissCache()
        self.path = self._files.index
        self.documents = FileDocuments(self._beside("embridge.json")) if documents is None else documents
        if create:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_dir():
            raise StoreError(f"{self.path} is a folder; expected a file of faiss.write_index")
        if not create and not self.path.exists() and not declarations(self.documents):
            raise StoreError(f"{self.path} does not exist; expected a file of faiss.write_index")

    @property
    def capabilities(self) -> Capabilities:
        held = [self._held(space) for space in self.spaces()]
        return replace(_ABLE, exact=all(one.exact for one in held), exact_scores=all(one.exact_scores for one in held))

    def tables(self) -> list[Table]:
        tables = []
        for name in [self.path.name, *self._own_files()]:
            files = self._files_of(name)
            if files.index.exists():
                held = self._cache.rows(files)
                vectors = {"": VectorColumn(held.index.dim, held.index.metric)}
                tables.append(Table(name, len(held), vectors, columns_of(files.ids), id=files.column))
        return tables

    def spaces(self) -> list[Space]:
        return list(declarations(self.documents))

    def declaration(self, space: Space) -> Declaration:
        declared = declarations(self.documents)
        require_held(list(declared), space, what="declaration")
        return declared[space]

    def adopt(self, declaration: Declaration) -> None:
        place = declaration.place
        if place.table != self.path.name or place.vector or place.id not in ("", self._files.column):
            raise StoreError(f"{self.path} holds no vectors {place}; expected {Place(self.path.name)}")
        require_adoptable(self._cache.rows(self._files), declaration.space, ids_named=self._files.ids is not None)

        def change(declared: _Declared) -> _Declared:
            others = [one for one, there in declared.items() if there.place == place and one != declaration.space]
            if others:
                raise StoreError(f"{self.path} is declared to hold {others[0]}; forget that first (store.forget)")
            there = declared.get(declaration.space)
            if there is not None and there.place != place:
                raise StoreError(
                    f"{declaration.space} stands in {there.place.table} already; drop or forget that first (store.forget)"
                )
            return declared | {declaration.space: declaration}

        change_declarations(self.documents, change)

    def forget(self, space: Space) -> None:
        if not self.declaration(space).adopted:
            raise StoreError(f"{space} was not adopted; drop_space deletes its vectors")
        change_declarations(self.documents, lambda declared: _without(declared, space))

    def add_space(self, space: Space) -> None:
        place = Place(f"{self.path.name}.embridge_{space.id}.faiss")
        added = Declaration(space, place, adopted=False)
        change_declarations(self.documents, lambda declared: {space: added} | declared)

    def drop_space(self, space: Space) -> None:
        declared = self.declaration(space)
        files = self._files_of(declared.place.table)
        self._cache.remove(files, ids=not declared.adopted)
        change_declarations(self.documents, lambda present: _without(present, space))  # last: a kill leaves what to do

    def count(self, space: Space) -> int:
        return len(self._held(space, "count"))

    def ids(self, space: Space, *, after: str | None = None, limit: int) -> list[str]:
        held = self._held(space, "ids")
        require_limit(limit, what="ids")
        start = held.following(after)
        return [held.texts[row] for row in held.in_order[start : start + limit]]

    def missing(self, space: Space, of: Space, *, after: str | None = None, limit: int) -> list[str]:
        there, held = self._held(space, "missing"), self._held(of, "missing")
        require_limit(limit, what="missing")
        missing: list[str] = []
        for row in held.in_order[held.following(after) :]:
            if held.texts[row] not in there.row_of:
                missing.append(held.texts[row])
                if len(missing) == limit:
                    break
        return missing

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        files = self._files_of(self._place(rows.space, "upsert").table)
        fitted({}, require_payload(payload, len(rows)))
        if len(rows) == 0:
            return
        require_ids(rows.ids)
        self._cache.change(files, lambda held: with_rows(held, rows), added=rows.space)

    def delete(self, ids: Sequence[str]) -> None:
        def change(held: FaissRows) -> Changed | None:
            there = {name for name in ids if name in held.row_of}
            return without_rows(held, there) if there else None

        spaces = self.spaces()
        for space in spaces:
            change(self._held(space))  # refused before anything is deleted
        for space in spaces:
            self._cache.change(self._files_of(self._place(space, "delete").table), change, added=space)

    def scan(self, space: Space, *, rows: int = SCAN_ROWS) -> Iterator[Embeddings]:
        place = self._place(space, "scan")
        return checked_parts(self.raw(place, rows=rows), space, what=str(self.path))

    def scan_with_payload(
        self, space: Space, columns: Sequence[str], *, rows: int = SCAN_ROWS
    ) -> Iterator[tuple[Embeddings, dict[str, list[Any]]]]:
        held = self._held(space, "scan")
        require_limit(rows, what="scan")
        require_columns(columns, self._payload_names(space))
        parts = ((part, self._payload(held.index.numbers[at], columns)) for at, part in held.parts(rows))
        return checked_records(parts, space, what=str(self.path))

    def raw(self, place: Place, *, rows: int = SCAN_ROWS) -> Iterator[RawRows]:
        require_limit(rows, what="scan")
        if place.vector or place.table not in {self.path.name, *self._own_files()}:
            raise StoreError(f"{self.path} holds no vectors {place}; expected {Place(self.path.name)}")
        held = self._cache.rows(self._files_of(place.table), added=self._own_files().get(place.table))
        return (part for _, part in held.parts(rows))

    def fetch(self, space: Space, ids: Sequence[str]) -> Embeddings:
        held = self._held(space, "fetch")
        there = {name: row for name in ids if (row := held.row_of.get(name)) is not None}
        rows = np.fromiter(there.values(), np.int64, len(there))
        return Embeddings(tuple(there), held.vectors(rows), space)

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        held = self._held(queries.space, "search")
        require_limit(k, what="search")
        for condition in filter:
            require_comparable(condition, {})
        return nearest(held, queries, k)

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        held = self._held(space, "payload")
        require_present(ids, held.row_of)
        return self._payload(held.numbers_of(ids), self._payload_names(space))

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        held = self._held(space, "column")
        require_column(name, self._columns(space))
        there = [one for one in ids if one in held.row_of]
        value_of = dict(zip(there, self._values(held.numbers_of(there), [name])[name], strict=True))
        return [value_of.get(one) for one in ids]

    def indexes(self, space: Space) -> list[IndexState]:
        held = self._held(space, "indexes")
        return held.states(self._place(space, "indexes").table)

    def read_state(self) -> dict[str, Any] | None:
        return self.documents.read(STATE)

    def swap_state(self, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        return self.documents.swap(STATE, expected, new)

    def close(self) -> None:
        self._cache.clear()

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{ending}")

    def _own_files(self) -> dict[str, Space]:
        """The files of spaces that were added, by name."""
        declared = declarations(self.documents)
        return {one.place.table: space for space, one in declared.items() if one.place.table != self.path.name}

    def _files_of(self, name: str) -> FaissFiles:
        """The files of a table, which lie beside the store's own."""
        if name == self.path.name:
            return self._files
        if Path(name).name != name:
            raise StoreError(f"{self.path} is declared to have vectors in {name!r}, which is no file beside it")
        return FaissFiles(self.path.with_name(name), ids=self.path.with_name(f"{name}.ids.json"))

    def _place(self, space: Space, what: str) -> Place:
        declared = declarations(self.documents)
        require_held(list(declared), space, what=what)
        return declared[space].place

    def _held(self, space: Space, what: str = "read") -> FaissRows:
        held = self._cache.rows(self._files_of(self._place(space, what).table), added=space)
        if held.index.dim != space.dim:
            raise StoreError(f"{held.what} holds vectors of {held.index.dim} numbers, and is declared to hold {space}")
        return held

    def _columns(self, space: Space) -> dict[str, str]:
        return columns_of(self._files_of(self._place(space, "payload").table).ids)

    def _payload_names(self, space: Space) -> list[str]:
        return payload_names(self._columns(space), but=self._files.column)

    def _payload(self, numbers: np.ndarray, names: Sequence[str]) -> dict[str, list[Any]]:
        return {name: list(map(as_payload, column)) for name, column in self._values(numbers, names).items()}

    def _values(self, numbers: np.ndarray, names: Sequence[str]) -> dict[str, list[Any]]:
        if not names or self._files.ids is None:
            return {}
        return values_at(self._files.ids, list(names), numbers)


def open_faiss(url: StoreUrl, *, create: bool, documents: Documents | None) -> FaissStore:
    """The store of a file; see `embridge.stores.open_store`."""
    return FaissStore(url, create=create, documents=documents)


def _without(declared: _Declared, space: Space) -> _Declared:
    return {one: there for one, there in declared.items() if one != space}
