"""The exact in-memory store: the reference that all others are checked against."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.nearest import Hits, search
from embridge.space import Space
from embridge.stores.base import Capabilities, Condition, Filter, Payload, require_held, require_payload

__all__ = ["MemoryStore"]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, choices: value in choices,
}


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
        for space in spaces:
            self.add_space(space)

    def spaces(self) -> list[Space]:
        return list(self._vectors)

    def add_space(self, space: Space) -> None:
        self._vectors.setdefault(space, {})
        self._payload.setdefault(space, {})

    def count(self, space: Space) -> int:
        require_held(self.spaces(), space, what="count")
        return len(self._vectors[space])

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        require_held(self.spaces(), rows.space, what="upsert")
        columns = require_payload(payload, len(rows))
        if len(rows) == 0:
            return
        records = self._payload[rows.space]
        if records and (known := set(next(iter(records.values())))) != set(columns):
            raise InvalidInput(f"payload: rows of this space carry {sorted(known)}, came {sorted(columns)}")
        payloads = ({column: values[i] for column, values in columns.items()} for i in range(len(rows)))
        payload_of = dict(zip(rows.ids, payloads, strict=True))  # prepared first: an interrupt leaves no half
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
        records = self._payload[queries.space]
        gallery = self._rows(queries.space, [i for i in self._vectors[queries.space] if _meets(records[i], filter)])
        if gallery is None:
            return Hits(((),) * len(queries), np.empty((len(queries), 0), np.float32))
        return search(queries, gallery, k)

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        require_held(self.spaces(), space, what="payload")
        records = self._payload[space]
        missing = [i for i in ids if i not in records]
        if missing:
            raise InvalidInput(f"payload: {len(missing)} ids are not in the store, first {missing[0]!r}")
        columns = next(iter(records.values()), {})
        return {column: [records[i][column] for i in ids] for column in columns}

    def _rows(self, space: Space, ids: list[str]) -> Embeddings | None:
        if not ids:
            return None
        return Embeddings(tuple(ids), np.stack([self._vectors[space][i] for i in ids]), space)


def _meets(payload: dict[str, Any], filter: tuple[Condition, ...]) -> bool:
    for condition in filter:
        if condition.column not in payload:
            raise InvalidInput(f"filter: no payload column {condition.column!r}; there are {sorted(payload)}")
        value = payload[condition.column]
        try:
            if not _COMPARE[condition.operator](value, condition.value):
                return False
        except TypeError as error:
            raise InvalidInput(f"filter: {condition} does not fit a column that holds {value!r}: {error}") from error
    return True
