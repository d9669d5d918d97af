"""Queries that are items of the gallery: no query may find itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from embridge.embeddings import Embeddings
from embridge.evaluation._parted import fetched
from embridge.nearest import Ranking
from embridge.shapes import Bool, Int64

__all__ = ["OwnItems", "is_one_set", "own_rows", "settle_own", "share_items", "without_rows"]

OwnItems = Literal["decide", "leave_out", "keep"]


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
    return bool((rows >= 0).all()) and np.array_equal(queries.vectors, fetched(gallery, rows))


def settle_own(
    sides: Sequence[tuple[Embeddings, Embeddings]], rule: OwnItems, named: Bool[np.ndarray, " q"]
) -> tuple[Int64[np.ndarray, " q"] | None, str]:
    """Settle which queries are items of the gallery, and may not find themselves.

    ``decide`` goes by the vectors of the queries whose id the gallery has. Where at least half of them, by one of the
    models, are those of the gallery, these queries are items of it. Equal ids with other vectors may be two things: a text
    and a photo that are numbered alike, or one text by two prompts.

    Args:
        sides: Queries and gallery by each model; the same ids.
        rule: ``leave_out`` takes equal ids for one item, ``keep`` for two.
        named: Whether the item of a query's own id is right for it [q].

    Returns:
        Each query's own row [q], -1 where it has none, or None where no query has one; and a caution, or nothing.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3), ["a", "b", "c"])
        >>> own, caution = settle_own([(rows, rows.take([1, 2]))], "decide", np.zeros(3, bool))
        >>> own.tolist(), caution[:26]
        ([-1, 0, 1], '2 of 3 queries are items o')
    """
    queries, gallery = sides[0]
    rows = own_rows(queries, gallery)
    both = np.flatnonzero(rows >= 0)
    if rule == "keep" or not len(both):
        return None, ""
    if rule == "leave_out":
        return rows, ""
    if 2 * named[both].sum() > len(both):
        return None, ""
    same = max(float((fetched(q, both) == fetched(g, rows[both])).all(axis=1).mean()) for q, g in sides)
    first = f"{len(both):,} of {len(queries):,} queries"
    if same >= 0.5:
        whole = len(both) == len(queries) and same == 1
        return rows, "" if whole else (
            f"{first} are items of the gallery by id and vector, such as {queries.ids[both[0]]!r}, and do not find "
            "themselves; own_items says whether that is meant: leave_out, or keep"
        )
    if all(side.ids == tuple(map(str, range(len(side)))) for side in (queries, gallery)):
        return None, ""  # row numbers, which say nothing
    return None, (
        f"{first} have the id of an item of the gallery and another vector, such as {queries.ids[both[0]]!r}; if they are "
        "one item no query should find itself: own_items says which, leave_out or keep"
    )


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
    return bool((fetched(queries, both) == fetched(gallery, rows[both])).all(axis=1).any())


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
