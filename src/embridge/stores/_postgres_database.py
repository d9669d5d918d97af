"""A database as a store uses it: its connections, its extension, and its tables as they are now."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, final

from embridge.errors import StoreError
from embridge.space import Metric
from embridge.stores._postgres_catalog import BESIDE, Engine, Relation, VectorIndex
from embridge.stores._postgres_describing import engine_of, relation_of
from embridge.stores._postgres_documents import TABLE
from embridge.stores._postgres_sessions import Sessions
from embridge.stores.places import IndexState, Table, VectorColumn
from embridge.stores.urls import StoreUrl

__all__ = ["FRESH_SECONDS", "Database", "index_state"]

FRESH_SECONDS = 1.0
"""How long what a database said of its tables is taken to hold."""
_SHOWN = 8
_WITH_VECTORS = """
SELECT DISTINCT n.nspname, coalesce(substring(obj_description(c.oid, 'pg_class') FROM %s), c.relname),
    pg_table_is_visible(c.oid)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.atttypid::int8 = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT c.relispartition AND (%s::text IS NULL OR n.nspname = %s)
ORDER BY 1, 2
"""


@final
class Database:
    """What a URL leads to.

    Args:
        url: The URL.

    Raises:
        StoreError: The server cannot be reached, or the database has no extension ``vector``.
    """

    def __init__(self, url: StoreUrl) -> None:
        self.url, self.schema = url, url.options.get("schema") or None
        self.sessions = Sessions(url)
        self._seen: dict[str, tuple[float, Relation]] = {}
        engine = self.sessions.run(engine_of, what="look for the extension vector")
        if engine is None:
            raise StoreError(
                f"{url}: the database has no extension vector; install pgvector on the server and run "
                "CREATE EXTENSION vector; in this database"
            )
        self.engine: Engine = engine

    def relation(self, name: str, *, fresh: bool = False) -> Relation:
        """A table or a view as it is now, or was a second ago; raises `StoreError` where there is none."""
        when, relation = self._seen.get(name, (0.0, None))
        if relation is not None and not fresh and time.monotonic() - when < FRESH_SECONDS:
            return relation
        found = self.find(name)
        if found is None:
            raise StoreError(f"{self.url}: there is no table {name!r}; {self.instead()}")
        self._seen[name] = (time.monotonic(), found)
        return found

    def settled(self, name: str) -> tuple[str, str]:
        """The schema and the name of a table; tables are looked for in that schema from now on."""
        relation = self.relation(name)
        self.schema = relation.schema
        return relation.schema, relation.name

    def refreshed(self, relation: Relation) -> Relation:
        """A table again, after it was changed."""
        self._seen.clear()
        found = self.sessions.run(
            lambda connection: relation_of(connection, relation.name, relation.schema, self.engine), what="look again"
        )
        return found or relation

    def find(self, name: str) -> Relation | None:
        """The same, or None."""
        return self.sessions.run(
            lambda connection: relation_of(connection, name, self.schema, self.engine), what="look for the table"
        )

    def names(self) -> list[str]:
        """Tables and views with vectors, with their schema where the search path does not lead there."""
        oids = [oid for oid, _ in self.engine.oids.values()]
        rows = self.sessions.run(
            lambda connection: connection.execute(
                _WITH_VECTORS, (f"^{BESIDE}(.*)$", oids, self.schema, self.schema)
            ).fetchall(),
            what="list the tables",
        )
        return [
            name if visible or self.schema else f"{schema}.{name}" for schema, name, visible in rows if name != TABLE
        ]

    def default_schema(self) -> str:
        """Where a new table goes."""
        if self.schema is not None:
            return self.schema
        found = self.sessions.run(
            lambda connection: connection.execute("SELECT current_schema()").fetchone(), what="open"
        )
        if found[0] is None:
            raise StoreError(f"{self.url}: the user's search path names no schema; say which, as in &schema=public")
        return str(found[0])

    def described(self, name: str) -> Table:
        """What the database says of a table."""
        relation = self.relation(name, fresh=True)
        count = f"SELECT count(*) FROM {relation.sql}"
        rows = self.sessions.run(lambda connection: connection.execute(count, ()).fetchone()[0], what="count the rows")
        vectors = {
            name: VectorColumn(one.dim, _metric_of(relation.indexes, name)) for name, one in relation.vectors.items()
        }
        columns = {name: one.kind or one.word for name, one in relation.columns.items() if not one.is_vector}
        return Table(name, int(rows), vectors, columns, relation.id)

    def instead(self) -> str:
        """What there is where a table is not."""
        names = self.names()
        if not names:
            return (
                "no table of the database has vectors, as far as this user can see; is it another database or schema?"
            )
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"tables with vectors are: {', '.join(names[:_SHOWN])}{more}"


def index_state(index: VectorIndex, metric: Metric) -> IndexState:
    """An index as `Store.indexes` gives it, for a space of that metric."""
    kind = f"{index.kind} ({index.cast})" if index.cast else index.kind
    other = "" if index.metric == metric else f"compares by {index.metric or 'another metric'}: search does not use it"
    return IndexState(index.name, kind, index.metric, index.rows, None, index.remark or other)


def _metric_of(indexes: Iterable[VectorIndex], column: str) -> Any:
    """What the indexes of a column agree on."""
    metrics = {index.metric for index in indexes if index.column == column}
    return next(iter(metrics)) if len(metrics) == 1 else None
