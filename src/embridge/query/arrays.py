"""What the cascade and the mixed search call to search, and how arrays become it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.search import Hits, search
from embridge.space import require_same

__all__ = ["Search", "hits_of", "over", "require_k"]

Search = Callable[[Embeddings, int], Hits]
"""Queries and k → the k nearest rows of each, best first, fewer where there are fewer: ``store.search``, or `over`."""


def over(gallery: Embeddings) -> Search:
    """Exact search of arrays; a gallery without rows finds nothing.

    >>> from embridge import Space
    >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
    >>> over(rows)(rows, 1).ids, over(rows.take([]))(rows, 1).ids
    ((('0',), ('1',)), ((), ()))
    """

    def find(queries: Embeddings, k: int) -> Hits:
        require_same(gallery.space, queries.space, what="the queries")
        require_k(k)
        if len(gallery):
            return search(queries, gallery, k)
        return Hits(((),) * len(queries), np.empty((len(queries), 0), np.float32))

    return find


def hits_of(ids: Sequence[tuple[str, ...]], scores: Sequence[np.ndarray]) -> Hits:
    """Lists of any lengths as hits; scores are filled up with -inf."""
    width = max(map(len, ids), default=0)
    filled = np.full((len(ids), width), -np.inf, np.float32)
    for row, values in enumerate(scores):
        filled[row, : len(values)] = values
    return Hits(tuple(ids), filled)


def require_k(k: int) -> None:
    """Raise `InvalidInput` unless at least one hit is asked for."""
    if k < 1:
        raise InvalidInput(f"search: k is at least 1, came {k}")
