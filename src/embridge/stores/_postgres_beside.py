"""Vectors of a new space beside a table of others: a table of ids and vectors, which triggers on the other keep in step.

A column in the table itself would cost more the more is made of the table: each vector that is written there writes its whole
row again, and puts it into every index once more, that of the old vectors too.

A row beside without a vector is a row that lost it. Whoever changes an item leaves such a row in the same transaction, so that
a backfill that writes the item's vector meanwhile waits for the change to be seen.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.space import Space
from embridge.stores._postgres_binary import ARRAY_ITEMS, array, copy_end, copy_rows, copy_start, vector_fields
from embridge.stores._postgres_catalog import BESIDE, Column, Engine, Held, Relation, quoted, unescaped
from embridge.stores._postgres_ids import id_array, id_fields, id_type
from embridge.stores._postgres_sessions import Sessions

__all__ = [
    "beside_statements",
    "drop_beside",
    "emptied",
    "fill_beside",
    "make_beside",
    "merge_beside",
    "side_of",
    "vector_name",
]

_GRANTS = """
SELECT coalesce(quote_ident(r.rolname), 'PUBLIC'), string_agg(a.privilege_type, ', ')
FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE c.oid = %s AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') GROUP BY 1
"""
_COPIED_ROWS, _MERGED_ROWS, _MERGED_BYTES = 512, 4_096, 1 << 24
_TRIES, _WAIT_MS = 20, 300  # less than the second after which PostgreSQL looks for deadlocks


def vector_name(space: Space) -> str:
    """The column that this library makes for a space."""
    return f"embridge_{space.id}"


def side_of(relation: Relation, space: Space) -> Relation:
    """The table beside, by its name alone, whether it is there or not."""
    key = sha256(relation.name.encode()).hexdigest()[:8]
    return Relation(0, relation.schema, f"embridge_{space.id}_{key}", "r", own=False)


def beside_statements(engine: Engine, relation: Relation, id: Column, space: Space) -> tuple[str, ...]:
    """What makes the table beside, and the triggers that keep it in step."""
    table, side, name = relation.sql, side_of(relation, space), quoted(id.name)
    vector, function = quoted(vector_name(space)), _function(side)
    comment = (BESIDE + relation.name).replace("'", "''").replace("%", "%%")
    calls = f"FOR EACH ROW EXECUTE FUNCTION {function}()"
    return (
        f"CREATE TABLE {side.sql} AS SELECT t.{name} FROM {table} AS t WITH NO DATA",
        f"ALTER TABLE {side.sql} ADD COLUMN {vector} {engine.type('vector')}({space.dim}), ADD PRIMARY KEY ({name})",
        f"COMMENT ON TABLE {side.sql} IS '{comment}'",
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"AS $embridge${_body(side, name, vector)}$embridge$",
        f"CREATE TRIGGER {_trigger(space, 'insert')} AFTER INSERT ON {table} {calls}",
        f"CREATE TRIGGER {_trigger(space, 'delete')} AFTER DELETE ON {table} {calls}",
        f"CREATE TRIGGER {_trigger(space, 'update')} AFTER UPDATE ON {table} FOR EACH ROW "
        f"WHEN (OLD.{name} IS DISTINCT FROM NEW.{name}) EXECUTE FUNCTION {function}()",
        f"CREATE TRIGGER {_trigger(space, 'truncate')} AFTER TRUNCATE ON {table} EXECUTE FUNCTION {function}()",
    )


def emptied(side: Relation, id: str, vector: str) -> str:
    """The statement of a trigger by which a row loses its vector, or is noted to have none."""
    return (
        f"INSERT INTO {side.sql} AS e ({id}, {vector}) VALUES (NEW.{id}, NULL) "
        f"ON CONFLICT ({id}) DO UPDATE SET {vector} = NULL WHERE e.{vector} IS NOT NULL;"
    )


def _body(side: Relation, id: str, vector: str) -> str:
    return (
        f"BEGIN IF TG_OP = 'TRUNCATE' THEN TRUNCATE {side.sql}; RETURN NULL; END IF; "
        f"IF TG_OP <> 'INSERT' THEN DELETE FROM {side.sql} AS e WHERE e.{id} OPERATOR(pg_catalog.=) OLD.{id}; END IF; "
        f"IF TG_OP <> 'DELETE' THEN {emptied(side, id, vector)} END IF; RETURN NULL; END"
    )


def make_beside(sessions: Sessions, engine: Engine, relation: Relation, id: Column, space: Space) -> None:
    """The table beside, empty, if there is none; whoever may use the table may use it alike."""
    side = side_of(relation, space)
    statements = beside_statements(engine, relation, id, space)

    def make(connection: Any) -> None:
        connection.execute(unescaped(f"LOCK TABLE {relation.sql} IN SHARE ROW EXCLUSIVE MODE"))
        there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (unescaped(side.sql),)).fetchone()[0]
        if there:  # someone else was first
            return
        for statement in statements:
            connection.execute(unescaped(statement))
        for role, rights in connection.execute(_GRANTS, (relation.oid,)).fetchall():
            connection.execute(f"GRANT {rights} ON {unescaped(side.sql)} TO {role}")

    sessions.alter(make, f"make a table beside it for {space}")


def drop_beside(connection: Any, side: Relation) -> None:
    """The table beside goes, with the triggers that keep it in step, if it is there."""
    connection.execute(unescaped(f"DROP FUNCTION IF EXISTS {_function(side)}() CASCADE"))
    connection.execute(unescaped(f"DROP TABLE IF EXISTS {side.sql}"))


def fill_beside(sessions: Sessions, engine: Engine, held: Held, rows: Embeddings) -> list[str]:
    """Write vectors of rows, whole or not at all; which of them are to be looked at again.

    A row that had none beside was not changed since there are triggers: a change would have left one. Of one that was deleted
    since, the vector is not found, and goes when the row comes back.
    Someone whose transaction changed one of them is waited for; never long, or he might be the one who is turned away where he
    waits for another of these rows.
    """

    def fill(connection: Any) -> list[str]:
        for _ in range(_TRIES):
            try:
                with connection.transaction():
                    connection.execute(f"SET LOCAL lock_timeout = '{_WAIT_MS}ms'")
                    return _fill(connection, sessions, engine, held, rows)
            except sessions.psycopg.errors.LockNotAvailable:
                time.sleep(_WAIT_MS / 1000)
        with connection.transaction():
            return _fill(connection, sessions, engine, held, rows)

    return sessions.run(fill, what=f"write {len(rows)} vectors")


def _fill(connection: Any, sessions: Sessions, engine: Engine, held: Held, rows: Embeddings) -> list[str]:
    side, id, name = _require_side(held), held.id, quoted(held.id.name)
    found = f"SELECT {id.as_text} FROM {side.sql} WHERE {name} = ANY(%s::{id_type(id)}[])"
    values = (id_array(id, rows.ids, sessions.wire),)
    beside = {one for (one,) in connection.execute(found, values).fetchall()}
    new, known = ([row for row, one in enumerate(rows.ids) if (one in beside) is there] for there in (False, True))
    if new and not _copied(connection, sessions, held, rows.take(new)):
        new, known = [], sorted([*new, *known])
    merge_beside(connection, sessions, engine, held, rows.take(known))
    added = set(new)
    return [one for row, one in enumerate(rows.ids) if row not in added]


def _copied(connection: Any, sessions: Sessions, held: Held, rows: Embeddings) -> bool:
    """Whether the rows could be added as new ones."""
    if held.id.type not in ARRAY_ITEMS:
        return False
    side = _require_side(held)
    statement = f"COPY {side.sql} ({quoted(held.id.name)}, {quoted(held.vector.name)}) FROM STDIN (FORMAT BINARY)"
    try:
        with connection.transaction(), connection.cursor() as cursor, cursor.copy(unescaped(statement)) as copy:
            copy.write(copy_start())
            for start in range(0, len(rows), _COPIED_ROWS):  # few, so that the server is at work meanwhile
                part = slice(start, start + _COPIED_ROWS)
                vectors = vector_fields(rows.vectors[part], held.vector.type)
                copy.write(copy_rows([id_fields(held.id, rows.ids[part]), vectors]))
            copy.write(copy_end())
    except sessions.psycopg.errors.UniqueViolation:  # someone changed one of the items since
        return False
    return True


def merge_beside(connection: Any, sessions: Sessions, engine: Engine, held: Held, rows: Embeddings) -> None:
    """Write vectors of rows, whether they have one by now or not."""
    side, type_name = _require_side(held), held.vector.type
    id, vector = quoted(held.id.name), quoted(held.vector.name)
    statement = (
        f"INSERT INTO {side.sql} ({id}, {vector}) SELECT s.i, s.v "
        f"FROM unnest(%s::{id_type(held.id)}[], %s::{engine.type(type_name)}[]) AS s(i, v) ORDER BY s.i "
        f"ON CONFLICT ({id}) DO UPDATE SET {vector} = EXCLUDED.{vector}"
    )
    step = max(1, min(_MERGED_ROWS, _MERGED_BYTES // (4 * rows.space.dim)))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        vectors = array(vector_fields(rows.vectors[part], type_name), engine.oids[type_name][0])
        connection.execute(statement, (id_array(held.id, rows.ids[part], sessions.wire), sessions.wire(vectors)))


def _require_side(held: Held) -> Relation:
    if held.side is None:
        raise StoreError(f"column {held.vector.name!r} stands in {held.relation.name!r} itself; open the store again")
    return held.side


def _function(side: Relation) -> str:
    return quoted(side.schema, f"{side.name}_keep")


def _trigger(space: Space, what: str) -> str:
    """Triggers fire in order of their names: these do after those that note changes, which look at what was there."""
    return f"zz_embridge_z{space.id}_{what}"
