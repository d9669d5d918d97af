"""What a Qdrant collection holds, in the words of stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.stores._qdrant_columns import described, scalars
from embridge.stores._qdrant_engine import ID_KEY, Collection, Engine, Point, PointId, VectorInfo
from embridge.stores.places import IndexState, Place, Table, VectorColumn

__all__ = ["index_states", "payload_of", "points_of", "table_of", "usable_vector"]


def table_of(engine: Engine, name: str, collection: Collection, *, own: bool) -> Table:
    """A collection as a table; vectors that no space can have stand among the other columns."""
    usable = {key: VectorColumn(one.dim, one.metric) for key, one in collection.vectors.items() if not one.remark}
    unusable = {key or "vector": f"vectors: {one.remark}" for key, one in collection.vectors.items() if one.remark}
    columns = described(engine, name, collection.fields) | unusable
    return Table(name, engine.count(name), usable, columns, id=ID_KEY if own else "")


def usable_vector(where: str, collection: Collection, place: Place) -> VectorInfo:
    """What Qdrant says of vectors; raises `StoreError` where they are not there, or no space can have them."""
    named = {repr(name) if name else "the one without a name": one for name, one in collection.vectors.items()}
    info = collection.vectors.get(place.vector)
    if info is None:
        raise StoreError(
            f"{where}: there are no vectors {place.vector!r} in {place.table}; there are {', '.join(named) or 'none'}"
        )
    if info.remark:
        raise StoreError(f"{where}: vectors {place.vector!r} of {place.table} are of no use here: {info.remark}")
    return info


def index_states(collection: Collection, place: Place) -> list[IndexState]:
    """The graph on the vectors, where one is built; Qdrant counts those of all vectors of a collection together."""
    if not collection.indexed:
        return []
    info, alone = collection.vectors[place.vector], len(collection.vectors) == 1
    remark = (
        "" if info.exact else "the vectors are quantised or of half precision; scores are computed from what is stored"
    )
    inside, outside = collection.indexed, max(0, collection.points - collection.indexed)
    name = place.vector or "vector"
    return [IndexState(name, "hnsw", info.metric, inside if alone else None, outside if alone else None, remark)]


def points_of(
    ids: Sequence[PointId], rows: Embeddings, columns: Mapping[str, Sequence[Any]], *, own: bool
) -> list[Point]:
    """Points to write; a payload has no key for what has no value."""
    payloads: list[dict[str, Any]] = [{ID_KEY: name} if own else {} for name in rows.ids]
    for name, values in columns.items():
        for payload, value in zip(payloads, values, strict=True):
            if value is not None:
                payload[name] = value
    return [Point(one, vector, payload) for one, vector, payload in zip(ids, rows.vectors, payloads, strict=True)]


def payload_of(
    payloads: Sequence[Mapping[str, Any]], columns: Sequence[str] | None, seen: Mapping[str, str]
) -> dict[str, list[Any]]:
    """Columns of one value a row; of someone else's rows those that are known or come up, without lists and objects."""
    if columns is None:
        names = dict.fromkeys(scalars(seen))
        for payload in payloads:
            names |= {
                key: None for key, value in payload.items() if key != ID_KEY and key not in seen and _is_scalar(value)
            }
        columns = list(names)
    read = [[payload.get(name) for payload in payloads] for name in columns]
    return {
        name: [value if _is_scalar(value) else None for value in values]
        for name, values in zip(columns, read, strict=True)
    }


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int | float)
