"""A trigger and a queue: what others write to a table loses its new vector at once, and is noted for the backfill."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, final

from embridge.errors import StoreError
from embridge.stores._postgres_beside import emptied
from embridge.stores._postgres_catalog import Held, Relation, quoted, unescaped
from embridge.stores._postgres_database import Database
from embridge.stores._postgres_sessions import Sessions
from embridge.stores.checks import require_column

__all__ = ["PostgresChanges", "end_changes", "may_note_changes", "notes_changes_of"]

_TRIGGERS = (
    "zz_embridge_insert",
    "zz_embridge_update",
)  # triggers fire in order of their names: these see what others made
_RIGHTS = """
SELECT has_table_privilege(%s::oid, 'TRIGGER') AND has_schema_privilege(%s, 'CREATE')
    AND coalesce((SELECT has_language_privilege(oid, 'USAGE') FROM pg_language WHERE lanname = 'plpgsql'), false)
"""
_THERE = """
SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = %s::oid AND t.tgname = ANY(%s) AND t.tgenabled <> 'D'
    AND obj_description(t.tgfoid, 'pg_proc') = %s
"""

_WATCHED = """
SELECT EXISTS (SELECT FROM pg_proc p WHERE p.oid = to_regproc(%s::text) AND position(%s::text IN p.prosrc) > 0) OR EXISTS (
    SELECT FROM pg_trigger t JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
    JOIN pg_attribute a ON d.refclassid = 'pg_class'::regclass AND a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE t.tgrelid = %s::oid AND t.tgname = ANY(%s) AND a.attname = %s)
