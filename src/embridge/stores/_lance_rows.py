"""Rows of any LanceDB table: ids of text, whole numbers or UUIDs as text, vectors of any float type as float32."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import numpy as np

from embridge.embeddings import Embeddings, concatenate
from embridge.errors import InvalidInput, require
from embridge.space import Space
from embridge.stores._lance_filters import literal, quoted
from embridge.stores.places import Declaration, Place, RawRows

__all__ = [
    "Source",
    "having_vectors",
    "id_array",
    "id_kind",
    "id_literals",
    "raw_rows",
    "rows_of",
    "texts_of",
    "usable",
    "vector_type",
]

IdKind = Literal["text", "whole numbers", "UUIDs"]
_UUID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Source:
    """An open table, where in it the vectors of a space stand, and of which Arrow types these and the ids are."""

    table: Any
    declaration: Declaration
    id_type: Any
    vectors: Any

    @staticmethod
    def of(table: Any, declaration: Declaration) -> Source:
        schema, place = table.schema, declaration.place
        return Source(table, declaration, schema.field(place.id).type, schema.field(place.vector).type)

    @property
    def place(self) -> Place:
        return self.declaration.place

    @property
    def columns(self) -> list[str]:
        """Of the ids and of the vectors."""
        return [self.place.id, self.place.vector]

    def among(self, ids: Sequence[str]) -> str:
        """The condition that a row has one of these ids."""
        literals = id_literals(list(dict.fromkeys(ids)), self.id_type)
        return f"{quoted(self.place.id)} IN ({', '.join(literals)})" if literals else "false"


def id_kind(type_: Any) -> IdKind | None:
    """What ids of an Arrow type are; None for a type that identifies no rows."""
    types, stored = require("pyarrow", extra="lancedb").types, _stored(type_)
    if types.is_string(stored) or types.is_large_string(stored):
        return "text"
    if types.is_integer(stored):
        return "whole numbers"
    is_uuid = types.is_fixed_size_binary(stored) and stored.byte_width == _UUID_BYTES
    return "UUIDs" if is_uuid else None


def vector_type(type_: Any) -> tuple[int | None] | None:
    """The dim of an Arrow type of vectors, None for lists of any length; None for another type."""
    types = require("pyarrow", extra="lancedb").types
    if types.is_fixed_size_list(type_) and types.is_floating(type_.value_type):
        return (type_.list_size,)
    if (types.is_list(type_) or types.is_large_list(type_)) and types.is_floating(type_.value_type):
        return (None,)
    return None


def texts_of(ids: Any) -> list[str | None]:
    """Ids of an Arrow array as text."""
    kind = id_kind(ids.type)
    if hasattr(ids.type, "storage_type"):
        ids = ids.storage
    values = ids.to_pylist()
    if kind == "text":
        return values
    write = (lambda value: str(UUID(bytes=value))) if kind == "UUIDs" else str
    return [None if value is None else write(value) for value in values]


def id_literals(ids: Sequence[str], type_: Any) -> list[str]:
    """Ids in SQL; those that a column of that type cannot hold are left out."""
    values = (one for one in _values(ids, type_) if one is not None)
    return [f"X'{one.hex()}'" if isinstance(one, bytes) else literal(one) for one in values]


def id_array(ids: Sequence[str], type_: Any) -> Any:
    """Ids as Arrow has them in a column of that type; raises `InvalidInput` for one that it cannot hold."""
    pa = require("pyarrow", extra="lancedb")
    values = _values(ids, type_)
    if None in values:
        raise InvalidInput(f"ids of this table are {id_kind(type_)}, came {ids[values.index(None)]!r:.60}")
    stored = pa.array(values, _stored(type_))
    return pa.ExtensionArray.from_storage(type_, stored) if hasattr(type_, "storage_type") else stored


def having_vectors(batch: Any, place: Place) -> Any:
    """A batch without the rows that have no vector."""
    vectors = batch.column(place.vector)
    return batch.filter(vectors.is_valid()) if vectors.null_count else batch


def raw_rows(batch: Any, place: Place, dim: int | None) -> RawRows:
    """The rows of a batch that have a vector; of a list column those of another length than ``dim`` are odd."""
    batch = having_vectors(batch, place)
    vectors, ids = batch.column(place.vector), batch.column(place.id)
    names, (fixed,) = texts_of(ids), vector_type(vectors.type) or (None,)
    if fixed is not None and fixed == (dim or fixed) and not ids.null_count:
        return RawRows(tuple(names), _matrix(vectors, fixed))  # type: ignore[arg-type]
    lengths = np.full(len(names), fixed) if fixed is not None else _lengths(vectors)
    if dim is None:
        dim = int(np.bincount(lengths).argmax()) if len(lengths) else 0
    usable = (lengths == dim) & np.array([name is not None for name in names], bool)
    rows = np.flatnonzero(~usable).tolist()
    odd = [
        (names[row] or "", f"{lengths[row]} dimensions" if names[row] is not None else "it has no id") for row in rows
    ]
    kept = [name for name, good in zip(names, usable.tolist(), strict=True) if good]
    return RawRows(tuple(kept), _matrix(vectors.filter(usable), dim), tuple(odd))  # type: ignore[arg-type]


def rows_of(found: Any, source: Source) -> Embeddings:
    """Ids and vectors of rows that were found, those left out that cannot be used."""
    space: Space = source.declaration.space
    if not source.declaration.adopted and len(found) > 1:  # two writers may have brought a row at once, a moment ago
        first = {name: row for row, name in reversed(list(enumerate(_names(found, source))))}
        found = found if len(first) == len(found) else found.take(sorted(first.values()))
    parts = [usable(raw_rows(batch, source.place, space.dim), space) for batch in found.to_batches()]
    return concatenate(parts) if parts else Embeddings((), np.empty((0, space.dim), np.float32), space)


def _names(found: Any, source: Source) -> list[str | None]:
    return [name for chunk in found[source.place.id].chunks for name in texts_of(chunk)]


def usable(part: RawRows, space: Space) -> Embeddings:
    """Of rows as they are those whose vectors can be used."""
    finite = np.asarray(np.isfinite(part.vectors).all(axis=1))
    if finite.all():
        return Embeddings(part.ids, part.vectors.reshape(len(part.ids), space.dim), space)
    names = [name for name, good in zip(part.ids, finite.tolist(), strict=True) if good]
    return Embeddings(tuple(names), part.vectors[finite], space)


def _stored(type_: Any) -> Any:
    return getattr(type_, "storage_type", type_)


def _values(ids: Sequence[str], type_: Any) -> list[Any]:
    """Ids as the database compares them: text, whole numbers or bytes; None for one that the column cannot hold."""
    kind = id_kind(type_)
    if kind == "text":
        return list(ids)
    if kind == "UUIDs":
        return list(map(_uuid, ids))
    bounds = np.iinfo(type_.to_pandas_dtype())
    numbers = [int(one) if re.fullmatch(r"-?[0-9]{1,20}", one) else None for one in ids]
    return [
        number if number is not None and str(number) == one and bounds.min <= number <= bounds.max else None
        for number, one in zip(numbers, ids, strict=True)
    ]


def _uuid(name: str) -> bytes | None:
    try:
        value = UUID(name)
    except ValueError:
        return None
    return value.bytes if str(value) == name else None


def _lengths(vectors: Any) -> np.ndarray:
    lengths: np.ndarray = require("pyarrow.compute", extra="lancedb").list_value_length(vectors).to_numpy()
    return lengths


def _matrix(vectors: Any, dim: int) -> np.ndarray:
    """Vectors of one length; a number that is not there is NaN."""
    pa = require("pyarrow", extra="lancedb")
    flat = vectors.flatten()
    if flat.type != pa.float32():
        flat = flat.cast(pa.float32(), safe=False)
    if flat.null_count:
        flat = flat.fill_null(float("nan"))
    matrix: np.ndarray = flat.to_numpy().reshape(len(vectors), dim)
    return matrix
