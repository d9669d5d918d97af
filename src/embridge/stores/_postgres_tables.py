"""What Embridge changes of a table itself: makes it, adds columns to it, drops them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embridge.errors import InvalidInput, StoreError
from embridge.space import Space
from embridge.stores._columns import Kind, kind_of
from embridge.stores._postgres_beside import beside_statements, drop_beside, make_beside, side_of, vector_name
from embridge.stores._postgres_catalog import OWN, UNSETTLED, Column, Engine, Relation, quoted
from embridge.stores._postgres_changes import end_changes, may_note_changes, notes_changes_of
from embridge.stores._postgres_database import Database
from embridge.stores._postgres_describing import relation_of
from embridge.stores._postgres_sessions import Sessions

__all__ = [
    "add_payload",
    "add_vectors",
    "adding",
    "drop_vectors",
    "dropping",
    "make_table",
    "payload_columns",
    "payload_kinds",
    "side_for",
]

_TYPES: dict[Kind | None, str] = {
    "text": 'text COLLATE "C"',
    "whole numbers": "bigint",
    "numbers": "double precision",
    "true or false": "boolean",
    None: "text",
}
_LONGEST_NAME = 63
_SYSTEM = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid")


def payload_columns(relation: Relation, id: str) -> dict[str, Column]:
    """The columns that a payload gives."""
    return {name: column for name, column in relation.columns.items() if column.is_payload and name != id}


def payload_kinds(relation: Relation, id: str) -> dict[str, Kind | None]:
    """What they hold."""
    return {name: column.kind for name, column in payload_columns(relation, id).items()}


def make_table(sessions: Sessions, schema: str, name: str) -> None:
    """A table of ids alone, if there is none."""
    _require_name(name, "a table's name")
    table = quoted(schema, name)

    def make(connection: Any) -> None:
        try:
            with connection.transaction():
                connection.execute(f'CREATE TABLE {table} (id text COLLATE "C" PRIMARY KEY)', ())
                connection.execute(f"COMMENT ON TABLE {table} IS '{OWN}'", ())
        except sessions.taken:
            pass  # someone else was first, by a moment

    sessions.run(make, what=f"make the table {name!r}")


def side_for(database: Database, relation: Relation, space: Space) -> Relation | None:
    """The table beside that holds a space's vectors, or will; None for a column of the table itself.

    Tables of others have one, where triggers may keep it in step; those of a table do not fire for rows of its heirs.
    """
    name = vector_name(space)
    if name in relation.columns or relation.own or relation.has_heirs:
        return relation.beside.get(name)
    return side_of(relation, space) if may_note_changes(database, relation) else None


def add_vectors(database: Database, relation: Relation, id: Column, space: Space) -> None:
    """Room for the vectors of a space, if there is none; no row is rewritten."""
    sessions, engine = database.sessions, database.engine
    if not relation.is_table:
        raise StoreError(f"{sessions.url} is a view; a space is added to the table that it shows")
    if vector_name(space) in relation.columns:
        return
    if side_for(database, relation, space) is not None:
        make_beside(sessions, engine, relation, id, space)
        return
    (statement,) = adding(database, relation, id, space)
    sessions.alter(lambda connection: connection.execute(statement, ()), f"add a column for {space}")


def adding(database: Database, relation: Relation, id: Column, space: Space) -> tuple[str, ...]:
    """The statements by which `add_vectors` makes room."""
    if side_for(database, relation, space) is not None:
        return beside_statements(database.engine, relation, id, space)
    column = f"{quoted(vector_name(space))} {database.engine.type('vector')}({space.dim})"
    return (f"ALTER TABLE {relation.sql} ADD COLUMN IF NOT EXISTS {column}",)


def dropping(relation: Relation, column: str) -> str:
    """The statement by which `drop_vectors` drops one."""
    return f"ALTER TABLE {relation.sql} DROP COLUMN IF EXISTS {quoted(column)}"


def drop_vectors(sessions: Sessions, relation: Relation, column: str) -> None:
    """A column of vectors goes, with its indexes and what notes its changes, if it is there."""
    statement, side = dropping(relation, column), relation.beside.get(column)

    def drop(connection: Any) -> None:
        if notes_changes_of(connection, relation, column):
            end_changes(connection, relation)
        if side is not None:
            drop_beside(connection, side)
        else:
            connection.execute(statement, ())

    sessions.alter(drop, f"drop the column {column!r}")


def add_payload(sessions: Sessions, engine: Engine, relation: Relation, payload: Mapping[str, Sequence[Any]]) -> bool:
    """Columns that a table of this library lacks, and those whose kind is known only now; whether anything was to do."""
    if not _payload_changes(relation, payload):
        return False

    def change(connection: Any) -> None:
        connection.execute(f"LOCK TABLE {relation.sql} IN ACCESS EXCLUSIVE MODE", ())
        now = relation_of(connection, relation.name, relation.schema, engine)  # someone else may have been first
        for statement in _payload_changes(now or relation, payload):
            connection.execute(statement, ())

    sessions.alter(change, "add payload columns")
    return True


def _payload_changes(relation: Relation, payload: Mapping[str, Sequence[Any]]) -> list[str]:
    statements = []
    for name, values in payload.items():
        kind, column = kind_of(values), relation.columns.get(name)
        table, added = f"ALTER TABLE {relation.sql}", f"ADD COLUMN {quoted(name)} {_TYPES[kind]}"
        if column is None:
            _require_name(name, "a payload column")
            statements.append(f"{table} {added}")
            if kind is None:
                statements.append(f"COMMENT ON COLUMN {relation.sql}.{quoted(name)} IS '{UNSETTLED}'")
        elif column.comment == UNSETTLED and kind is not None:  # no row has a value, so none is rewritten
            statements.append(f"{table} DROP COLUMN {quoted(name)}, {added}")
    return statements


def _require_name(name: str, what: str) -> None:
    if len(name.encode()) > _LONGEST_NAME or name in _SYSTEM or not name:
        raise InvalidInput(
            f"{what} has 1 to {_LONGEST_NAME} bytes in PostgreSQL and is none of {_SYSTEM}; came {name!r:.80}"
        )
