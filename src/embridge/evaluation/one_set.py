"""Queries that are the gallery: no query may find itself."""

from __future__ import annotations

import numpy as np

from embridge.embeddings import Embeddings
from embridge.search import Ranking
from embridge.shapes import Int64

__all__ = ["is_one_set", "without_rows"]


def is_one_set(queries: Embeddings, gallery: Embeddings) -> bool:
    """Whether both hold the same items, by id and by vector; equal ids alone may name different things."""
    if queries is gallery:
        return True
    return queries.ids == gallery.ids and np.array_equal(queries.vectors, gallery.vectors)


def without_rows(ranking: Ranking, own: Int64[np.ndarray, " q"]) -> Ranking:
    """One hit a query less: its own row where that was found, else the last."""
    q, depth = ranking.rows.shape
    dropped = ranking.rows == own[:, None]
    dropped[~dropped.any(axis=1), -1] = True
    kept = ~dropped
    return Ranking(ranking.rows[kept].reshape(q, depth - 1), ranking.scores[kept].reshape(q, depth - 1))
