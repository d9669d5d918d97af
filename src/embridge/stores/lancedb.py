"""LanceDB: embedded and on disk, one table a space."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError, require
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores._columns import require_comparable
from embridge.stores._lance_columns import SPACE_KEY, as_rows, as_table, kinds_of, ready, schema_of, values_of
from embridge.stores._lance_filters import literal, sql
from embridge.stores._lance_search import nearest
from embridge.stores.base import SCAN_ROWS, Filter, Payload
from embridge.stores.capabilities import Capabilities
from embridge.stores.checks import (
    require_column,
    require_held,
    require_ids,
    require_limit,
    require_payload,
    require_present,
)
from embridge.stores.documents import STATE, Documents, FileDocuments
from embridge.stores.places import Declaration, IndexState, Place, RawRows, Table, VectorColumn, checked_parts
from embridge.stores.urls import StoreUrl

__all__ = ["LanceStore", "open_lance"]

_T = TypeVar("_T")

_PREFIX = "space_"
_SHORTEST, _LONGEST = 1e-15, 1e15  # beyond, LanceDB's squared lengths leave float32
_SHOWN = 5
_PAGE_ROWS = 1_000


@final
class LanceStore:
    """A folder of LanceDB tables named ``space_<id>``; each table's schema carries its space.

    The rows of a write are one LanceDB commit, so a crash leaves those of the last whole write. Every call sees what other
    processes have written by then. Needs the extra ``lancedb``.

    Search is exhaustive as long as no vector index is built on a table, with LanceDB itself. Through one it is approximate:
    ``capabilities`` say so, and `ann_recall` measures what that costs. Scores are exact either way, since they are computed
    from the stored vectors of the hits. An index of another metric than the space's is passed by.

    Args:
        path: The folder.
        create: Make the folder where it is not there.

    Raises:
        StoreError: The folder is not there, or holds no such store.
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

    def __init__(self, path: Path | str, *, create: bool = False) -> None:
        lancedb = require("lancedb", extra="lancedb")
        self.path = Path(path)
        if not create and not self.path.is_dir():
            what = "is a file" if self.path.exists() else "does not exist"
            raise StoreError(f"{path} {what}; expected a folder with a LanceDB store")
        try:
            self._database = lancedb.connect(str(path), read_consistency_interval=timedelta(0))
            names = self._names()
            opened = map(self._open, (name for name in names if name.startswith(_PREFIX)))
            self._tables = {space: table for space, table in opened if space is not None}
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(f"{path} cannot be opened as a LanceDB store: {error}") from error
        if not create and not self._tables:
            raise StoreError(f"{path} holds no table made by embridge (named {_PREFIX}<id>); {self._instead(names)}")

    @property
    def capabilities(self) -> Capabilities:
        indexed = any(space.metric in self._index_metrics(table) for space, table in self._tables.items())
        return Capabilities(exact=not indexed, filter=True, persistent=True)

    def spaces(self) -> list[Space]:
        return list(self._tables)

    def add_space(self, space: Space) -> None:
        if space in self._tables:
            return
        name, schema = _PREFIX + space.id, schema_of(space)
        self._tables[space] = _ended(lambda: self._database.create_table(name, schema=schema, exist_ok=True))

    def drop_space(self, space: Space) -> None:
        self._table(space, "drop_space")
        self._read(lambda: _ended(lambda: self._database.drop_table(_PREFIX + space.id)))
        del self._tables[space]

    def tables(self) -> list[Table]:
        return [self._described(name) for name in self._read(self._names)]

    def declaration(self, space: Space) -> Declaration:
        require_held(self.spaces(), space, what="declaration")
        return Declaration(space, Place(_PREFIX + space.id, "vector", "id"), adopted=False)

    def count(self, space: Space) -> int:
        return int(self._table(space, "count").count_rows())

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        table = self._table(rows.space, "upsert")
        columns = require_payload(payload, len(rows))
        if len(rows) == 0:
            return
        require_ids(rows.ids)
        _require_measurable(rows)
        try:
            _ended(lambda: _write(table, rows, columns))
        except InvalidInput:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(
                f"{self.path}: {len(rows)} rows were not written, the earlier ones stand: {error}"
            ) from error

    def ids(self, space: Space, *, after: str | None = None, limit: int) -> list[str]:
        table = self._table(space, "ids")
        require_limit(limit, what="ids")
        ordering = require("lancedb.query", extra="lancedb").ColumnOrdering(column_name="id")
        query = table.search().order_by([ordering]).select(["id"]).limit(limit)
        found = self._fetch(query if after is None else query.where(f"id > {literal(after)}"))
        return found["id"].to_pylist()

    def missing(self, space: Space, of: Space, *, after: str | None = None, limit: int) -> list[str]:
        table = self._table(space, "missing")
        require_limit(limit, what="missing")
        missing: list[str] = []
        while len(missing) < limit and (names := self.ids(of, after=after, limit=_PAGE_ROWS)):
            held = set(self._found(table, names, ["id"])["id"].to_pylist())
            missing += [name for name in names if name not in held]
            after = names[-1]
        return missing[:limit]

    def delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _PAGE_ROWS):
            where = _among(ids[start : start + _PAGE_ROWS])
            for table in self._tables.values():
                self._read(partial(_ended, partial(table.delete, where)))

    def scan(self, space: Space, *, rows: int = SCAN_ROWS) -> Iterator[Embeddings]:
        self._table(space, "scan")
        return checked_parts(self.raw(self.declaration(space).place, rows=rows), space, what=str(self.path))

    def raw(self, place: Place, *, rows: int = SCAN_ROWS) -> Iterator[RawRows]:
        require_limit(rows, what="scan")
        held = [table for space, table in self._tables.items() if self.declaration(space).place == place]
        if not held:
            raise StoreError(f"{self.path} holds no vectors {place.vector!r} in a table {place.table!r}")
        return self._parts(held[0], rows)

    def fetch(self, space: Space, ids: Sequence[str]) -> Embeddings:
        found = self._found(self._table(space, "fetch"), ids, ["id", "vector"])
        rows, row_of = as_rows(found, space), {name: row for row, name in enumerate(found["id"].to_pylist())}
        return rows.take([row_of[name] for name in dict.fromkeys(ids) if name in row_of])

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        table = self._table(queries.space, "search")
        require_limit(k, what="search")
        if queries.space.metric == "l2":
            _require_measurable(queries)
        kinds = kinds_of(table.schema)
        for condition in filter:
            require_comparable(condition, kinds)
        where = " AND ".join(sql(condition, kinds[condition.column]) for condition in filter)
        metrics = self._index_metrics(table)
        index = None if not metrics else queries.space.metric in metrics
        found = [
            self._read(partial(nearest, table, queries.take([row]), k, where, index)) for row in range(len(queries))
        ]
        width = max((len(ids) for ids, _ in found), default=0)
        scores = np.full((len(queries), width), -np.inf, np.float32)
        for row, (_, values) in enumerate(found):
            scores[row, : len(values)] = values
        return Hits(tuple(ids for ids, _ in found), scores)

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        table = self._table(space, "payload")
        schema = table.schema
        if not ids:
            return {column: [] for column in kinds_of(schema)}
        stored = [name for name in kinds_of(schema) if name in schema.names]
        found = self._found(table, ids, ["id", *stored])
        row_of = {name: row for row, name in enumerate(found["id"].to_pylist())}
        require_present(ids, row_of)
        return values_of(found.take([row_of[name] for name in ids]), schema)

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        table = self._table(space, "column")
        require_column(name, kinds_of(table.schema))
        if name not in table.schema.names:
            return [None] * len(ids)
        found = self._found(table, ids, ["id", name])
        value_of = dict(zip(found["id"].to_pylist(), found[name].to_pylist(), strict=True))
        return [value_of.get(one) for one in ids]

    def indexes(self, space: Space) -> list[IndexState]:
        table = self._table(space, "indexes")
        states = []
        for index in self._read(table.list_indices):
            if "vector" in index.columns and (held := self._read(partial(table.index_stats, index.name))) is not None:
                metric, inside, outside = str(held.distance_type), held.num_indexed_rows, held.num_unindexed_rows
                states.append(IndexState(index.name, str(held.index_type), metric, inside, outside))  # type: ignore[arg-type]
        return states

    def read_state(self) -> dict[str, Any] | None:
        return self.documents.read(STATE)

    def swap_state(self, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        return self.documents.swap(STATE, expected, new)

    def close(self) -> None:
        pass

    def _parts(self, table: Any, rows: int) -> Iterator[RawRows]:
        batches = self._read(lambda: table.search().select(["id", "vector"]).to_batches(rows))
        while (batch := self._read(lambda: next(batches, None))) is not None:
            vectors = batch["vector"].flatten().to_numpy().reshape(len(batch), -1)
            yield RawRows(tuple(batch["id"].to_pylist()), vectors)

    def _found(self, table: Any, ids: Sequence[str], columns: list[str]) -> Any:
        """Those columns of the rows of those ids, in any order."""
        return self._fetch(table.search().where(_among(ids)).select(columns).limit(len(ids)))

    def _names(self) -> list[str]:
        """All tables of the folder, made by this library or not."""
        names, token = [], None
        while True:
            page = self._database.list_tables(page_token=token)
            names += page.tables
            token = page.page_token
            if not token:
                return names

    def _described(self, name: str) -> Table:
        table = self._read(partial(self._database.open_table, name))
        columns, vectors = {}, {}
        for column in table.schema:
            if (dim := getattr(column.type, "list_size", None)) is not None:
                vectors[column.name] = VectorColumn(dim)
            else:
                columns[column.name] = str(column.type)
        return Table(name, int(self._read(table.count_rows)), vectors, columns)

    def adopt(self, declaration: Declaration) -> None:
        raise StoreError(f"{self.path}: tables of others cannot be adopted yet")

    def forget(self, space: Space) -> None:
        require_held(self.spaces(), space, what="forget")
        raise StoreError(f"{space} was not adopted; drop_space deletes its vectors")

    @property
    def documents(self) -> Documents:
        return FileDocuments(self.path / "embridge.json")

    def _open(self, name: str) -> tuple[Space | None, Any]:
        table = self._database.open_table(name)
        written = (table.schema.metadata or {}).get(SPACE_KEY)
        return (None if written is None else Space.from_dict(json.loads(written))), table

    def _table(self, space: Space, what: str) -> Any:
        require_held(self.spaces(), space, what=what)
        return self._tables[space]

    def _instead(self, names: Sequence[str]) -> str:
        """What there is where no table is ours, and what to do."""
        if not names:
            return "is it another folder?"
        opened = {name: self._read(partial(self._database.open_table, name)) for name in names[:_SHOWN]}
        columns = {name: ", ".join(table.schema.names) for name, table in opened.items()}
        tables = "; ".join(f"{name} (columns {held})" for name, held in columns.items())
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return (
            f"there are tables of others: {tables}{more}. Read their ids and vectors and upsert them into a store of its own, "
            "or write them to Parquet with columns id and vector; see 'A table that was there before' in docs/how-to/stores.md"
        )

    def _index_metrics(self, table: Any) -> set[str]:
        """What the indices on a table's vectors compare by."""

        def metrics() -> set[str]:
            names = [index.name for index in table.list_indices() if "vector" in index.columns]
            return {str(held.distance_type) for name in names if (held := table.index_stats(name)) is not None}

        return self._read(metrics)

    def _fetch(self, query: Any) -> Any:
        return self._read(query.to_arrow)

    def _read(self, read: Callable[[], _T]) -> _T:
        try:
            return read()
        except InvalidInput:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(f"{self.path} cannot be read: {error}; restore it from a copy") from error


def open_lance(url: StoreUrl, *, create: bool, documents: Documents | None) -> LanceStore:  # noqa: ARG001
    """The store in a folder; see `embridge.stores.open_store`."""
    return LanceStore(url.location, create=create)


def _among(ids: Sequence[str]) -> str:
    return f"id IN ({', '.join(map(literal, dict.fromkeys(ids)))})" if ids else "false"


def _ended(write: Callable[[], _T]) -> _T:
    """The write's result; an interrupt waits for its end, since LanceDB would write on in a thread of its own."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        return write()  # interrupts do not reach it, or end the process at once
    noted: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: noted.append((number, frame)))
    try:
        return write()
    finally:
        signal.signal(signal.SIGINT, handler)
        if noted:
            handler(*noted[0])


def _write(table: Any, rows: Embeddings, columns: dict[str, list[Any]]) -> None:
    columns = ready(table, columns)
    data = as_table(rows, columns, table.schema)
    table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(data)


def _require_measurable(rows: Embeddings) -> None:
    """Refuse vectors whose squared length LanceDB cannot compute; zeros are none of them."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows.vectors, rows.vectors, dtype=np.float64))
    bad = lengths > _LONGEST
    if rows.space.metric == "cosine":
        bad |= (lengths > 0) & (lengths < _SHORTEST)
    if bad.any():
        row = int(bad.argmax())
        raise InvalidInput(
            f"{int(bad.sum())} vectors are too long or too short for LanceDB's float32, first {rows.ids[row]!r} of length "
            f"{lengths[row]:g}; scale them, to length one where cosine compares them"
        )
