"""Qdrant: a server, Qdrant Cloud, the client's local folders, or the engine in this process; one collection a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores._qdrant_columns import (
    columns_of_others,
    described,
    fitted_columns,
    known_kinds,
    require_columns,
)
from embridge.stores._qdrant_described import index_states, payload_of, points_of, table_of
from embridge.stores._qdrant_documents import ServerDocuments
from embridge.stores._qdrant_engine import ID_KEY, Engine, checked_name
from embridge.stores._qdrant_filters import all_of, has_value, has_vector, key_path
from embridge.stores._qdrant_holdings import Holdings
from embridge.stores._qdrant_opening import documents_of, engine_of
from embridge.stores._qdrant_search import Searched, nearest
from embridge.stores.base import SCAN_ROWS, Filter, Payload
from embridge.stores.capabilities import Capabilities
from embridge.stores.checks import (
    require_column,
    require_ids,
    require_limit,
    require_payload,
    require_present,
)
from embridge.stores.documents import STATE, Documents
from embridge.stores.places import Declaration, IndexState, Place, RawRows, Table, checked_parts, checked_records
from embridge.stores.urls import StoreUrl

__all__ = ["QdrantStore", "open_qdrant"]

_SHOWN = 10


@final
class QdrantStore:
    """One collection; a space is one of its named vectors, or the one without a name.

    `open_store` gives it for ``qdrant:http://HOST:6333/COLLECTION`` (a server, or Qdrant Cloud with ``https``),
    ``qdrant:FOLDER/COLLECTION`` (what ``QdrantClient(path=…)`` writes) and ``qdrant:FOLDER/COLLECTION?engine=edge`` (the
    engine itself, in this process). Needs the extra ``qdrant``, or ``qdrant-edge``.

    Qdrant's ids are whole numbers and UUIDs. In a collection that this library makes ids are any text: a point's UUID is
    made of it, and the text is in the payload as ``embridge_id``. Under cosine Qdrant keeps vectors at length one.

    Args:
        engine: Of a server or folder.
        name: The collection.
        documents: Where declarations and the state of a rollout stand.

    Examples:
        >>> import numpy as np
        >>> from embridge.stores import open_store
        >>> space = Space("toy", "1", 2)
        >>> store = open_store("qdrant:shop/items?engine=edge", create=True)
        >>> store.add_space(space)
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), space, ["a", "b"])
        >>> store.upsert(rows, {"kind": ["shoe", "hat"]})
        >>> store.search(rows, 1).ids
        (('a',), ('b',))
    """

    def __init__(self, engine: Engine, name: str, documents: Documents) -> None:
        self.documents, self.name = documents, name
        self._held = Holdings(engine, name, documents)

    @property
    def capabilities(self) -> Capabilities:
        engine = self._held.engine
        return Capabilities(
            exact=self._held.is_exact(),
            filter=True,
            persistent=True,
            keeps_lengths=False,
            ids_in_order=False,
            atomic_state=engine.atomic or not isinstance(self.documents, ServerDocuments),
            adopt=True,
            shared_rows=engine.adds_vectors,
            atomic_switch=engine.remote,
            foreign_writes="scan",
        )

    def tables(self) -> list[Table]:
        beside = {one.place.table for one in self._held.declarations().values()} - {self.name}
        held = ((name, self._held.engine.collection(name)) for name in [self.name, *sorted(beside)])
        return [
            table_of(self._held.engine, name, one, own=self._held.is_own()) for name, one in held if one is not None
        ]

    def spaces(self) -> list[Space]:
        return list(self._held.declarations())

    def declaration(self, space: Space) -> Declaration:
        return self._held.of(space, "declaration")

    def adopt(self, declaration: Declaration) -> None:
        self._held.adopt(declaration)

    def forget(self, space: Space) -> None:
        if not self._held.of(space, "forget").adopted:
            raise StoreError(f"{space} was not adopted; drop_space deletes its vectors")
        self._held.undeclare(space)

    def add_space(self, space: Space) -> None:
        self._held.add(space)

    def drop_space(self, space: Space) -> None:
        self._held.drop(space)

    def count(self, space: Space) -> int:
        place = self._held.of(space, "count").place
        return self._held.engine.count(place.table, all_of([has_vector(place.vector)]))

    def ids(self, space: Space, *, after: str | None = None, limit: int) -> list[str]:
        place = self._held.of(space, "ids").place
        require_limit(limit, what="ids")
        return self._held.rows(place).names(limit, where=all_of([has_vector(place.vector)]), after=after)

    def missing(self, space: Space, of: Space, *, after: str | None = None, limit: int) -> list[str]:
        place, source = self._held.of(space, "missing").place, self._held.of(of, "missing").place
        require_limit(limit, what="missing")
        rows, given = self._held.rows(source), has_vector(source.vector)
        if place.table == source.table:
            return rows.names(limit, where=all_of([given], [has_vector(place.vector)]), after=after)
        left: list[str] = []
        while len(left) < limit and (names := rows.names(SCAN_ROWS, where=all_of([given]), after=after)):
            there = self._held.rows(place).found(names)
            left += [name for name in names if name not in there]
            after = names[-1]
        return left[:limit]

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        place = self._held.of(rows.space, "upsert").place
        columns = require_payload(payload, len(rows))
        if len(rows) == 0:
            return
        require_ids(rows.ids)
        if ID_KEY in columns:
            raise InvalidInput(f"payload column {ID_KEY!r} holds the ids of the rows; call it something else")
        table = self._held.rows(place)
        points = table.points(rows.ids)
        known = known_kinds(self.documents, place.table)
        if known is None:
            columns = columns_of_others(self._held.engine, place.table, columns)
        else:
            columns = fitted_columns(self.documents, place.table, columns, some=self._held.engine.adds_vectors)
        alone = len(self._held.collection(place.table).vectors) == 1
        table.write(
            place.vector,
            points_of(points, rows, columns, own=table.own),
            columns,
            whole=alone and known is not None and set(columns) >= set(known),
        )

    def delete(self, ids: Sequence[str]) -> None:
        tables = {one.place.table for one in self._held.declarations().values()} | {self.name}
        for name in sorted(tables):
            if ids and self._held.engine.collection(name) is not None:
                self._held.rows(Place(name)).delete(ids)

    def scan(self, space: Space, *, rows: int = SCAN_ROWS) -> Iterator[Embeddings]:
        parts = self.raw(self._held.of(space, "scan").place, rows=rows)
        return checked_parts(parts, space, what=self._what)

    def scan_with_payload(
        self, space: Space, columns: Sequence[str], *, rows: int = SCAN_ROWS
    ) -> Iterator[tuple[Embeddings, dict[str, list[Any]]]]:
        place = self._held.of(space, "scan").place
        for name in columns:
            self._require_column(place, name)
        parts = self._parts(place, rows, columns)
        records = ((part, payload_of(payloads, columns, {})) for part, payloads in parts)
        return checked_records(records, space, what=self._what)

    def raw(self, place: Place, *, rows: int = SCAN_ROWS) -> Iterator[RawRows]:
        return (part for part, _ in self._parts(place, rows))

    def fetch(self, space: Space, ids: Sequence[str]) -> Embeddings:
        place = self._held.of(space, "fetch", cached=True).place
        names, vectors = self._held.rows(place).vectors(ids, place.vector, space.dim)
        rows = list(checked_parts([RawRows(names, vectors)], space, what=self._held.engine.where))
        return rows[0] if rows else Embeddings((), vectors, space)

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        place = self._held.of(queries.space, "search", cached=True).place
        require_limit(k, what="search")
        if filter:
            require_columns(self._held.engine, place.table, filter, known_kinds(self.documents, place.table))
        info, exact = self._held.info(place)
        return nearest(Searched(self._held.engine, place, info, self._held.rows(place).own, exact), queries, k, filter)

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        place = self._held.of(space, "payload").place
        found = self._held.rows(place).found(ids, payload=True)
        require_present(ids, found)
        known = known_kinds(self.documents, place.table)
        seen = described(self._held.engine, place.table, {}) if known is None else {}
        return payload_of([found[name].payload or {} for name in ids], None if known is None else list(known), seen)

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        place = self._held.of(space, "column").place
        self._require_column(place, name)
        found = self._held.rows(place).found(ids, payload=[key_path(name)])
        return [(found[one].payload or {}).get(name) if one in found else None for one in ids]

    def indexes(self, space: Space) -> list[IndexState]:
        place = self._held.of(space, "indexes").place
        return index_states(self._held.collection(place.table), place)

    def read_state(self) -> dict[str, Any] | None:
        return self.documents.read(STATE)

    def swap_state(self, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        return self.documents.swap(STATE, expected, new)

    def close(self) -> None:
        self._held.close()

    @property
    def _what(self) -> str:
        return f"{self._held.engine.where}, collection {self.name}"

    def _parts(self, place: Place, rows: int, keys: Sequence[str] = ()) -> Iterator[Any]:
        require_limit(rows, what="scan")
        info, several = self._held.usable(place), len(self._held.collection(place.table).vectors) > 1
        where = all_of([has_vector(place.vector)]) if several else None
        return self._held.rows(place).parts(place.vector, info.dim, rows, where=where, keys=keys)

    def _require_column(self, place: Place, name: str) -> None:
        known = known_kinds(self.documents, place.table)
        if known is not None:
            require_column(name, known)
        elif not self._held.engine.scroll(place.table, 1, where=all_of([has_value(name)]))[0]:
            require_column(name, described(self._held.engine, place.table, {}))


def open_qdrant(url: StoreUrl, *, create: bool, documents: Documents | None) -> QdrantStore:
    """The store of a collection; see `embridge.stores.open_store`."""
    engine = engine_of(url, create=create)
    name = checked_name(engine.aliases().get(url.table, url.table))
    if not create and engine.collection(name) is None:
        names = engine.names()
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        raise StoreError(f"{engine.where} holds no collection {name!r}; there are: {shown or 'none'}")
    return QdrantStore(engine, name, documents_of(engine, url, name) if documents is None else documents)
