"""Queries that are items of the gallery: no query may find itself."""

from __future__ import annotations

import numpy as np

from embridge.embeddings import Embeddings
from embridge.nearest import Ranking
from embridge.shapes import Int64

__all__ = ["is_one_set", "own_rows", "share_items", "without_rows"]


def is_one_set(queries: Embeddings, gallery: Embeddings) -> bool:
    """Whether every query is an item of the gallery, by id and by vector; equal ids alone may name different things."""
    if queries is gallery:
        return True
    rows = own_rows(queries, gallery)
    return bool((rows >= 0).all()) and np.array_equal(queries.vectors, gallery.vectors[rows])


def share_items(queries: Embeddings, gallery: Embeddings) -> bool:
    """Whether some query is an item of the gallery, by id and by vector; the gallery may be a sample."""
    rows = own_rows(queries, gallery)
    both = np.flatnonzero(rows >= 0)
    return bool((queries.vectors[both] == gallery.vectors[rows[both]]).all(axis=1).any())


def own_rows(queries: Embeddings, gallery: Embeddings) -> Int64[np.ndarray, " q"]:
    """Each query's own gallery row, by id; -1 where it has none."""
    row_of = {name: row for row, name in enumerate(gallery.ids)}
    return np.array([row_of.get(name, -1) for name in queries.ids], np.int64)


def without_rows(ranking: Ranking, own: Int64[np.ndarray, " q"]) -> Ranking:
    """One hit a query less: its own row where that was found, else the last."""
    q, depth = ranking.rows.shape
    dropped = ranking.rows == own[:, None]
    dropped[~dropped.any(axis=1), -1] = True
    kept = ~dropped
    return Ranking(ranking.rows[kept].reshape(q, depth - 1), ranking.scores[kept].reshape(q, depth - 1))
