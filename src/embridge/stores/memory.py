"""The exact in-memory store: the reference that all others are checked against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.nearest import Hits, search
from embridge.space import Space
from embridge.stores._columns import Kind, fitted, kind_of, meets, require_comparable
from embridge.stores.base import Capabilities, Filter, Payload, require_held, require_ids, require_payload

__all__ = ["MemoryStore"]


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

    capabilities: ClassVar[Capabilities] = Capabilities(exact=True, filter=True, persistent=False)

    def __init__(self, *spaces: Space) -> None:
        self._vectors: dict[Space, dict[str, np.ndarray]] = {}
        self._payload: dict[Space, dict[str, dict[str, Any]]] = {}
        self._kinds: dict[Space, dict[str, Kind | None]] = {}
        for space in spaces:
            self.add_space(space)

    def spaces(self) -> list[Space]:
        return list(self._vectors)

    def add_space(self, space: Space) -> None:
        self._vectors.setdefault(space, {})
        self._payload.setdefault(space, {})
        self._kinds.setdefault(space, {})

    def count(self, space: Space) -> int:
        require_held(self.spaces(), space, what="count")
        return len(self._vectors[space])

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        require_held(self.spaces(), rows.space, what="upsert")
        columns = require_payload(payload, len(rows))
        if len(rows) == 0:
            return
        require_ids(rows.ids)
        records, kinds = self._payload[rows.space], self._kinds[rows.space]
        columns = fitted(kinds, columns) if records else columns
        payloads = ({column: values[i] for column, values in columns.items()} for i in range(len(rows)))
        payload_of = dict(zip(rows.ids, payloads, strict=True))  # prepared first: an interrupt leaves no half
        self._kinds[rows.space] = {name: kinds.get(name) or kind_of(values) for name, values in columns.items()}
        self._vectors[rows.space].update(zip(rows.ids, np.array(rows.vectors), strict=True))
        records.update(payload_of)

    def scan(self, space: Space, *, after: str | None = None, limit: int) -> Embeddings | None:
        require_held(self.spaces(), space, what="scan")
        if limit < 1:
            raise InvalidInput(f"scan: limit is at least 1, came {limit}")
        return self._rows(space, sorted(i for i in self._vectors[space] if after is None or i > after)[:limit])

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        require_held(self.spaces(), queries.space, what="search")
        if k < 1:
            raise InvalidInput(f"search: k is at least 1, came {k}")
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
        records = self._payload[space]
        missing = [i for i in ids if i not in records]
        if missing:
            raise InvalidInput(f"payload: {len(missing)} ids are not in the store, first {missing[0]!r}")
        return {column: [records[i][column] for i in ids] for column in self._kinds[space]}

    def _findable(self, space: Space, filter: Filter) -> Embeddings | None:
        """The rows that meet the filter and that the metric ranks, in order of id."""
        for condition in filter:
            require_comparable(condition, self._kinds[space])
        records = self._payload[space]
        met = (name for name, row in records.items() if all(meets(row[one.column], one) for one in filter))
        rows = self._rows(space, sorted(met))
        return None if rows is None else _of_some(rows, _with_direction(rows.vectors, space))

    def _rows(self, space: Space, ids: list[str]) -> Embeddings | None:
        if not ids:
            return None
        return Embeddings(tuple(ids), np.stack([self._vectors[space][i] for i in ids]), space)


def _with_direction(vectors: np.ndarray, space: Space) -> np.ndarray:
    """Which vectors the metric ranks: under cosine, those that are not zeros."""
    ranked: np.ndarray = (vectors != 0).any(axis=1)
    return ranked if space.metric == "cosine" else np.ones(len(vectors), bool)


def _of_some(rows: Embeddings, chosen: np.ndarray) -> Embeddings | None:
    if chosen.all():
        return rows
    return rows.take(np.flatnonzero(chosen)) if chosen.any() else None
