"""Chroma: a collection a space, on a server or in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, final

from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores._chroma_adopting import described, require_adoptable
from embridge.stores._chroma_client import ChromaClient
from embridge.stores._chroma_columns import Kinds, found_kinds, kinds_of_columns, native, usable
from embridge.stores._chroma_documents import ChromaDocuments, is_document
from embridge.stores._chroma_listing import Listings
from embridge.stores._chroma_rows import (
    first_records,
    matching,
    metric_of,
    parts_of,
    records,
    records_of,
    vectors,
    write,
)
from embridge.stores._chroma_search import nearest
from embridge.stores._columns import fitted, require_comparable
from embridge.stores._measurable import require_measurable
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
from embridge.stores.documents import STATE, Documents, change_declarations, declarations
from embridge.stores.places import Declaration, IndexState, Place, RawRows, Table, checked_parts, checked_records
from embridge.stores.urls import StoreUrl

__all__ = ["ChromaStore", "open_chroma"]

_WORDS = {"cosine": "cosine", "dot": "ip", "l2": "l2"}
_LOOKED_AT = 1_000
_Declared = dict[Space, Declaration]


@final
class ChromaStore:
    """A collection that was there before, and others of this library's own beside it.

    A space that is added has a collection ``NAME--embridge_ID``; declarations and the state of a rollout are empty
    collections whose metadata is the document. Search is approximate, by Chroma's HNSW. Needs the extra ``chroma``.

    Args:
        url: ``chroma:http://HOST:8000/COLLECTION`` or ``chroma:FOLDER/COLLECTION``, with ``?tenant=`` and ``database=``. A
            token for a server is read from ``CHROMA_TOKEN``.
        create: Whether the collection and its folder may be missing.
        documents: Where declarations stand; in the database where None.

    Raises:
        StoreError: There is no such server, folder or collection, or it refuses access.
        MissingExtra: Chroma is not installed.

    Examples:
        >>> import numpy as np
        >>> space = Space("toy", "1", 2)
        >>> store = ChromaStore(StoreUrl("chroma", "chroma-folder", "items"), create=True)
        >>> store.add_space(space)
        >>> store.upsert(Embeddings.of(np.eye(2, dtype=np.float32), space, ["a", "b"]), {"kind": ["shoe", "hat"]})
        >>> store.search(Embeddings.of(np.array([[0.9, 0.1]], np.float32), space), 1).ids
        (('a',),)
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        exact=False, filter=True, persistent=True, adopt=True, keeps_lengths=False, foreign_writes="scan"
    )

    def __init__(self, url: StoreUrl, *, create: bool = False, documents: Documents | None = None) -> None:
        self.name, self._client = url.table, ChromaClient(url, create=create)
        self._listings = Listings(self._client)
        self._own = ChromaDocuments(self._client, url.table)
        self.documents: Documents = self._own if documents is None else documents
        self._declared: _Declared = declarations(self.documents)
        if not create and not self._declared:
            self._client.collection(self.name)

    def tables(self) -> list[Table]:
        own = {one.place.table for one in self._fresh().values()}
        names = {one.name for one in self._client.collections() if one.name == self.name or one.name in own}
        return [described(self._client, name, _LOOKED_AT) for name in sorted(names)]

    def spaces(self) -> list[Space]:
        return list(self._fresh())

    def declaration(self, space: Space) -> Declaration:
        require_held(self.spaces(), space, what="declaration")
        return self._declared[space]

    def adopt(self, declaration: Declaration) -> None:
        place, space = declaration.place, declaration.space
        if place != Place(self.name):
            raise StoreError(f"{self._client.where} holds no vectors {place}; expected {Place(self.name)}")
        require_adoptable(self._client, self.name, space)

        def change(declared: _Declared) -> _Declared:
            others = [one for one, there in declared.items() if there.place == place and one != space]
            if others:
                raise StoreError(
                    f"{self._client.where} is declared to hold {others[0]}; forget that first (store.forget)"
                )
            if space in declared and declared[space].place != place:
                raise StoreError(
                    f"{space} stands in {declared[space].place.table} already; drop or forget that first (store.forget)"
                )
            return declared | {space: declaration}

        self._declared = change_declarations(self.documents, change)

    def forget(self, space: Space) -> None:
        if not self.declaration(space).adopted:
            raise StoreError(f"{space} was not adopted; drop_space deletes its vectors")
        self._undeclare(space)

    def add_space(self, space: Space) -> None:
        declared = self._fresh().get(space)
        if declared is not None and declared.adopted:
            return
        place = Place(f"{self.name}--embridge_{space.id}")
        self._client.make(place.table, space=_WORDS[space.metric], again=True)
        added = Declaration(space, place, adopted=False)
        self._declared = change_declarations(self.documents, lambda declared: {space: added} | declared)

    def drop_space(self, space: Space) -> None:
        self._client.drop(self._place(space, "drop_space").table)
        self._remember(space, None)
        self._undeclare(space)  # last, so that what was interrupted can be done again

    def count(self, space: Space) -> int:
        return int(self._client.on(self._name(space, "count"), lambda one: one.count()))

    def ids(self, space: Space, *, after: str | None = None, limit: int) -> list[str]:
        name = self._name(space, "ids")
        require_limit(limit, what="ids")
        return self._listings.page(name, after, limit)

    def missing(self, space: Space, of: Space, *, after: str | None = None, limit: int) -> list[str]:
        name, other = self._name(space, "missing"), self._name(of, "missing")
        require_limit(limit, what="missing")
        return self._listings.page(other, after, limit, without=name)

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        declared = self._held(rows.space, "upsert")
        columns = require_payload(payload, len(rows))
        if len(rows) == 0:
            return
        require_ids(rows.ids)
        require_measurable(rows, engine="Chroma")
        write(self._client, declared.place.table, rows, self._fitted(declared, columns))

    def delete(self, ids: Sequence[str]) -> None:
        there = list(dict.fromkeys(ids))
        for declared in list(self._fresh().values()):
            step = self._client.most_rows
            for start in range(0, len(there), step):
                part = there[start : start + step]
                self._client.on(declared.place.table, lambda one, part=part: one.delete(ids=part))  # type: ignore[misc]

    def scan(self, space: Space, *, rows: int = SCAN_ROWS) -> Iterator[Embeddings]:
        return checked_parts(self.raw(self._place(space, "scan"), rows=rows), space, what=self._client.where)

    def scan_with_payload(
        self, space: Space, columns: Sequence[str], *, rows: int = SCAN_ROWS
    ) -> Iterator[tuple[Embeddings, dict[str, list[Any]]]]:
        declared = self._held(space, "scan")
        require_limit(rows, what="scan")
        require_columns(columns, self._kinds(declared))
        parts = records_of(self._client, declared.place.table, rows)
        records = ((part, {name: [one.get(name) for one in found] for name in columns}) for part, found in parts)
        return checked_records(records, space, what=self._client.where)

    def raw(self, place: Place, *, rows: int = SCAN_ROWS) -> Iterator[RawRows]:
        require_limit(rows, what="scan")
        if place.vector or place.id or is_document(place.table):
            raise StoreError(f"{self._client.where} holds no vectors {place}; expected {Place(self.name)}")
        self._client.collection(place.table)
        return parts_of(self._client, place.table, rows)

    def fetch(self, space: Space, ids: Sequence[str]) -> Embeddings:
        there, found = vectors(self._client, self._name(space, "fetch"), list(dict.fromkeys(ids)), space.dim)
        row_of = {name: row for row, name in enumerate(there)}
        names = tuple(name for name in dict.fromkeys(ids) if name in row_of)
        return Embeddings(names, found[[row_of[name] for name in names]], space)

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        declared = self._held(queries.space, "search")
        require_limit(k, what="search")
        require_measurable(queries, engine="Chroma")
        name, where, among = declared.place.table, None, None
        if filter:
            kinds = self._kinds(declared)
            for condition in filter:
                require_comparable(condition, kinds)
            where, left = native(filter, kinds)
            among = matching(self._client, name, where, left) if left else None
        return nearest(self._client, name, queries, k, where=where, among=among)

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        declared = self._held(space, "payload")
        found = records(self._client, declared.place.table, list(dict.fromkeys(ids)))
        require_present(ids, found)
        kinds = self._kinds(declared)
        if declared.adopted:
            kinds |= usable(found_kinds(found.values()))
        return {name: [found[one].get(name) for one in ids] for name in kinds}

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        declared = self._held(space, "column")
        found = records(self._client, declared.place.table, list(dict.fromkeys(ids)))
        if not any(name in record for record in found.values()):
            require_column(name, self._kinds(declared))
        return [found[one].get(name) if one in found else None for one in ids]

    def indexes(self, space: Space) -> list[IndexState]:
        collection = self._client.collection(self._name(space, "indexes"))
        kind = "spann" if (collection.configuration_json or {}).get("spann") else "hnsw"
        return [IndexState(collection.name, kind, metric_of(collection))]

    def read_state(self) -> dict[str, Any] | None:
        return self.documents.read(STATE)

    def swap_state(self, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        return self.documents.swap(STATE, expected, new)

    def close(self) -> None:
        pass

    def _fresh(self) -> _Declared:
        self._declared = declarations(self.documents)
        return self._declared

    def _held(self, space: Space, what: str) -> Declaration:
        if space not in self._declared:
            require_held(self.spaces(), space, what=what)
        return self._declared[space]

    def _place(self, space: Space, what: str) -> Place:
        return self._held(space, what).place

    def _name(self, space: Space, what: str) -> str:
        return self._place(space, what).table

    def _undeclare(self, space: Space) -> None:
        def change(declared: _Declared) -> _Declared:
            return {one: there for one, there in declared.items() if one != space}

        self._declared = change_declarations(self.documents, change)

    def _kinds(self, declared: Declaration) -> Kinds:
        """Of an adopted collection, what its first rows hold."""
        if declared.adopted:
            return usable(found_kinds(first_records(self._client, declared.place.table, _LOOKED_AT)))
        return dict((self.documents.read(f"columns_{declared.space.id}") or {}).get("kinds", {}))

    def _fitted(self, declared: Declaration, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        known = self._kinds(declared)
        if declared.adopted:
            return fitted(known, columns, some=True)
        beside = any(one.adopted for one in self._fresh().values())  # whose rows need not carry the same columns
        if known or self.count(declared.space):
            columns = fitted({**dict.fromkeys(columns), **known} if beside else known, columns, some=beside)
        settled = kinds_of_columns(known, columns)
        if settled != known:
            self._remember(declared.space, settled)
        return columns

    def _remember(self, space: Space, kinds: Kinds | None) -> None:
        """Keep what the columns of an own collection hold; with None, that there are none."""
        name = f"columns_{space.id}"
        present = self.documents.read(name)
        new = {"kinds": kinds or {}}
        if (present or {"kinds": {}}) != new and not self.documents.swap(name, present, new):
            raise StoreError(f"{self._client.where}: another client settled the columns of {space}; write again")


def open_chroma(url: StoreUrl, *, create: bool, documents: Documents | None) -> ChromaStore:
    """The store of a collection; see `embridge.stores.open_store`."""
    return ChromaStore(url, create=create, documents=documents)
