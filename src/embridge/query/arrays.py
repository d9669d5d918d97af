"""What the cascade and the mixed search call to search, and how arrays become it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.nearest import Hits, search
from embridge.space import require_same

__all__ = ["Over", "Search", "hits_of", "over", "require_k"]

Search = Callable[[Embeddings, int], Hits]
"""Queries and k → the k nearest rows of each, best first, fewer where there are fewer: ``store.search``, or `over`."""


@dataclass(frozen=True, slots=True, eq=False)
class Over:
    """Exact search of a gallery held as an array: what `over` returns.

    Attributes:
        gallery: Embeddings [n].

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> Over(rows).without({"0"})(rows, 1).ids
        (('1',), ('1',))
    """

    gallery: Embeddings

    def __call__(self, queries: Embeddings, k: int) -> Hits:
        require_same(self.gallery.space, queries.space, what="the queries")
        require_k(k)
        if len(self.gallery):
            return search(queries, self.gallery, k)
        return Hits(((),) * len(queries), np.empty((len(queries), 0), np.float32))

    def without(self, names: Collection[str]) -> Over:
        """The same without the rows of these ids; what is left is copied."""
        return Over(self.gallery.take([row for row, name in enumerate(self.gallery.ids) if name not in names]))


def over(gallery: Embeddings) -> Over:
    """Search a gallery held as an array, exactly.

    Args:
        gallery: Embeddings [n]; one without rows finds nothing.

    Returns:
        A search, to call with queries and k.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> over(rows)(rows, 1).ids, over(rows.take([]))(rows, 1).ids
        ((('0',), ('1',)), ((), ()))
    """
    return Over(gallery)


def hits_of(ids: Sequence[tuple[str, ...]], scores: Sequence[Sequence[float] | np.ndarray]) -> Hits:
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
