"""The exact in-memory store: the reference that all others are checked against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.nearest import Hits, search
from embridge.space import Space
from embridge.stores._columns import Kind, fitted, kind_of, meets, require_comparable
from embridge.stores.base import SCAN_ROWS, Filter, Payload
from embridge.stores.capabilities import Capabilities
from embridge.stores.checks import (
    require_column,
    require_columns,
    require_held,
    require_ids,
    require_limit,
    require_payload,
    require_present,
)
from embridge.stores.documents import STATE, Documents, MemoryDocuments
from embridge.stores.places import Declaration, IndexState, Place, RawRows, Table, VectorColumn, checked_parts
from embridge.stores.urls import StoreUrl

__all__ = ["MemoryStore", "open_memory"]

_TABLE = "rows"


@final
class MemoryStore:
    """Rows in dictionaries, searched exhaustively; gone when the process ends.

    Args:
        *spaces: Spaces to hold from the start.

    Examples:
        >>> space = Space("toy", "1", 2)
        >>> store = MemoryStore(space)
        >>> store.upsert(Embeddings.of(np.eye(2, dtype=np.float32), space, ["a", "b"]), {"kind": ["x", "y"]})
        >>> store.search(Embeddings.of(np.array([[0.9, 0.1]], np.float32), space), 1).ids
        (('a',),)
    """

    capabilities: ClassVar[Capabilities] = Capabilities(exact=True, filter=True, persistent=False, shared_rows=True)

    def __init__(self, *spaces: Space) -> None:
        self.documents = MemoryDocuments()
        self._vectors: dict[Space, dict[str, np.ndarray]] = {}
        self._records: dict[str, dict[str, Any]] = {}
        self._kinds: dict[str, Kind | None] = {}
        for space in spaces:
            self.add_space(space)

    def tables(self) -> list[Table]:
        vectors = {space.id: VectorColumn(space.dim, space.metric) for space in self._vectors}
        columns = {name: kind or "nothing" for name, kind in self._kinds.items()}
        return [Table(_TABLE, len(self._records), vectors, columns, id="id")]

    def spaces(self) -> list[Space]:
        return list(self._vectors)

    def declaration(self, space: Space) -> Declaration:
        require_held(self.spaces(), space, what="declaration")
        return Declaration(space, Place(_TABLE, space.id, "id"), adopted=False)

    def adopt(self, declaration: Declaration) -> None:
        raise StoreError("a store in memory has no table that was there before; add the space and upsert its rows")

    def forget(self, space: Space) -> None:
        require_held(self.spaces(), space, what="forget")
        raise StoreError(f"{space} was not adopted; drop_space deletes its vectors")

    def add_space(self, space: Space) -> None:
        self._vectors.setdefault(space, {})

    def drop_space(self, space: Space) -> None:
        require_held(self.spaces(), space, what="drop_space")
        del self._vectors[space]

    def count(self, space: Space) -> int:
        require_held(self.spaces(), space, what="count")
        return len(self._vectors[space])

    def ids(self, space: Space, *, after: str | None = None, limit: int) -> list[str]:
        require_held(self.spaces(), space, what="ids")
        require_limit(limit, what="ids")
        return _following(self._vectors[space], after)[:limit]

    def missing(self, space: Space, of: Space, *, after: str | None = None, limit: int) -> list[str]:
        for each in (space, of):
            require_held(self.spaces(), each, what="missing")
        require_limit(limit, what="missing")
        return _following(self._vectors[of].keys() - self._vectors[space].keys(), after)[:limit]

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        require_held(self.spaces(), rows.space, what="upsert")
        columns = require_payload(payload, len(rows))
        if len(rows) == 0:
            return
        require_ids(rows.ids)
        if self._kinds:
            columns = fitted(self._kinds, columns, some=True)
        payloads = [{name: values[i] for name, values in columns.items()} for i in range(len(rows))]
        blank = dict.fromkeys(self._kinds)  # prepared first: an interrupt leaves no half
        records = {name: self._records.get(name, blank) | one for name, one in zip(rows.ids, payloads, strict=True)}
        if not self._kinds and columns:
            self._records = {name: dict.fromkeys(columns) | record for name, record in self._records.items()}
        self._kinds |= {name: self._kinds.get(name) or kind_of(values) for name, values in columns.items()}
        self._vectors[rows.space].update(zip(rows.ids, np.array(rows.vectors), strict=True))
        self._records.update(records)

    def delete(self, ids: Sequence[str]) -> None:
        for name in ids:
            self._records.pop(name, None)
            for vectors in self._vectors.values():
                vectors.pop(name, None)

    def scan(self, space: Space, *, rows: int = SCAN_ROWS) -> Iterator[Embeddings]:
        require_held(self.spaces(), space, what="scan")
        return checked_parts(self.raw(self.declaration(space).place, rows=rows), space, what="the store in memory")

    def scan_with_payload(
        self, space: Space, columns: Sequence[str], *, rows: int = SCAN_ROWS
    ) -> Iterator[tuple[Embeddings, dict[str, list[Any]]]]:
        parts = self.scan(space, rows=rows)
        require_columns(columns, self._kinds)
        return ((part, {name: [self._records[one][name] for one in part.ids] for name in columns}) for part in parts)

    def raw(self, place: Place, *, rows: int = SCAN_ROWS) -> Iterator[RawRows]:
        require_limit(rows, what="scan")
        held = [vectors for space, vectors in self._vectors.items() if Place(_TABLE, space.id, "id") == place]
        if not held:
            raise StoreError(f"the store in memory holds no vectors {place.vector!r}")
        return self._parts(held[0], rows)

    def fetch(self, space: Space, ids: Sequence[str]) -> Embeddings:
        require_held(self.spaces(), space, what="fetch")
        held = self._vectors[space]
        names = tuple(name for name in dict.fromkeys(ids) if name in held)
        vectors = np.stack([held[name] for name in names]) if names else np.empty((0, space.dim), np.float32)
        return Embeddings(names, vectors, space)

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        require_held(self.spaces(), queries.space, what="search")
        require_limit(k, what="search")
        gallery = self._findable(queries.space, filter)
        asked = np.flatnonzero(_with_direction(queries.vectors, queries.space))
        if gallery is None or not len(asked):
            return Hits(((),) * len(queries), np.empty((len(queries), 0), np.float32))
        found = search(queries.take(asked), gallery, k)
        ids: list[tuple[str, ...]] = [()] * len(queries)
        scores = np.full((len(queries), found.scores.shape[1]), -np.inf, np.float32)
        scores[asked] = found.scores
        for row, names in zip(asked.tolist(), found.ids, strict=True):
            ids[row] = names
        return Hits(tuple(ids), scores)

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        require_held(self.spaces(), space, what="payload")
        require_present(ids, self._records)
        return {column: [self._records[i][column] for i in ids] for column in self._kinds}

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        require_held(self.spaces(), space, what="column")
        require_column(name, self._kinds)
        return [self._records[i][name] if i in self._records else None for i in ids]

    def indexes(self, space: Space) -> list[IndexState]:
        require_held(self.spaces(), space, what="indexes")
        return []

    def read_state(self) -> dict[str, Any] | None:
        return self.documents.read(STATE)

    def swap_state(self, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        return self.documents.swap(STATE, expected, new)

    def close(self) -> None:
        pass

    def _parts(self, vectors: dict[str, np.ndarray], rows: int) -> Iterator[RawRows]:
        names = list(vectors)
        for start in range(0, len(names), rows):
            part = [name for name in names[start : start + rows] if name in vectors]
            if part:
                yield RawRows(tuple(part), np.stack([vectors[name] for name in part]))

    def _findable(self, space: Space, filter: Filter) -> Embeddings | None:
        """The rows that meet the filter and that the metric ranks, in order of id."""
        for condition in filter:
            require_comparable(condition, self._kinds)
        names = sorted(
            name for name in self._vectors[space] if all(meets(self._records[name][one.column], one) for one in filter)
        )
        if not names:
            return None
        rows = self.fetch(space, names)
        return _of_some(rows, _with_direction(rows.vectors, space))


def open_memory(url: StoreUrl, *, create: bool, documents: Documents | None) -> MemoryStore:  # noqa: ARG001
    """An empty store in memory; see `embridge.stores.open_store`."""
    return MemoryStore()


def _following(ids: Iterable[str], after: str | None) -> list[str]:
    return sorted(name for name in ids if after is None or name > after)


def _with_direction(vectors: np.ndarray, space: Space) -> np.ndarray:
    """Which vectors the metric ranks: under cosine, those that are not zeros."""
    ranked: np.ndarray = (vectors != 0).any(axis=1)
    return ranked if space.metric == "cosine" else np.ones(len(vectors), bool)


def _of_some(rows: Embeddings, chosen: np.ndarray) -> Embeddings | None:
    if chosen.all():
        return rows
    return rows.take(np.flatnonzero(chosen)) if chosen.any() else None
