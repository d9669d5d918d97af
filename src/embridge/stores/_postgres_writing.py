"""Rows written to PostgreSQL: by COPY where all are new, else those that are there changed and the others added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.stores._postgres_binary import ARRAY_ITEMS, array, copy_end, copy_rows, copy_start, fields, vector_fields
from embridge.stores._postgres_catalog import Column, Engine, Relation, quoted, unescaped
from embridge.stores._postgres_ids import id_fields, id_type
from embridge.stores._postgres_sessions import Sessions

__all__ = ["Write", "copied", "merged", "require_fitting", "require_storable", "require_written"]

_ROWS, _COPIED_ROWS = 4_096, 512
_BYTES = 1 << 24
_LARGEST_HALF = 65_504.0
_SENT_AS = {"text": "text", "whole numbers": "int8", "numbers": "float8", "true or false": "bool"}
_ASSIGNED = ("text", "varchar", "bpchar", "int2", "int4", "int8", "float4", "float8", "bool")


@dataclass(frozen=True, slots=True)
class Write:
    """Rows on their way into a table.

    Attributes:
        relation: The table.
        vector: The column of vectors.
        id: The column of ids.
        rows: The rows.
        payload: Columns by name; their kinds are those of the table's.
    """

    relation: Relation
    vector: Column
    id: Column
    rows: Embeddings
    payload: Mapping[str, Sequence[Any]]

    @property
    def columns(self) -> list[Column]:
        return [self.relation.columns[name] for name in self.payload]

    @property
    def is_beside(self) -> bool:
        """Whether vectors go to a table of their own, and payload alone to this one."""
        return self.vector.name in self.relation.beside

    @property
    def is_copyable(self) -> bool:
        """Whether the table refuses an id twice, and takes all values in binary as they are."""
        types = [self.id.type, *(column.type for column in self.columns)]
        unique = self.id.name in self.relation.unique
        return unique and not self.is_beside and all(name in ARRAY_ITEMS for name in types)


def copied(connection: Any, write: Write) -> None:
    """Rows of ids that are not there, whole or not at all."""
    names = ", ".join(quoted(column.name) for column in (write.id, write.vector, *write.columns))
    types = [column.type for column in write.columns]
    statement = unescaped(f"COPY {write.relation.sql} ({names}) FROM STDIN (FORMAT BINARY)")
    with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(copy_start())
        for start in range(0, len(write.rows), _COPIED_ROWS):  # few, so that the server is at work meanwhile
            copy.write(copy_rows(_fields(write, start, _COPIED_ROWS, types)))
        copy.write(copy_end())


def merged(connection: Any, sessions: Sessions, engine: Engine, write: Write, *, add: bool = True) -> int:
    """Rows of any ids, whole or not at all; how many were there. Without ``add``, the others are left out."""
    types = [_SENT_AS[str(column.kind)] for column in write.columns]
    vector = [] if write.is_beside else [write.vector.type]
    sent = [f"{id_type(write.id)}[]", *(f"{engine.type(name)}[]" for name in vector), *(f"{name}[]" for name in types)]
    oids = [ARRAY_ITEMS[name] for name in (id_type(write.id), *types)]
    oids[1:1] = [engine.oids[name][0] for name in vector]
    update, insert = _statements(write, sent)
    id = f"t.{quoted(write.id.name)}"  # all writers lock rows in one order, and so do not lock each other out
    lock = f"SELECT FROM {write.relation.sql} AS t WHERE {id} = ANY(%s::{sent[0]}) ORDER BY {id} FOR NO KEY UPDATE"
    step, there = max(1, min(_ROWS, _BYTES // (4 * write.rows.space.dim))), 0
    if len(write.rows) > step:
        write = _in_order(write)
    with connection.transaction():
        if add and write.id.name not in write.relation.unique:  # or two writers of one new id would both add it
            connection.execute(f"LOCK TABLE {write.relation.sql} IN SHARE ROW EXCLUSIVE MODE", ())
        for start in range(0, len(write.rows), step):
            columns = _fields(write, start, step, types)
            values = [sessions.wire(array(items, oid)) for items, oid in zip(columns, oids, strict=True)]
            there += _merged_part(connection, (lock, update, insert), values, len(columns[0]), add=add)
    return there


def _merged_part(connection: Any, statements: tuple[str, str, str], values: list[Any], rows: int, *, add: bool) -> int:
    """How many rows were there, as far as they had to be changed."""
    lock, update, insert = statements
    changed = 0
    if update:
        connection.execute(lock, values[:1])
        changed = connection.execute(update, values).rowcount
    if add and changed < rows:
        connection.execute(insert, values)
    return int(changed)


def _in_order(write: Write) -> Write:
    order = sorted(range(len(write.rows)), key=write.rows.ids.__getitem__)
    payload = {name: [values[row] for row in order] for name, values in write.payload.items()}
    return replace(write, rows=write.rows.take(order), payload=payload)


def _fields(write: Write, start: int, rows: int, types: Sequence[str]) -> list[list[bytes]]:
    part = slice(start, start + rows)
    ids, vectors = write.rows.ids[part], write.rows.vectors[part]
    payload = [
        fields(type_name, values[part], what=f"payload column {name!r}")
        for type_name, (name, values) in zip(types, write.payload.items(), strict=True)
    ]
    vector = [] if write.is_beside else [vector_fields(vectors, write.vector.type)]
    return [id_fields(write.id, ids), *vector, *payload]


def _statements(write: Write, sent: Sequence[str]) -> tuple[str, str]:
    table, id = write.relation.sql, quoted(write.id.name)
    written = write.columns if write.is_beside else [write.vector, *write.columns]
    given = [f"s.c{number}{_cast(column)}" for number, column in enumerate(written)]
    arrays = ", ".join(f"%s::{name}" for name in sent)
    rows = f"unnest({arrays}) AS s({', '.join(['i', *(f'c{number}' for number in range(len(written)))])})"
    names = [quoted(column.name) for column in written]
    changes = ", ".join(f"{name} = {value}" for name, value in zip(names, given, strict=True))
    update = f"UPDATE {table} AS t SET {changes} FROM {rows} WHERE t.{id} = s.i" if written else ""
    if update and write.is_beside:  # what is as it was is not written again, nor put into indexes
        update += f" AND ROW({', '.join(f't.{name}' for name in names)}) IS DISTINCT FROM ROW({', '.join(given)})"
    again = ", ".join(f"{name} = EXCLUDED.{name}" for name in names)
    action = f"UPDATE SET {again}" if written else "NOTHING"
    conflict = f" ON CONFLICT ({id}) DO {action}" if write.id.name in write.relation.unique else ""
    insert = (
        f"INSERT INTO {table} ({', '.join([id, *names])}) SELECT {', '.join(['s.i', *given])} FROM {rows} "
        f"WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE t.{id} = s.i) ORDER BY s.i{conflict}"
    )
    return update, insert


def _cast(column: Column) -> str:
    """Texts, numbers and truths are assigned, which refuses what does not fit; other types are read from text."""
    if column.is_vector or column.type in _ASSIGNED:
        return ""
    return f"::{column.word.replace('%', '%%')}"


def require_written(relation: Relation, payload: Mapping[str, Sequence[Any]]) -> None:
    """Raise `InvalidInput` for a column that PostgreSQL makes itself."""
    for name in payload:
        if not relation.columns[name].written:
            raise InvalidInput(f"payload column {name!r} is generated by PostgreSQL; leave it out")


def require_storable(payload: Mapping[str, Sequence[Any]]) -> None:
    """Raise `InvalidInput` for texts that PostgreSQL cannot hold."""
    for name, values in payload.items():
        for row, value in enumerate(values):
            if isinstance(value, str) and "\0" in value:
                raise InvalidInput(f"payload column {name!r}, row {row}: PostgreSQL's text holds no NUL; take it out")


def require_fitting(vector: Column, rows: Embeddings) -> None:
    """Raise `InvalidInput` for numbers that ``halfvec`` cannot hold."""
    if vector.type != "halfvec" or not len(rows):
        return
    beyond = (np.abs(rows.vectors) > _LARGEST_HALF).any(axis=1)
    if beyond.any():
        name = rows.ids[int(beyond.argmax())]
        raise InvalidInput(
            f"vectors: {name!r} holds a number beyond ±65504, more than a halfvec can; scale the vectors"
        )
