"""LanceDB: embedded, on disk or in object storage; tables of others are adopted, new spaces get a table each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.nearest import Hits
from embridge.query.arrays import hits_of
from embridge.space import Space
from embridge.stores import _lance_reads as reads
from embridge.stores._columns import require_comparable
from embridge.stores._lance_adopt import (
    index_metrics,
    index_states,
    require_adoptable,
    require_place,
    with_declaration,
)
from embridge.stores._lance_bulk import LanceBulk
from embridge.stores._lance_columns import kinds_of, kinds_of_source, payload_of
from embridge.stores._lance_database import LanceDatabase
from embridge.stores._lance_filters import sql
from embridge.stores._lance_rows import Source, rows_of, usable, vector_type
from embridge.stores._lance_search import Found, is_approximate, nearest, nearest_of_parts
from embridge.stores._lance_writes import SmallFiles, ended, written
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

__all__ = ["LanceStore", "open_lance"]

_PAGE_ROWS = 10_000


@final
class LanceStore:
    """A LanceDB database: adopted tables as they are, and a table for every space that is added.

    The rows of a write are one LanceDB commit, so a crash leaves those of the last whole write. Every call sees what other
    processes have written by then. Needs the extra ``lancedb``.

    Search is exhaustive as long as no vector index is built on a table, with LanceDB itself. Through one it is approximate:
    ``capabilities`` say so, and `ann_recall` measures what that costs. Scores are exact either way, since they are computed
    from the stored vectors of the hits. An index of another metric than the space's is passed by.

    Args:
        location: A folder, or a URI as LanceDB takes it, such as ``s3://bucket/folder``.
        create: Make the folder where it is not there.
        table: The table of others that the store is of; empty for a store that has tables of its own alone. Tables that
            the store adds are named ``space_<id>``, or ``<table>_embridge_<id>`` beside a table of others.
        documents: Where declarations and the state of a rollout stand; in a table ``embridge_documents`` by default.

    Raises:
        StoreError: The folder is not there, or holds no such table.
        MissingExtra: LanceDB is not installed.

    Examples:
        >>> from embridge.stores import Condition
        >>> space = Space("toy", "1", 2)
        >>> store = LanceStore("shop", create=True)
        >>> store.add_space(space)
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), space, ["a", "b"])
        >>> store.upsert(rows, {"kind": ["shoe", "hat"]})
        >>> LanceStore("shop").search(rows, 1, filter=(Condition("kind", "==", "hat"),)).ids
        (('b',), ('b',))
    """

    def __init__(
        self, location: Path | str, *, create: bool = False, table: str = "", documents: Documents | None = None
    ) -> None:
        self._database = LanceDatabase(str(location), table, create=create)
        self._asked = self._database.asked
        self.documents: Documents = documents or self._database.documents
        self._sources: dict[Space, Source] = {}
        self._small_files = SmallFiles()
        self._asked(self._refresh, "cannot be opened as a LanceDB store")
        if not create:
            self._database.require_any(self._sources)

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self._database.location)

    @property
    def capabilities(self) -> Capabilities:
        sources = list(self._sources.items())
        exact = self._asked(lambda: not any(is_approximate(source, space.metric) for space, source in sources))
        return Capabilities(exact=exact, filter=True, persistent=True, adopt=True, foreign_writes="scan")

    def tables(self) -> list[Table]:
        return self._asked(self._database.tables)

    def spaces(self) -> list[Space]:
        self._asked(self._refresh)
        return list(self._sources)

    def declaration(self, space: Space) -> Declaration:
        return self._source(space, "declaration").declaration

    def adopt(self, declaration: Declaration) -> None:
        place, own = declaration.place, self._database.table
        if own and place.table != own:
            raise StoreError(f"{self._database} is of table {own!r}, came {place.table!r}")
        if any(space == declaration.space and not self.declaration(space).adopted for space in self.spaces()):
            raise StoreError(f"{self._database} has a table of its own for {declaration.space}")
        self._asked(lambda: require_adoptable(self._database.opened(place.table), declaration))
        self._declare(lambda held: with_declaration(held, declaration))

    def forget(self, space: Space) -> None:
        if space not in self._asked(lambda: declarations(self.documents)):
            self._source(space, "forget")
            raise StoreError(f"{space} was not adopted; drop_space deletes its vectors")
        self._declare(lambda held: {one: held[one] for one in held if one != space})

    def add_space(self, space: Space) -> None:
        if space not in self.spaces():
            self._asked(lambda: ended(lambda: self._database.add(space)))
            self._asked(self._refresh)

    def drop_space(self, space: Space) -> None:
        if space in self._asked(lambda: declarations(self.documents)):
            if space in self.spaces():  # the vectors stand, and are not what an interrupted call left of them
                adopted = self._sources[space]
                self._asked(lambda: ended(lambda: adopted.table.drop_columns([adopted.place.vector])))
            self.forget(space)
            return
        source = self._source(space, "drop_space")
        self._asked(lambda: ended(lambda: self._database.connection.drop_table(source.place.table)))
        del self._sources[space]

    def count(self, space: Space) -> int:
        source = self._source(space, "count")
        return int(self._asked(lambda: source.table.count_rows(reads.has_vector(source) or None)))

    def ids(self, space: Space, *, after: str | None = None, limit: int) -> list[str]:
        source = self._source(space, "ids")
        require_limit(limit, what="ids")
        return self._asked(lambda: reads.ids_after(source, after, limit))

    def missing(self, space: Space, of: Space, *, after: str | None = None, limit: int) -> list[str]:
        source, other = self._source(space, "missing"), self._source(of, "missing")
        require_limit(limit, what="missing")
        missing: list[str] = []
        while len(missing) < limit and (names := self.ids(of, after=after, limit=max(limit, _PAGE_ROWS))):
            held = self._asked(partial(reads.ids_of_page, source, names, other))
            missing += [name for name in names if name not in held]
            after = names[-1]
        return missing[:limit]

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        source = self._source(rows.space, "upsert")
        columns = require_payload(payload, len(rows))
        if len(rows) == 0:
            return
        require_ids(rows.ids)
        require_measurable(rows, engine="LanceDB")
        what = f"did not take {len(rows)} rows, the earlier ones stand"
        self._asked(lambda: ended(lambda: written(source, rows, columns)), what)
        self._small_files.after_write(source)

    def delete(self, ids: Sequence[str]) -> None:
        self._asked(self._refresh)  # another process may have added a space
        for start in range(0, len(ids), _PAGE_ROWS):
            for source in self._sources.values():
                where = source.among(ids[start : start + _PAGE_ROWS])
                self._asked(partial(ended, partial(source.table.delete, where)))

    def scan(self, space: Space, *, rows: int = SCAN_ROWS) -> Iterator[Embeddings]:
        source = self._source(space, "scan")
        require_limit(rows, what="scan")
        parts = reads.parts_of(self._asked, source.table, source.place, space.dim, rows)
        return checked_parts(parts, space, what=str(self._database))

    def scan_with_payload(
        self, space: Space, columns: Sequence[str], *, rows: int = SCAN_ROWS
    ) -> Iterator[tuple[Embeddings, dict[str, list[Any]]]]:
        source = self._source(space, "scan")
        require_limit(rows, what="scan")
        kinds = self._asked(lambda: kinds_of_source(source))
        require_columns(columns, kinds)
        parts = reads.records_of(self._asked, source, {name: kinds[name] for name in columns}, rows)
        return checked_records(parts, space, what=str(self._database))

    def raw(self, place: Place, *, rows: int = SCAN_ROWS) -> Iterator[RawRows]:
        require_limit(rows, what="scan")
        table = self._asked(lambda: self._database.opened(place.table))
        self._asked(lambda: require_place(table, place))
        dims = [space.dim for space, source in self._sources.items() if source.place == place]
        return reads.parts_of(self._asked, table, place, dims[0] if dims else None, rows)

    def fetch(self, space: Space, ids: Sequence[str]) -> Embeddings:
        source = self._source(space, "fetch")
        rows = rows_of(self._rows(source, ids, source.columns), source)
        row_of = {name: row for row, name in enumerate(rows.ids)}
        return rows.take([row_of[name] for name in dict.fromkeys(ids) if name in row_of])

    def among(self, space: Space, ids: Sequence[str]) -> list[str]:
        source = self._source(space, "among")
        found = set(self._asked(lambda: reads.ids_with_vector(source, ids))) if ids else set()
        return [name for name in dict.fromkeys(ids) if name in found]

    def bulk(self, new: Space, old: Space, column: str) -> LanceBulk | None:
        """A pass over the rows of ``old`` without a vector of ``new``; None where that is a table of others, or too large."""
        beside, source = self._source(new, "bulk"), self._source(old, "bulk")
        passed = LanceBulk(self._asked, beside, source, column)
        return None if beside.declaration.adopted or not passed.possible else passed

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        source = self._source(queries.space, "search")
        require_limit(k, what="search")
        if queries.space.metric == "l2":
            require_measurable(queries, engine="LanceDB")
        kinds = self._asked(lambda: kinds_of_source(source)) if filter else {}
        for condition in filter:
            require_comparable(condition, kinds)
        where = " AND ".join(sql(condition, kinds[condition.column]) for condition in filter)
        found = self._nearest(source, queries, k, where)
        return hits_of([ids for ids, _ in found], [values for _, values in found])

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        source = self._source(space, "payload")
        kinds, names = self._asked(lambda: (kinds_of_source(source), source.table.schema.names))
        stored = [name for name in kinds if name in names]
        found = self._rows(source, ids, [source.place.id, *stored])
        row_of = {name: row for row, name in enumerate(reads.ids_in(found, source))}
        require_present(ids, row_of)
        return payload_of(found.take(np.array([row_of[name] for name in ids], np.int64)), kinds)

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        source = self._source(space, "column")
        kinds, stored = self._asked(lambda: (kinds_of(source.table.schema), source.table.schema.names))
        require_column(name, {*kinds, *stored})
        if name not in stored:
            return [None] * len(ids)
        found = self._rows(source, ids, list(dict.fromkeys([source.place.id, name])))
        value_of = dict(zip(reads.ids_in(found, source), found[name].to_pylist(), strict=True))
        return [value_of.get(one) for one in ids]

    def indexes(self, space: Space) -> list[IndexState]:
        source = self._source(space, "indexes")
        return self._asked(lambda: index_states(source.table, source.place.vector))

    def read_state(self) -> dict[str, Any] | None:
        return self.documents.read(STATE)

    def swap_state(self, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        return self.documents.swap(STATE, expected, new)

    def close(self) -> None:
        pass

    def _refresh(self) -> None:
        self._sources = self._database.sources(self.documents)

    def _declare(self, change: Callable[[dict[Space, Declaration]], dict[Space, Declaration]]) -> None:
        self._asked(lambda: change_declarations(self.documents, change))
        self._asked(self._refresh)

    def _source(self, space: Space, what: str) -> Source:
        if space not in self._sources:
            require_held(self.spaces(), space, what=what)
        return self._sources[space]

    def _rows(self, source: Source, ids: Sequence[str], columns: Sequence[str]) -> Any:
        return self._asked(lambda: reads.rows_among(source, ids, columns))

    def _nearest(self, source: Source, queries: Embeddings, k: int, where: str) -> list[Found]:
        if vector_type(source.vectors) == (None,):  # LanceDB does not search lists of any length
            parts = reads.parts_of(self._asked, source.table, source.place, queries.space.dim, SCAN_ROWS, where)
            return nearest_of_parts((usable(part, queries.space) for part in parts), queries, k)
        metrics = self._asked(lambda: index_metrics(source.table, source.place.vector))
        index = None if not metrics else queries.space.metric in metrics
        return self._asked(partial(nearest, source, queries, k, where, index))


def open_lance(url: StoreUrl, *, create: bool, documents: Documents | None) -> LanceStore:
    """The store of a URL; see `embridge.stores.open_store`."""
    return LanceStore(url.location, create=create, table=url.table, documents=documents)
