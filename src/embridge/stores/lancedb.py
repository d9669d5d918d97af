"""LanceDB: embedded and on disk, one table a space."""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError, require
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores.base import Capabilities, Condition, Filter, Payload, require_held, require_payload

__all__ = ["LanceStore"]

_T = TypeVar("_T")

_PREFIX = "space_"
_SPACE_KEY = b"embridge.space"


@final
class LanceStore:
    """A folder of LanceDB tables named ``space_<id>``; each table's schema carries its space.

    The rows of a write are one LanceDB commit, so a crash leaves those of the last whole write. Every call sees what other
    processes have written by then. Under cosine LanceDB has no distance to a vector of zeros: such a row is never found,
    and such a query finds nothing (`MemoryStore` gives them the score 0). Needs the extra ``lancedb``.

    Search is exhaustive as long as no vector index is built on a table, with LanceDB itself. Through one it is approximate,
    and so are its scores: ``capabilities`` say so, and `ann_recall` measures what that costs.

    Args:
        path: The folder.
        create: Make the folder where it is not there.

    Raises:
        StoreError: The folder is not there, or holds no such store.
        MissingExtra: LanceDB is not installed.

    Examples:
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
            self._tables = {space: table for space, table in map(self._open, self._names()) if space is not None}
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(f"{path} cannot be opened as a LanceDB store: {error}") from error
        if not create and not self._tables:
            raise StoreError(f"{path} holds no table made by embridge (named {_PREFIX}<id>); is it another folder?")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(exact=not any(map(self._indexed, self._tables.values())), filter=True, persistent=True)

    def spaces(self) -> list[Space]:
        return list(self._tables)

    def add_space(self, space: Space) -> None:
        if space in self._tables:
            return
        name, schema = _PREFIX + space.id, _schema(space, {})
        self._tables[space] = _ended(lambda: self._database.create_table(name, schema=schema, exist_ok=True))

    def count(self, space: Space) -> int:
        return int(self._table(space, "count").count_rows())

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        table = self._table(rows.space, "upsert")
        columns = require_payload(payload, len(rows))
        if len(rows) == 0:
            return
        data = _to_arrow(rows, columns)
        try:
            _ended(lambda: _write(table, data))
        except InvalidInput:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(
                f"{self.path}: {len(rows)} rows were not written, the earlier ones stand: {error}"
            ) from error

    def scan(self, space: Space, *, after: str | None = None, limit: int) -> Embeddings | None:
        table = self._table(space, "scan")
        if limit < 1:
            raise InvalidInput(f"scan: limit is at least 1, came {limit}")
        ordering = require("lancedb.query", extra="lancedb").ColumnOrdering(column_name="id")
        query = table.search().order_by([ordering]).select(["id", "vector"]).limit(limit)
        found = self._fetch(query if after is None else query.where(f"id > {_literal(after)}"))
        return _to_embeddings(found, space) if len(found) else None

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        table = self._table(queries.space, "search")
        if k < 1:
            raise InvalidInput(f"search: k is at least 1, came {k}")
        where = " AND ".join(_sql(condition, table.schema) for condition in filter)
        found = [self._search_one(table, vector, k, where, queries.space) for vector in queries.vectors]
        width = max((len(ids) for ids, _ in found), default=0)
        scores = np.full((len(queries), width), -np.inf, np.float32)
        for row, (_, values) in enumerate(found):
            scores[row, : len(values)] = values
        return Hits(tuple(tuple(ids) for ids, _ in found), scores)

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        table = self._table(space, "payload")
        columns = _payload_names(table.schema)
        found = self._rows_of(table, ids, ["id", *columns]) if ids else None
        if found is None:
            return {column: [] for column in columns}
        return {column: found[column].to_pylist() for column in columns}

    def _names(self) -> list[str]:
        names, token = [], None
        while True:
            page = self._database.list_tables(page_token=token)
            names += [n for n in page.tables if n.startswith(_PREFIX)]
            token = page.page_token
            if not token:
                return names

    def _open(self, name: str) -> tuple[Space | None, Any]:
        table = self._database.open_table(name)
        written = (table.schema.metadata or {}).get(_SPACE_KEY)
        return (None if written is None else Space.from_dict(json.loads(written))), table

    def _table(self, space: Space, what: str) -> Any:
        require_held(self.spaces(), space, what=what)
        return self._tables[space]

    def _indexed(self, table: Any) -> bool:
        try:
            return any("vector" in index.columns for index in table.list_indices())
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(f"{self.path} cannot be read: {error}; restore it from a copy") from error

    def _fetch(self, query: Any) -> Any:
        try:
            return query.to_arrow()
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(f"{self.path} cannot be read: {error}; restore it from a copy") from error

    def _search_one(
        self, table: Any, vector: np.ndarray, k: int, where: str, space: Space
    ) -> tuple[list[str], np.ndarray]:
        query = table.search(vector).distance_type(space.metric).limit(k).select(["id", "_distance"])
        found = self._fetch(query.where(where, prefilter=True) if where else query)
        distance = found["_distance"].to_numpy().astype(np.float32)
        return found["id"].to_pylist(), -distance if space.metric == "l2" else 1 - distance

    def _rows_of(self, table: Any, ids: Sequence[str], columns: list[str]) -> Any:
        """Those columns of those ids, in that order."""
        where = f"id IN ({', '.join(map(_literal, dict.fromkeys(ids)))})"
        found = self._fetch(table.search().where(where).select(columns).limit(len(ids)))
        row_of = {name: row for row, name in enumerate(found["id"].to_pylist())}
        missing = [i for i in ids if i not in row_of]
        if missing:
            raise InvalidInput(f"{len(missing)} ids are not in the store, first {missing[0]!r}")
        return found.take([row_of[i] for i in ids])


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


def _write(table: Any, data: Any) -> None:
    names = _payload_names(data.schema)
    if names and not _payload_names(table.schema) and table.count_rows() == 0:
        table.add_columns([data.schema.field(name) for name in names])  # the first rows settle them
    _require_fitting(data.schema, table.schema)
    data = data.select(table.schema.names).cast(table.schema)
    table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(data)


def _schema(space: Space, columns: dict[str, Any]) -> Any:
    pa = require("pyarrow", extra="lancedb")
    fields = [("id", pa.string()), ("vector", pa.list_(pa.float32(), space.dim)), *columns.items()]
    return pa.schema(fields, metadata={_SPACE_KEY: json.dumps(space.to_dict())})


def _payload_names(schema: Any) -> list[str]:
    return [name for name in schema.names if name not in ("id", "vector")]


def _require_fitting(batch: Any, schema: Any) -> None:
    """The same payload columns of the same types; whole numbers may join floats, and blanks anything."""
    types = require("pyarrow", extra="lancedb").types
    names = _payload_names(schema)
    if set(names) != set(_payload_names(batch)):
        raise InvalidInput(
            f"payload: rows of this space carry {sorted(names)}, came {sorted(_payload_names(batch))}; write the same ones"
        )
    for name in names:
        new, old = batch.field(name).type, schema.field(name).type
        if not (new == old or types.is_null(new) or (types.is_integer(new) and types.is_floating(old))):
            raise InvalidInput(f"payload column {name!r} holds {old}, came {new}; convert the values")


def _to_arrow(rows: Embeddings, columns: dict[str, list[Any]]) -> Any:
    pa = require("pyarrow", extra="lancedb")
    try:
        arrays = {name: pa.array(values) for name, values in columns.items()}
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InvalidInput(f"payload: a column holds one type, and one that a table can hold: {error}") from error
    flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, rows.space.dim)
    schema = _schema(rows.space, {name: array.type for name, array in arrays.items()})
    return pa.table([pa.array(rows.ids, pa.string()), vectors, *arrays.values()], schema=schema)


def _to_embeddings(found: Any, space: Space) -> Embeddings:
    flat = found["vector"].combine_chunks().flatten().to_numpy()
    return Embeddings(tuple(found["id"].to_pylist()), flat.reshape(len(found), space.dim), space)


def _sql(condition: Condition, schema: Any) -> str:
    known = sorted(_payload_names(schema))
    if condition.column not in known:
        raise InvalidInput(f"filter: no payload column {condition.column!r}; there are {known}")
    kind = str(schema.field(condition.column).type)
    values = condition.value if condition.operator == "in" else (condition.value,)
    if any(_kind(value) != {"string": "text", "bool": "flag"}.get(kind, "number") for value in values):
        raise InvalidInput(f"filter: {condition} does not fit a column of type {kind}")
    column = f"`{condition.column}`"  # quoted: a column may be named null or true
    if kind.startswith("int") and any(isinstance(value, (float, np.floating)) for value in values):
        column = f"CAST({column} AS DOUBLE)"
    if condition.operator == "in":
        return f"{column} IN ({', '.join(map(_literal, values))})"
    sign = "=" if condition.operator == "==" else condition.operator
    return f"{column} {sign} {_literal(condition.value)}"


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "flag" if isinstance(value, (bool, np.bool_)) else "number"


def _literal(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return repr(int(value))
    if isinstance(value, (float, np.floating)) and math.isfinite(value):
        return repr(float(value))
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise InvalidInput(f"filter: values are text, finite numbers or true and false; came {value!r}")