"""


@final
class PostgresChanges:
    """Statements of one table; see `embridge.stores.changes.ChangeQueue`.

    The function runs with the rights of whoever made it, so that others need none on the queue. All names in it have their
    schema, so that nobody's search path leads it elsewhere.
    """

    def __init__(self, sessions: Sessions, old: Held, new: tuple[str, Relation | None], columns: Sequence[str]) -> None:
        self._sessions, self._relation, self._id = sessions, old.relation, old.id
        self._old, (self._new, self._side) = old.vector.name, new
        self._queue, self._function = _names(old.relation)
        self._columns = _watched(old, columns)
        if self._new in old.relation.filled:
            raise StoreError(
                f"column {self._new!r} of {old.relation.name!r} is never null, and what others change has to lose it: "
                f"ALTER TABLE … ALTER COLUMN {self._new} DROP NOT NULL"
            )

    @property
    def statements(self) -> tuple[str, ...]:
        return tuple(map(unescaped, (*self._made(), self._mark())))

    def begin(self) -> None:
        statements, mark = self._made(), self._mark()
        if self._sessions.run(self._is_there, what="look for the trigger"):
            return

        def make(connection: Any) -> None:
            for statement in (*statements, mark):
                connection.execute(unescaped(statement))

        self._sessions.alter(make, "note what others change")

    def read(self, *, limit: int) -> list[tuple[int, str]]:
        select = f"SELECT number, id FROM {self._queue} ORDER BY number LIMIT %s"
        return self._sessions.run(lambda one: one.execute(select, (limit,)).fetchall(), what="read what others changed")

    def forget(self, numbers: Sequence[int]) -> None:
        delete = f"DELETE FROM {self._queue} WHERE number = ANY(%s)"
        self._sessions.run(lambda one: one.execute(delete, (list(numbers),)), what="forget what others changed")

    def end(self) -> None:
        self._sessions.alter(lambda one: end_changes(one, self._relation), "note changes no longer")

    def _is_there(self, connection: Any) -> bool:
        values = (self._relation.oid, list(_TRIGGERS), self._fingerprint())
        return int(connection.execute(_THERE, values).fetchone()[0]) == len(_TRIGGERS)

    def _mark(self) -> str:
        return f"COMMENT ON FUNCTION {self._function}() IS '{self._fingerprint()}'"

    def _fingerprint(self) -> str:
        return f"embridge {sha256(chr(10).join(self._made()).encode()).hexdigest()[:16]}"

    def _made(self) -> tuple[str, ...]:
        table, id, old, new = self._relation.sql, *map(quoted, (self._id.name, self._old, self._new))
        insert, update = _TRIGGERS
        lacks, changed = (
            f"NEW.{old} IS NOT NULL",
            f"{_row('OLD', self._columns)} OPERATOR(pg_catalog.*<>) {_row('NEW', self._columns)}",
        )
        note = f"INSERT INTO {self._queue} (id) VALUES (NEW.{id}::pg_catalog.text);"
        if self._side is not None:  # rows that had no vector are in the queue, or come in their turn
            skipped = f"IF NOT FOUND AND OLD.{old} IS NOT NULL THEN RETURN NULL; END IF;"
            taken, when, result = f"{emptied(self._side, id, new)} {skipped}", "AFTER", "NULL"
        else:
            known, kept = (
                f"(OLD.{new} IS NOT NULL OR OLD.{old} IS NULL)",
                f"{_row('OLD', [self._new])} OPERATOR(pg_catalog.*=) {_row('NEW', [self._new])}",
            )
            lacks, changed = f"{lacks} AND NEW.{new} IS NULL", f"{known} AND {kept} AND {changed}"
            taken, when, result = f"NEW.{new} := NULL;", "BEFORE", "NEW"
        body = f"BEGIN IF TG_OP = 'UPDATE' THEN {taken} END IF; {note} RETURN {result}; END"
        return (
            f"CREATE TABLE IF NOT EXISTS {self._queue} "
            "(number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL)",
            f"CREATE OR REPLACE FUNCTION {self._function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            f"AS $embridge${body}$embridge$",
            f"DROP TRIGGER IF EXISTS {insert} ON {table}",
            f"CREATE TRIGGER {insert} AFTER INSERT ON {table} FOR EACH ROW WHEN ({lacks}) "
            f"EXECUTE FUNCTION {self._function}()",
            f"DROP TRIGGER IF EXISTS {update} ON {table}",
            f"CREATE TRIGGER {update} {when} UPDATE ON {table} FOR EACH ROW WHEN ({changed}) "
            f"EXECUTE FUNCTION {self._function}()",
        )


def may_note_changes(database: Database, relation: Relation | None) -> bool:
    """Whether this user may make a trigger on the table, and a queue beside it."""
    if relation is None or not relation.is_table:
        return False
    values, what = (relation.oid, relation.schema), "look at the user's rights"
    return bool(database.sessions.run(lambda one: one.execute(_RIGHTS, values).fetchone()[0], what=what))


def notes_changes_of(connection: Any, relation: Relation, column: str) -> bool:
    """Whether the triggers of a table look at that column, which cannot be dropped before them."""
    side, (_, function) = relation.beside.get(column), _names(relation)
    named = (unescaped(function), unescaped(side.sql)) if side is not None else (None, "")
    return bool(connection.execute(_WATCHED, (*named, relation.oid, list(_TRIGGERS), column)).fetchone()[0])


def end_changes(connection: Any, relation: Relation) -> None:
    """The triggers of a table go, with their function and the queue, if they are there."""
    queue, function = _names(relation)
    for trigger in _TRIGGERS:
        connection.execute(unescaped(f"DROP TRIGGER IF EXISTS {trigger} ON {relation.sql}"))
    connection.execute(unescaped(f"DROP FUNCTION IF EXISTS {function}()"))
    connection.execute(unescaped(f"DROP TABLE IF EXISTS {queue}"))


def _names(relation: Relation) -> tuple[str, str]:
    key = sha256(relation.name.encode()).hexdigest()[:12]
    return quoted(relation.schema, f"embridge_changes_{key}"), quoted(relation.schema, f"embridge_note_change_{key}")


def _watched(old: Held, columns: Sequence[str]) -> list[str]:
    """Columns whose change makes a new vector one of the past; before an update, one that is generated is not known yet."""
    for name in columns:
        require_column(name, old.relation.columns)
    named = dict.fromkeys((old.id.name, old.vector.name, *columns))
    if all(old.relation.columns[name].written or name == old.id.name for name in named):
        return list(named)
    return [
        name for name, one in old.relation.columns.items() if not one.is_vector and (one.written or name == old.id.name)
    ]


def _row(side: str, columns: Sequence[str]) -> str:
    """Compared byte by byte: null equals null, types without an equality have one, and a collation takes no two texts for one."""
    return f"ROW({', '.join(f'{side}.{quoted(name)}' for name in columns)})::record"
