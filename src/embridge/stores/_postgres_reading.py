"""Rows read from PostgreSQL: streams of all of them, and some by id."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from embridge.errors import StoreError
from embridge.stores._postgres_binary import columns_of, dim_of, raw_rows, received, split_rows
from embridge.stores._postgres_catalog import Column, Held, Relation, quoted, unescaped
from embridge.stores._postgres_ids import found_ids, id_array, id_type
from embridge.stores._postgres_sessions import Sessions
from embridge.stores.checks import require_ids, require_present
from embridge.stores.places import RawRows

__all__ = ["by_id", "column_by_id", "every_row", "ids_with_vector", "page_of_ids", "value_of", "values_by_id"]

_IDS_AT_ONCE = 10_000
_ENDINGS = ("query cancellation failed", "error ignored terminating")


def every_row(
    sessions: Sessions,
    relation: Relation,
    columns: tuple[Column, Column],
    dim: int | None,
    rows: int,
    payload: Sequence[Column] = (),
) -> Iterator[tuple[RawRows, dict[str, list[Any]]]]:
    """All rows with a vector, as the table was when the reading began, in parts of at most that many, with a payload.

    A connection that is lost is made again, and what was given already is left out. columns: of vectors and of ids.
    """
    vector, id = columns
    name = quoted(vector.name)
    select = ", ".join([name, id.as_text, *map(value_of, payload)])
    statement = unescaped(
        f"COPY (SELECT {select} FROM {relation.rows(vector.name)} WHERE {name} IS NOT NULL) TO STDOUT (FORMAT BINARY)"
    )
    read = _Reader(vector, dim, payload)
    given, seen, progress = array("q"), None, True
    while True:
        try:
            for blocks in _blocks(sessions, statement, rows):
                part, values = read(blocks) if seen is None else _unseen(*read(blocks), seen)
                given.extend(map(hash, part.ids))
                given.extend(hash(name) for name, _ in part.odd)
                progress = True
                if len(part.ids) or part.odd:
                    yield part, values
            return
        except UnicodeDecodeError as error:
            raise StoreError(f"{sessions.url}: scan: the ids are no UTF-8: {error}") from error
        except sessions.psycopg.Error as error:
            if not progress or not sessions.worth_repeating(error):
                raise sessions.explained(error, "scan") from error
            progress, seen = False, np.unique(np.array(given, np.int64))


class _Reader:
    """Makes rows of blocks; ``dim``, where vectors may be of any, is what the first has."""

    def __init__(self, vector: Column, dim: int | None, payload: Sequence[Column]) -> None:
        self._vector, self._dim, self._payload = vector, vector.dim or dim, payload

    def __call__(self, blocks: list[bytes]) -> tuple[RawRows, dict[str, list[Any]]]:
        self._dim = self._dim or dim_of(blocks[0])
        values: dict[str, list[Any]] = {}
        if self._payload:
            blocks, others = split_rows(blocks)
            kinds = [column.kind for column in self._payload]
            values = dict(zip((one.name for one in self._payload), columns_of(others, kinds), strict=True))
        return raw_rows(blocks, self._dim, self._vector.type, fixed=self._vector.dim is not None), values


def _blocks(sessions: Sessions, statement: str, rows: int) -> Iterator[list[bytes]]:
    with (
        sessions.borrowed() as connection,
        connection.cursor() as cursor,
        _quiet_endings(),
        cursor.copy(statement) as copy,
    ):
        yield from received(sessions.psycopg, copy, rows)


@contextmanager
def _quiet_endings() -> Iterator[None]:
    """Psycopg tells a log that it could not end a COPY whose connection was lost: whoever meets that here knows it."""

    def is_else(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(_ENDINGS)

    logger = logging.getLogger("psycopg")
    logger.addFilter(is_else)
    try:
        yield
    finally:
        logger.removeFilter(is_else)


def _unseen(part: RawRows, payload: dict[str, list[Any]], seen: np.ndarray) -> tuple[RawRows, dict[str, list[Any]]]:
    """The rows that an earlier connection has not given yet."""
    new = np.flatnonzero(~np.isin(_hashes(part.ids), seen))
    new_odd = np.flatnonzero(~np.isin(_hashes([name for name, _ in part.odd]), seen))
    left = RawRows(tuple(part.ids[row] for row in new), part.vectors[new], tuple(part.odd[row] for row in new_odd))
    return left, {name: [values[row] for row in new] for name, values in payload.items()}


def _hashes(names: Sequence[str]) -> np.ndarray:
    return np.fromiter(map(hash, names), np.int64, len(names))


def by_id(
    sessions: Sessions,
    rows: str,
    id: Column,
    ids: Sequence[str],
    expressions: Sequence[str],
    *,
    binary: bool = True,
) -> Iterator[Any]:
    """(Id, values) of the rows of those ids that are there, in any order; rows, expressions: in SQL."""
    select = ", ".join([id.as_text, *expressions])
    statement = f"SELECT {select} FROM {rows} WHERE {quoted(id.name)} = ANY(%s::{id_type(id)}[])"
    possible = found_ids(id, ids)
    for start in range(0, len(possible), _IDS_AT_ONCE):
        values = (id_array(id, possible[start : start + _IDS_AT_ONCE], sessions.wire),)
        yield from sessions.run(partial(_read, statement, values, binary), what="read rows by id")


def ids_with_vector(sessions: Sessions, held: Held, ids: Sequence[str]) -> set[str]:
    """Those whose rows have a vector."""
    vector = f"{quoted(held.vector.name)} IS NOT NULL"
    return {name for name, has in by_id(sessions, held.rows, held.id, ids, [vector], binary=False) if has}


def values_by_id(
    sessions: Sessions, held: Held, ids: Sequence[str], columns: Mapping[str, Column]
) -> dict[str, list[Any]]:
    """Payload columns of rows; raises `InvalidInput` for an id that is not there."""
    expressions = [value_of(column) for column in columns.values()]
    found = {row[0]: row[1:] for row in by_id(sessions, held.relation.sql, held.id, ids, expressions)}
    require_present(ids, found)
    return {name: [found[one][number] for one in ids] for number, name in enumerate(columns)}


def column_by_id(sessions: Sessions, held: Held, ids: Sequence[str], column: Column) -> list[Any]:
    """Any column of rows as the database has it; None for ids that are not there."""
    expression = f"{quoted(column.name)}::text" if column.is_vector else quoted(column.name)
    rows = by_id(sessions, held.relation.rows(column.name), held.id, ids, [expression], binary=column.type == "bytea")
    found = dict(rows)
    return [found.get(one) for one in ids]


def _read(statement: str, values: tuple[Any, ...], binary: bool, connection: Any) -> list[Any]:
    found: list[Any] = connection.execute(statement, values, binary=binary).fetchall()
    return found


def page_of_ids(sessions: Sessions, held: Held, condition: str, after: str | None, limit: int) -> list[str]:
    """Up to so many ids of rows with a vector that meet a condition, in order, those after one; condition: with its AND."""
    id = held.id
    condition = f"{quoted(held.vector.name)} IS NOT NULL{condition}"
    values: list[Any] = [limit]
    if after is not None:
        require_ids([after])
        condition += f" AND {id.ordered} > %s::{id_type(id)}"
        values = [after.partition("\0")[0] if id.is_text else after, limit]  # no text of PostgreSQL stands between
    select = f"SELECT {id.as_text} FROM {held.rows} WHERE {condition} ORDER BY {id.ordered} LIMIT %s"
    return [row[0] for row in sessions.run(partial(_read, select, tuple(values), False), what="list ids")]


def value_of(column: Column) -> str:
    """A payload column in SQL as what it is here: text, a whole number of 64 bits, a number or a truth."""
    name = quoted(column.name)
    if column.kind is None:
        return "NULL::text"
    if column.kind == "numbers":
        return f"nullif({name}::float8, 'NaN')"
    return f"{name}::int8" if column.kind == "whole numbers" else column.as_text if column.kind == "text" else name
