"""Queries that are items of the gallery: no query may find itself."""

from __future__ import annotations

import numpy as np

from embridge.embeddings import Embeddings
from embridge.nearest import Ranking
from embridge.shapes import Int64

__all__ = ["is_one_set", "own_rows", "share_items", "without_rows"]


def is_one_set(queries: Embeddings, gallery: Embeddings) -> bool:
    """Tell whether every query is an item of the gallery, by id and by vector; equal ids alone may name different things.

    Args:
        queries: Embeddings [q].
        gallery: Embeddings [n].

    Returns:
        True where no query may find itself.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> is_one_set(rows.take([1]), rows)
        True
    """
    if queries is gallery:
        return True
    rows = own_rows(queries, gallery)
    return bool((rows >= 0).all()) and np.array_equal(queries.vectors, gallery.vectors[rows])


def share_items(queries: Embeddings, gallery: Embeddings) -> bool:
    """Tell whether some query is an item of the gallery, by id and by vector; the gallery may be a sample.

    Args:
        queries: Embeddings [q].
        gallery: Embeddings [n].

    Returns:
        True where some query could find itself.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> share_items(rows, rows.take([0])), share_items(rows.take([1]), rows.take([0]))
        (True, False)
    """
    rows = own_rows(queries, gallery)
    both = np.flatnonzero(rows >= 0)
    return bool((queries.vectors[both] == gallery.vectors[rows[both]]).all(axis=1).any())


def own_rows(queries: Embeddings, gallery: Embeddings) -> Int64[np.ndarray, " q"]:
    """Find each query's own gallery row, by id.

    Args:
        queries: Embeddings [q].
        gallery: Embeddings [n].

    Returns:
        Rows [q]; -1 where a query has none.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> own_rows(rows, rows.take([1])).tolist()
        [-1, 0]
    """
    row_of = {name: row for row, name in enumerate(gallery.ids)}
    return np.array([row_of.get(name, -1) for name in queries.ids], np.int64)


def without_rows(ranking: Ranking, own: Int64[np.ndarray, " q"]) -> Ranking:
    """Drop one hit a query: its own row where that was found, else the last.

    Args:
        ranking: Rows and scores [q, k].
        own: Each query's own row [q].

    Returns:
        Rows and scores [q, k - 1].

    Examples:
        >>> ranking = Ranking(np.array([[4, 7], [4, 7]]), np.zeros((2, 2), np.float32))
        >>> without_rows(ranking, np.array([4, 5])).rows.tolist()
        [[7], [4]]
    """
    q, depth = ranking.rows.shape
    dropped = ranking.rows == own[:, None]
    dropped[~dropped.any(axis=1), -1] = True
    kept = ~dropped
    return Ranking(ranking.rows[kept].reshape(q, depth - 1), ranking.scores[kept].reshape(q, depth - 1))
