"""Reads of a LanceDB table that are more than one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from embridge.errors import InvalidInput, require
from embridge.stores._lance_columns import payload_of
from embridge.stores._lance_filters import quoted
from embridge.stores._lance_rows import Source, having_vectors, id_array, id_kind, id_literals, raw_rows, texts_of
from embridge.stores.places import Place, RawRows

__all__ = [
    "has_vector",
    "ids_after",
    "ids_in",
    "ids_of_page",
    "ids_with_vector",
    "parts_of",
    "records_of",
    "rows_among",
]

_RANGE_ROWS = 64  # from which on
_DENSE = 2  # rows of a range for each that is meant

Ask = Callable[[Callable[[], Any]], Any]


def parts_of(asked: Ask, table: Any, place: Place, dim: int | None, rows: int, where: str = "") -> Iterator[RawRows]:
    """Rows that have a vector, in parts; ``dim`` where it is known and vectors may be of any."""
    query = table.search().select([place.id, place.vector])
    for batch in _batches(asked, query.where(where) if where else query, rows):
        part = raw_rows(batch, place, dim)
        dim = part.vectors.shape[1] if len(part.ids) else dim
        yield part


def records_of(
    asked: Ask, source: Source, kinds: Mapping[str, Any], rows: int
) -> Iterator[tuple[RawRows, dict[str, list[Any]]]]:
    """The same of a space, with the payload columns of these kinds."""
    place, pa = source.place, require("pyarrow", extra="lancedb")
    stored = [name for name in kinds if name in source.table.schema.names]
    for batch in _batches(asked, source.table.search().select([*source.columns, *stored]), rows):
        held = having_vectors(batch, place)
        yield raw_rows(held, place, source.declaration.space.dim), payload_of(pa.Table.from_batches([held]), kinds)


def _batches(asked: Ask, query: Any, rows: int) -> Iterator[Any]:
    batches = asked(lambda: iter(query.to_batches(rows)))
    while (batch := asked(lambda: next(batches, None))) is not None:
        yield batch


def ids_after(source: Source, after: str | None, limit: int) -> list[str]:
    """Ids in order of those that have a vector."""
    name, conditions = source.place.id, [has_vector(source)]
    if after is not None:
        literals = id_literals([after], source.id_type)
        if not literals:
            raise InvalidInput(f"ids: after is an id of the table, came {after!r:.60}")
        conditions.append(f"{quoted(name)} > {literals[0]}")
    ordering = require("lancedb.query", extra="lancedb").ColumnOrdering(column_name=name)
    query, where = source.table.search().order_by([ordering]).select([name]).limit(limit), _all_of(conditions)
    return ids_in((query.where(where) if where else query).to_arrow(), source)


def ids_with_vector(source: Source, ids: Sequence[str]) -> list[str]:
    """Which of these ids have a vector."""
    return ids_in(_found(source, ids, [source.place.id], has_vector(source)), source)


def ids_of_page(source: Source, ids: Sequence[str], of: Source) -> set[str]:
    """Which of these ids have a vector, of a page in the order of another table; those between them may be among them."""
    if not "text" == id_kind(source.id_type) == id_kind(of.id_type):  # which are in another order here
        return set(ids_with_vector(source, ids))
    where = _all_of([_between(source, ids), has_vector(source)])
    return set(ids_in(source.table.search().where(where).select([source.place.id]).to_arrow(), source))


def rows_among(source: Source, ids: Sequence[str], columns: Sequence[str]) -> Any:
    """Those columns of the rows of those ids, in any order."""
    return _found(source, ids, columns, limit=max(len(ids), 1))


def _found(source: Source, ids: Sequence[str], columns: Sequence[str], also: str = "", limit: int | None = None) -> Any:
    """The rows of those ids. Many that follow each other are read as a range, which costs a fifth of a list of ids."""
    if _ranged(source, ids):
        most, pc = _DENSE * len(ids), require("pyarrow.compute", extra="lancedb")
        needed = list(dict.fromkeys([source.place.id, *columns]))
        query = source.table.search().where(_all_of([_between(source, ids), also])).select(needed).limit(most + 1)
        if len(found := query.to_arrow()) <= most:
            kept = pc.is_in(found[source.place.id], value_set=id_array(ids, source.id_type))
            return found.filter(kept).select(list(columns))
    query = source.table.search().where(_all_of([source.among(ids), also])).select(list(columns))
    return (query if limit is None else query.limit(limit)).to_arrow()


def _ranged(source: Source, ids: Sequence[str]) -> bool:
    many = len(ids) >= _RANGE_ROWS and id_kind(source.id_type) == "text"
    return many and all(one < other for one, other in pairwise(ids))


def _between(source: Source, ids: Sequence[str]) -> str:
    name, (first, last) = quoted(source.place.id), id_literals([ids[0], ids[-1]], source.id_type)
    return f"{name} >= {first} AND {name} <= {last}"


def ids_in(found: Any, source: Source) -> list[str]:
    """The ids of rows that were found."""
    return [text for chunk in found[source.place.id].chunks for text in texts_of(chunk) if text is not None]


def has_vector(source: Source) -> str:
    """The condition that a row has a vector; empty where all have."""
    return f"{quoted(source.place.vector)} IS NOT NULL" if source.declaration.adopted else ""


def _all_of(conditions: Sequence[str]) -> str:
    return " AND ".join(filter(None, conditions))
