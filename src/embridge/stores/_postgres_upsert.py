"""An upsert from its checks to its end: payload columns made where the table is ours, rows copied or merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.stores._columns import fitted
from embridge.stores._measurable import require_measurable
from embridge.stores._postgres_adopting import id_column
from embridge.stores._postgres_beside import fill_beside, merge_beside
from embridge.stores._postgres_catalog import Held, Relation, quoted
from embridge.stores._postgres_database import Database
from embridge.stores._postgres_ids import found_ids, id_array, id_type, require_writable_ids
from embridge.stores._postgres_tables import add_payload, payload_kinds
from embridge.stores._postgres_writing import Write, copied, merged, require_fitting, require_storable, require_written

__all__ = ["delete_rows", "fill_rows", "write_rows"]

_Columns = dict[str, list[Any]]


def write_rows(database: Database, held: Held, rows: Embeddings, columns: _Columns, *, new: bool | None) -> bool:
    """Write rows, whole or not at all.

    new: whether the rows before were new ones, so that these may be; None for the first. Returns the same for the next.
    """
    _require_vectors(database, held, rows)
    relation, columns = _payload_ready(database, held, columns)
    write, sessions = Write(relation, held.vector, held.id, rows, columns), database.sessions
    if (relation.own if new is None else new) and write.is_copyable and _copied(database, write):
        return True

    def merge(connection: Any) -> int:
        with connection.transaction():
            there = merged(connection, sessions, database.engine, write)
            if held.side is not None:  # after the other columns, whose change takes vectors away
                merge_beside(connection, sessions, database.engine, held, rows)
            return there

    there = sessions.run(merge, what=f"write {len(rows)} rows")
    return there == 0 and held.side is None


def fill_rows(database: Database, held: Held, rows: Embeddings) -> list[str]:
    """Write vectors of rows that are there, whole or not at all; which of them are to be looked at again."""
    _require_vectors(database, held, rows)
    if len(rows) == 0:
        return []
    write, sessions = Write(held.relation, held.vector, held.id, rows, {}), database.sessions
    if held.side is not None:
        return fill_beside(sessions, database.engine, held, rows)
    sessions.run(
        lambda connection: merged(connection, sessions, database.engine, write, add=False),
        what=f"write {len(rows)} vectors",
    )
    return list(rows.ids)


def delete_rows(database: Database, relation: Relation, id_name: str, ids: Sequence[str]) -> None:
    """Delete rows, with all that stands beside them."""
    if not relation.is_table:
        raise StoreError(f"{database.url} is a view; rows are deleted from the table that it shows")
    id = id_column(relation, id_name)
    statement = f"DELETE FROM {relation.sql} WHERE {quoted(id.name)} = ANY(%s::{id_type(id)}[])"
    values = (id_array(id, found_ids(id, ids), database.sessions.wire),)
    database.sessions.run(lambda connection: connection.execute(statement, values), what=f"delete {len(ids)} rows")


def _require_vectors(database: Database, held: Held, rows: Embeddings) -> None:
    if not held.relation.is_table:
        raise StoreError(f"{database.url} is a view; rows are written to the table that it shows")
    require_writable_ids(held.id, rows.ids)
    require_measurable(rows, engine="pgvector")
    require_fitting(held.vector, rows)


def _payload_ready(database: Database, held: Held, columns: _Columns) -> tuple[Relation, _Columns]:
    """The columns as the table takes them; a table of this library gets those that it lacks."""
    require_storable(columns)
    relation, id = held.relation, held.id.name
    if not columns:
        return relation, {}
    known = payload_kinds(relation, id)
    columns = fitted(known, columns, some=True) if known or not relation.own else columns
    if relation.own and add_payload(database.sessions, database.engine, relation, columns):
        relation = database.refreshed(relation)
        columns = fitted(payload_kinds(relation, id), columns, some=True)
    require_written(relation, columns)
    return relation, {name: values for name, values in columns.items() if relation.columns[name].kind is not None}


def _copied(database: Database, write: Write) -> bool:
    """Whether the rows could be added as new ones."""
    errors = database.sessions.psycopg.errors

    def copy(connection: Any) -> bool:
        try:
            copied(connection, write)
        except (errors.UniqueViolation, errors.FeatureNotSupported):  # there are such rows; or rules on rows
            return False
        return True

    return database.sessions.run(copy, what=f"write {len(write.rows)} rows")
