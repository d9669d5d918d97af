"""PostgreSQL with pgvector: one table; its rows are items, and each space has a column of vectors, there or beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import SettingsError, StoreError
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores._postgres_adopting import adoptable, id_column, require_free, vector_column
from embridge.stores._postgres_beside import vector_name
from embridge.stores._postgres_binary import as_raw
from embridge.stores._postgres_catalog import UNSETTLED, Held, quoted
from embridge.stores._postgres_changes import PostgresChanges, may_note_changes
from embridge.stores._postgres_database import FRESH_SECONDS, Database, index_state
from embridge.stores._postgres_documents import PostgresDocuments
from embridge.stores._postgres_filters import where
from embridge.stores._postgres_names import PostgresTakeOver
from embridge.stores._postgres_reading import by_id, column_by_id, every_row, ids_with_vector, page_of_ids, values_by_id
from embridge.stores._postgres_search import Search, nearest, usable_index
from embridge.stores._postgres_statements import statements_of
from embridge.stores._postgres_tables import add_vectors, drop_vectors, make_table, payload_columns, side_for
from embridge.stores._postgres_upsert import delete_rows, fill_rows, write_rows
from embridge.stores.base import SCAN_ROWS, Filter, Payload
from embridge.stores.capabilities import Capabilities
from embridge.stores.checks import require_column, require_columns, require_held, require_limit, require_payload
from embridge.stores.documents import STATE, Documents, change_declarations, declarations
from embridge.stores.places import Declaration, IndexState, Place, RawRows, Table, checked_parts, checked_records
from embridge.stores.urls import StoreUrl

__all__ = ["PostgresStore", "open_postgres"]


@final
class PostgresStore:
    """A table of PostgreSQL; each space is a column of pgvector's ``vector`` or ``halfvec``. Needs the extra ``postgres``.

    A space that is added to a table of others stands in a table beside, which triggers keep in step: no row of others is
    written again, nor any index on their vectors.

    Every row of a write is in, or none. Every call sees what others have written by then; a scan sees the table as it was
    when it began. Reads are repeated once where the connection was lost, and so are writes.

    Search goes through an index of the space's metric where there is one (``hnsw``, ``ivfflat``, or one of another
    extension), and is approximate then: ``capabilities`` say so. Rows are scored by the stored vectors. Where an index
    gives fewer rows than were asked for, all rows are searched.

    Declarations and the state of a rollout stand in the table ``embridge_documents`` of the same schema.

    Args:
        url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?table=TABLE``, with ``&schema=SCHEMA`` where the user's search
            path does not lead to it.
        create: Make the table where it is not there.
        documents: Where declarations and state stand instead.

    Raises:
        StoreError: The database cannot be reached, or has no extension ``vector`` or no such table.
        SettingsError: A table is to be made and the URL names none.
        MissingExtra: ``psycopg`` is not installed.

    Examples:
        >>> from embridge.stores import parse_url
        >>> PostgresStore(parse_url("postgresql://me:secret@127.0.0.1:9/shop?table=items"))
        Traceback (most recent call last):
        embridge.errors.StoreError: postgresql://me:***@127.0.0.1:9/shop?table=items cannot be reached: ...
    """

    def __init__(self, url: StoreUrl, *, create: bool = False, documents: Documents | None = None) -> None:
        if create and not url.table:
            raise SettingsError(f"{url} names no table; add ?table=NAME")
        self._database = Database(url)
        self._sessions, self._engine, self._name = self._database.sessions, self._database.engine, url.table
        if not self._name and len(names := self._database.names()) == 1:
            self._name = names[0]
        if create and self._database.find(self._name) is None:
            make_table(self._sessions, self._database.default_schema(), self._name)
        self._documents = documents
        if self._name:
            schema, self._name = self._database.settled(self._name)
            self._documents = documents or PostgresDocuments(self._sessions, schema, self._name)
        self._seen: dict[Space, tuple[float, Declaration]] = {}
        self._new_rows: bool | None = None  # whether the last write met no row that was there

    @property
    def capabilities(self) -> Capabilities:
        noted = self._name and may_note_changes(self._database, self._database.relation(self._name))
        return Capabilities(
            exact=not any(self._goes_through_an_index(space) for space in self.spaces()),
            filter=True,
            persistent=True,
            nul=False,
            adopt=True,
            shared_rows=True,
            atomic_switch=True,
            foreign_writes="trigger" if noted else "scan",
        )

    @property
    def documents(self) -> Documents:
        if self._documents is None:
            raise StoreError(f"{self._database.url} names no table; add ?table=NAME: {self._database.instead()}")
        return self._documents

    def tables(self) -> list[Table]:
        return [self._database.described(name) for name in ([self._name] if self._name else self._database.names())]

    def spaces(self) -> list[Space]:
        return [] if self._documents is None else list(declarations(self._documents))

    def declaration(self, space: Space) -> Declaration:
        declared = {} if self._documents is None else declarations(self._documents)
        require_held(list(declared), space, what="declaration")
        return declared[space]

    def adopt(self, declaration: Declaration) -> None:
        relation = self._database.relation(declaration.place.table, fresh=True)
        if self._name and relation.oid != self._database.relation(self._name).oid:
            raise StoreError(f"{self._database.url} is not table {declaration.place.table!r}; open that one")
        declared = adoptable(self._sessions, self._engine, relation, declaration)

        def with_it(present: dict[Space, Declaration]) -> dict[Space, Declaration]:
            require_free(present, declared)
            return present | {declared.space: declared}

        self._declare(with_it)

    def forget(self, space: Space) -> None:
        if not self.declaration(space).adopted:
            raise StoreError(f"{space} was not adopted; drop_space deletes its vectors")
        self._undeclare(space)

    def add_space(self, space: Space) -> None:
        present = declarations(self.documents)
        if space in present and (present[space].adopted or present[space].place.vector != vector_name(space)):
            return
        relation = self._database.relation(self._name, fresh=True)
        id = id_column(relation, next((one.place.id for one in present.values()), ""))
        add_vectors(self._database, relation, id, space)
        self._database.relation(self._name, fresh=True)
        declared = Declaration(space, Place(self._name, vector_name(space), id.name), adopted=False)
        self._declare(lambda held: held | {space: declared})

    def drop_space(self, space: Space) -> None:
        place = self._declared(space, "drop_space").place
        drop_vectors(self._sessions, self._database.relation(place.table), place.vector)
        self._undeclare(space)

    def count(self, space: Space) -> int:
        held = self._held(space, "count")
        select = f"SELECT count({quoted(held.vector.name)}) FROM {held.rows}"
        return int(self._sessions.run(lambda one: one.execute(select, ()).fetchone()[0], what="count"))

    def ids(self, space: Space, *, after: str | None = None, limit: int) -> list[str]:
        require_limit(limit, what="ids")
        return page_of_ids(self._sessions, self._held(space, "ids"), "", after, limit)

    def missing(self, space: Space, of: Space, *, after: str | None = None, limit: int) -> list[str]:
        require_limit(limit, what="missing")
        held, other = self._held(space, "missing"), self._held(of, "missing")
        return page_of_ids(self._sessions, other, f" AND {held.lacking}", after, limit)

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        held = self._held(rows.space, "upsert", columns=list(payload or ()))
        columns = require_payload(payload, len(rows))
        if len(rows) == 0:
            return
        self._new_rows = write_rows(self._database, held, rows, columns, new=self._new_rows)

    def fill(self, rows: Embeddings) -> list[str]:
        return fill_rows(self._database, self._held(rows.space, "fill"), rows)

    def changes(self, old: Space, new: Space, columns: Sequence[str] = ()) -> PostgresChanges:
        held, declared = self._held(old, "changes", columns=columns), declarations(self.documents)
        name = declared[new].place.vector if new in declared else vector_name(new)
        side = held.relation.beside.get(name) if new in declared else side_for(self._database, held.relation, new)
        return PostgresChanges(self._sessions, held, (name, side), columns)

    def statements(self, old: Space, new: Space) -> tuple[str, ...]:
        return statements_of(self._database, self._held(old, "statements"), new, self.documents)

    def take_over(self, old: Space, new: Space) -> PostgresTakeOver:
        return PostgresTakeOver(self._database, self.documents, old, new)

    def delete(self, ids: Sequence[str]) -> None:
        named = next((one.place.id for one in declarations(self.documents).values()), "")
        delete_rows(self._database, self._database.relation(self._name), named, ids)

    def scan(self, space: Space, *, rows: int = SCAN_ROWS) -> Iterator[Embeddings]:
        place = self._declared(space, "scan").place
        return checked_parts(self.raw(place, rows=rows), space, what=str(self._database.url))

    def scan_with_payload(
        self, space: Space, columns: Sequence[str], *, rows: int = SCAN_ROWS
    ) -> Iterator[tuple[Embeddings, dict[str, list[Any]]]]:
        require_limit(rows, what="scan")
        held = self._held(space, "scan", fresh=True)
        there = payload_columns(held.relation, held.id.name)
        require_columns(columns, there)
        at, payload = (held.vector, held.id), [there[name] for name in columns]
        parts = every_row(self._sessions, held.relation, at, space.dim, rows, payload)
        return checked_records(parts, space, what=str(self._database.url))

    def raw(self, place: Place, *, rows: int = SCAN_ROWS) -> Iterator[RawRows]:
        require_limit(rows, what="scan")
        relation = self._database.relation(place.table)
        columns = vector_column(relation, place.vector), id_column(relation, place.id)
        present = {} if self._documents is None else declarations(self._documents)
        dim = next((space.dim for space, one in present.items() if one.place == place), None)
        return (part for part, _ in every_row(self._sessions, relation, columns, dim, rows))

    def fetch(self, space: Space, ids: Sequence[str]) -> Embeddings:
        held = self._held(space, "fetch")
        found = dict(by_id(self._sessions, held.rows, held.id, ids, [quoted(held.vector.name)]))
        names = [name for name in dict.fromkeys(ids) if found.get(name) is not None]
        raw = as_raw(names, [found[name] for name in names], space.dim, held.vector.type)
        empty = Embeddings((), np.empty((0, space.dim), np.float32), space)
        return next(checked_parts([raw], space, what=str(self._database.url)), empty)

    def among(self, space: Space, ids: Sequence[str]) -> list[str]:
        found = ids_with_vector(self._sessions, self._held(space, "among"), ids)
        return [name for name in dict.fromkeys(ids) if name in found]

    def others(self) -> bool:
        return self._sessions.others()

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        held = self._held(queries.space, "search", columns=[condition.column for condition in filter])
        require_limit(k, what="search")
        columns = payload_columns(held.relation, held.id.name)
        metric, dim = queries.space.metric, queries.space.dim
        search = Search(held, metric, dim, k, *where(filter, columns), joined=bool(filter) or held.side is None)
        return nearest(self._sessions, self._engine, search, queries)

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        held = self._held(space, "payload", fresh=True)
        return values_by_id(self._sessions, held, ids, payload_columns(held.relation, held.id.name))

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        held = self._held(space, "column", columns=[name])
        require_column(name, held.relation.columns)
        return column_by_id(self._sessions, held, ids, held.relation.columns[name])

    def indexes(self, space: Space) -> list[IndexState]:
        held = self._held(space, "indexes", fresh=True)
        return [index_state(one, space.metric) for one in held.relation.indexes if one.column == held.vector.name]

    def read_state(self) -> dict[str, Any] | None:
        return self.documents.read(STATE)

    def swap_state(self, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        return self.documents.swap(STATE, expected, new)

    def close(self) -> None:
        self._sessions.close()

    def _declared(self, space: Space, what: str) -> Declaration:
        """As it stands, or stood a second ago: what others declare is seen at once, what they take back soon."""
        when, declared = self._seen.get(space, (0.0, None))
        if declared is not None and time.monotonic() - when < FRESH_SECONDS:
            return declared
        present = {} if self._documents is None else declarations(self._documents)
        self._seen = {one: (time.monotonic(), found) for one, found in present.items()}
        require_held(list(present), space, what=what)
        return present[space]

    def _declare(self, change: Callable[[dict[Space, Declaration]], dict[Space, Declaration]]) -> None:
        self._seen = {}
        change_declarations(self.documents, change)
        self._seen = {}

    def _held(self, space: Space, what: str, *, fresh: bool = False, columns: Sequence[str] = ()) -> Held:
        """columns: others that are asked for; the table is looked at again where one is not known, or not what it holds."""
        place = self._declared(space, what).place
        relation = self._database.relation(place.table, fresh=fresh)
        known = [relation.columns.get(name) for name in (place.vector, *columns)]
        if not fresh and any(column is None or column.comment == UNSETTLED for column in known):
            relation = self._database.relation(place.table, fresh=True)
        vector = vector_column(relation, place.vector)
        if vector.dim not in (None, space.dim) and not fresh:  # another one may have its name since a moment
            return self._held(space, what, fresh=True, columns=columns)
        if vector.dim not in (None, space.dim):
            raise StoreError(f"column {vector.name!r} of {relation.name!r} is {vector.word} now, the space is {space}")
        return Held(relation, vector, id_column(relation, place.id))

    def _undeclare(self, space: Space) -> None:
        self._declare(lambda held: {one: declared for one, declared in held.items() if one != space})

    def _goes_through_an_index(self, space: Space) -> bool:
        held = self._held(space, "capabilities", fresh=True)
        return usable_index(held.relation, held.vector.name, space.metric) is not None


def open_postgres(url: StoreUrl, *, create: bool, documents: Documents | None) -> PostgresStore:
    """The store at a URL; see `embridge.stores.open_store`."""
    return PostgresStore(url, create=create, documents=documents)
