"""What must hold of a table before it is declared to hold a space."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from embridge.errors import StoreError
from embridge.space import Space
from embridge.stores._postgres_catalog import Column, Engine, Relation, quoted
from embridge.stores._postgres_sessions import Sessions
from embridge.stores.places import Declaration, Place

__all__ = ["adoptable", "id_column", "require_free", "vector_column"]

_SHOWN = 3


def vector_column(relation: Relation, name: str) -> Column:
    """The column of vectors of that name; of a table that has one, none need be named."""
    vectors = relation.vectors
    if not name and len(vectors) == 1:
        return next(iter(vectors.values()))
    if name in vectors:
        return vectors[name]
    others = ", ".join(sorted(vectors)) or "none"
    raise StoreError(f"table {relation.name!r} has no column of vectors {name!r}; columns of vectors are: {others}")


def id_column(relation: Relation, name: str) -> Column:
    """The column of ids of that name, or the primary key where none is named."""
    name = name or relation.id or ""
    column = relation.columns.get(name)
    if column is None:
        others = ", ".join(sorted(one.name for one in relation.columns.values() if one.may_identify)) or "none"
        raise StoreError(f"table {relation.name!r} has no column of ids {name!r}; columns that may be it are: {others}")
    if not column.may_identify:
        raise StoreError(f"column {name!r} of {relation.name!r} is {column.word}; ids are text, whole numbers or UUIDs")
    return column


def adoptable(sessions: Sessions, engine: Engine, relation: Relation, declaration: Declaration) -> Declaration:
    """The declaration with its columns named; raises `StoreError` where the table does not bear it out."""
    vector, id = vector_column(relation, declaration.place.vector), id_column(relation, declaration.place.id)
    sessions.run(lambda connection: _require_ids(connection, relation, id), what="look at the ids")
    if vector.dim is None:
        sessions.run(
            lambda connection: _require_dims(connection, engine, relation, vector, declaration), what="look at dims"
        )
    elif vector.dim != declaration.space.dim:
        raise StoreError(
            f"column {vector.name!r} of {relation.name!r} is {vector.word}, the space is {declaration.space}"
        )
    _warn_of_indexes(relation, vector, declaration)
    return replace(declaration, place=Place(relation.name, vector.name, id.name))


def _require_ids(connection: Any, relation: Relation, id: Column) -> None:
    name, what = quoted(id.name), f"column {id.name!r} of {relation.name!r}"
    if id.name not in relation.filled:
        nulls = connection.execute(f"SELECT count(*) FROM {relation.sql} WHERE {name} IS NULL", ()).fetchone()[0]
        if nulls:
            raise StoreError(f"{what} is null in {nulls} rows; give every row an id, or name another column")
    if id.is_text and connection.execute(f"SELECT 1 FROM {relation.sql} WHERE {name} = '' LIMIT 1", ()).fetchone():
        raise StoreError(f"{what} is empty in some row; give every row an id, or name another column")
    if id.name in relation.unique:
        return
    repeated = connection.execute(
        f"SELECT {id.as_text}, count(*) FROM {relation.sql} GROUP BY 1 HAVING count(*) > 1 LIMIT {_SHOWN}", ()
    ).fetchall()
    if repeated:
        shown = ", ".join(f"{name!r} ({count} rows)" for name, count in repeated)
        raise StoreError(f"{what} does not identify a row: {shown}; delete what repeats, or name another column")


def _require_dims(
    connection: Any, engine: Engine, relation: Relation, vector: Column, declaration: Declaration
) -> None:
    name, dim = quoted(vector.name), declaration.space.dim
    rows = connection.execute(
        f"SELECT {quoted(engine.schema)}.vector_dims({name}), count(*) FROM {relation.sql} WHERE {name} IS NOT NULL "
        "GROUP BY 1 ORDER BY 2 DESC", ()
    ).fetchall()  # fmt: skip
    others = ", ".join(f"{count} of {other}" for other, count in rows[: _SHOWN + 1] if other != dim)
    if rows and dim not in dict(rows):
        raise StoreError(
            f"column {vector.name!r} of {relation.name!r} holds vectors {others} dimensions, the space has {dim}"
        )
    if others:
        warnings.warn(
            f"column {vector.name!r} of {relation.name!r} holds vectors {others} dimensions too; search passes them by, and a "
            "scan refuses them",
            stacklevel=7,
        )


def _warn_of_indexes(relation: Relation, vector: Column, declaration: Declaration) -> None:
    metric = declaration.space.metric
    indexes = [index for index in relation.indexes if index.column == vector.name and not index.remark]
    if indexes and not any(index.metric == metric for index in indexes):
        told = ", ".join(f"{index.name} by {index.metric or 'another'}" for index in indexes)
        warnings.warn(
            f"the space compares by {metric} and the indexes of {vector.name!r} do not ({told}): search is right, and slow "
            "as without an index",
            stacklevel=4,
        )


def require_free(present: Mapping[Space, Declaration], declared: Declaration) -> None:
    """Raise `StoreError` where a place was declared to hold another space, or a space to stand elsewhere."""
    for space, other in present.items():
        if other.place == declared.place and space != declared.space:
            raise StoreError(
                f"{declared.place.vector!r} was declared to hold {space}; forget that first (store.forget)"
            )
        if space == declared.space and other.place != declared.place:
            raise StoreError(
                f"{space} was declared to stand in {other.place.vector!r}; forget that first (store.forget)"
            )
