"""What a LanceDB table has to be before its vectors are declared to be of a space."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from embridge.errors import StoreError, require
from embridge.space import Space
from embridge.stores._lance_columns import kinds_of
from embridge.stores._lance_filters import quoted
from embridge.stores._lance_rows import id_kind, texts_of, vector_type
from embridge.stores.places import Declaration, IndexState, Place, Table, VectorColumn

__all__ = ["described", "index_metrics", "index_states", "require_adoptable", "require_place", "with_declaration"]

_SHOWN = 3
_LOOKED_AT = 1_000


def described(name: str, table: Any) -> Table:
    """A table as it describes itself."""
    vectors = {field.name: dims for field in table.schema if (dims := vector_type(field.type)) is not None}
    columns = {column: kind or "nothing" for column, kind in kinds_of(table.schema, *vectors).items()}
    return Table(name, int(table.count_rows()), {one: VectorColumn(*dims) for one, dims in vectors.items()}, columns)


def require_adoptable(table: Any, declaration: Declaration) -> None:
    """Refuse columns that are not there or do not fit, and ids that repeat; warn where an index compares otherwise."""
    place, space = declaration.place, declaration.space
    require_place(table, place)
    (dim,) = vector_type(table.schema.field(place.vector).type) or (None,)
    lengths = [dim] if dim is not None else _lengths(table, place.vector)
    if lengths and space.dim not in lengths:
        dims = ", ".join(map(str, lengths[:_SHOWN]))
        raise StoreError(
            f"vectors {place.vector!r} of table {place.table!r} are of dim {dims}; {space} has {space.dim}"
        )
    if others := [length for length in lengths if length != space.dim]:
        warnings.warn(
            f"vectors {place.vector!r} of table {place.table!r} are of dim {', '.join(map(str, others[:_SHOWN]))} too; search "
            "passes them by, and a scan refuses them",
            stacklevel=3,
        )
    _require_unique(table, place.table, place.id)
    if metrics := index_metrics(table, place.vector) - {space.metric}:
        warnings.warn(
            f"the index on {place.vector!r} of table {place.table!r} compares by {', '.join(sorted(metrics))}, {space} by "
            f"{space.metric}: search passes it by and looks at all rows; build one of {space.metric}",
            stacklevel=3,
        )


def require_place(table: Any, place: Place) -> None:
    """Refuse a place that is not in the table."""
    vectors = [field.name for field in table.schema if vector_type(field.type) is not None]
    if place.vector not in vectors:
        raise StoreError(f"table {place.table!r} has no column of vectors {place.vector!r}; it has {vectors or 'none'}")
    ids = [field.name for field in table.schema if id_kind(field.type) is not None]
    if place.id not in ids:
        there = f", which is {table.schema.field(place.id).type}" if place.id in table.schema.names else ""
        raise StoreError(
            f"table {place.table!r} has no column of ids {place.id!r}{there}; name one of {ids or 'none'}: ids are text, whole "
            "numbers or UUIDs"
        )


def with_declaration(held: Mapping[Space, Declaration], new: Declaration) -> dict[Space, Declaration]:
    """Declarations with a new one; refuses one place for two spaces, and one space in two places."""
    place = new.place
    for space, one in held.items():
        same_place = (one.place.table, one.place.vector) == (place.table, place.vector)
        if same_place != (space == new.space):
            what = f"vectors {one.place.vector!r} of table {one.place.table!r} are declared to be of {space}"
            raise StoreError(
                f"{what}; forget that first (store.forget), or check what you declare: {new.space} in {place}"
            )
    return {**held, new.space: new}


def index_states(table: Any, column: str) -> list[IndexState]:
    """The indices on a column of vectors."""
    states = []
    for index in table.list_indices():
        if {column, quoted(column)} & set(index.columns) and (held := table.index_stats(index.name)) is not None:
            inside, outside = held.num_indexed_rows, held.num_unindexed_rows
            states.append(IndexState(index.name, str(held.index_type), held.distance_type, inside, outside))
    return states


def index_metrics(table: Any, column: str) -> set[str]:
    """What the indices on a column of vectors compare by."""
    return {str(index.metric) for index in index_states(table, column)}


def _lengths(table: Any, column: str) -> Sequence[int]:
    found = table.search().select([column]).limit(_LOOKED_AT).to_arrow()[column]
    lengths: Sequence[int] = require("pyarrow.compute", extra="lancedb").list_value_length(found).unique().to_pylist()
    return sorted(length for length in lengths if length is not None)


def _require_unique(table: Any, name: str, column: str) -> None:
    """Refuse ids that are not there, are empty or repeat; memory holds the ids alone."""
    compute, pa = (require(module, extra="lancedb") for module in ("pyarrow.compute", "pyarrow"))
    ids = table.search().select([column]).to_arrow()[column]
    if ids.null_count:
        raise StoreError(
            f"{ids.null_count} rows of table {name!r} have no {column!r}; every row needs an id of its own"
        )
    ids = pa.chunked_array(
        [getattr(chunk, "storage", chunk) for chunk in ids.chunks], getattr(ids.type, "storage_type", ids.type)
    )
    if id_kind(ids.type) == "text" and compute.any(compute.equal(ids, "")).as_py():
        raise StoreError(f"{column!r} of table {name!r} is empty in some row; every row needs an id of its own")
    counts = compute.value_counts(ids)
    repeated = counts.filter(compute.greater(counts.field("counts"), 1))
    if len(repeated):
        examples = ", ".join(map(repr, texts_of(repeated.field("values").slice(0, _SHOWN))))
        raise StoreError(
            f"{len(repeated)} ids in {column!r} of table {name!r} repeat, such as {examples}; ids name one row"
        )
