"""Exact nearest neighbours in bounded memory, with ties settled by row order.

An engine proposes somewhat more than k candidates a query by float32 scores (`embridge.nearest._candidates`), and those are
settled in float64 (`embridge.nearest._rescore`). Neither block sizes nor engine change an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.nearest._candidates import Engine, propose, queries_at_once
from embridge.nearest._rescore import Scorer, settle, settle_among
from embridge.shapes import Float32, Float64, Int64
from embridge.space import Metric, require_same

__all__ = ["Engine", "Hits", "Ranking", "exact_top_k", "rerank", "search", "top_k"]

_RERANKED = 4_096  # queries at once


@dataclass(frozen=True, slots=True)
class Ranking:
    """The k best gallery rows of every query, best first.

    Attributes:
        rows: Row numbers, int64 [q, k].
        scores: Their scores, float32 [q, k].

    Examples:
        >>> Ranking(np.array([[1, 0]]), np.array([[0.9, 0.2]], np.float32)).rows.shape
        (1, 2)
    """

    rows: Int64[np.ndarray, "q k"]
    scores: Float32[np.ndarray, "q k"]


@dataclass(frozen=True, slots=True)
class Hits:
    """The k best items of every query by id, best first.

    Attributes:
        ids: ``ids[i][j]`` is the j-th best item for query i.
        scores: ``scores[i, j]`` is its score; float32 [q, k].

    Examples:
        >>> Hits((("a", "b"),), np.array([[0.9, 0.2]], np.float32)).ids[0][0]
        'a'
    """

    ids: tuple[tuple[str, ...], ...]
    scores: Float32[np.ndarray, "q k"]


def search(queries: Embeddings, gallery: Embeddings, k: int, *, engine: Engine = "numpy") -> Hits:
    """Find the k nearest gallery items of every query, exactly.

    Args:
        queries: Rows of the gallery's space.
        gallery: At least one row.
        k: How many items a query gets; more than the gallery has gives all of it.
        engine: ``numpy``, or ``faiss`` for the same answer with the extra ``faiss``.

    Returns:
        Ids and scores, best first.

    Raises:
        SpaceMismatch: Queries and gallery lie in two spaces.
        InvalidInput: The gallery is empty, or k is below 1.

    Examples:
        >>> from embridge.space import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a", "b"])
        >>> search(rows, rows, 1).ids
        (('a',), ('b',))
    """
    require_same(gallery.space, queries.space, what="the queries")
    ranking = top_k(queries.vectors, gallery.vectors, k, metric=gallery.space.metric, engine=engine)
    name = gallery.ids.__getitem__
    return Hits(tuple(tuple(map(name, row)) for row in ranking.rows.tolist()), ranking.scores)


def top_k(
    queries: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "n d"],
    k: int,
    *,
    metric: Metric = "cosine",
    engine: Engine = "numpy",
) -> Ranking:
    """Find the k nearest gallery rows of every query, exactly.

    Equal scores are ordered by row. A vector of zeros has cosine 0 with everything. Memory beyond the two arrays is some
    megabytes, and about the answer's.

    Args:
        queries: Float32 [q, d].
        gallery: Float32 [n, d]; a memory map is read in chunks.
        k: How many rows a query gets; more than n gives all.
        metric: ``cosine``, ``dot`` or ``l2``, the negative squared distance.
        engine: ``numpy``, or ``faiss``, which proposes candidates with ``faiss.IndexFlat``: same answer.

    Returns:
        Rows and scores [q, k], best first.

    Raises:
        InvalidInput: The gallery is empty, k is below 1, or the arrays are not float32 of one d.

    Examples:
        >>> top_k(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 1).rows.tolist()
        [[0], [1]]
    """
    if k < 1 or not len(gallery):
        raise InvalidInput(f"expected k >= 1 and a gallery with rows, came k={k} and {len(gallery)} rows")
    if {queries.dtype, gallery.dtype} != {np.dtype(np.float32)} or queries.shape[1:] != gallery.shape[1:]:
        arrays = f"{queries.dtype} {queries.shape} and {gallery.dtype} {gallery.shape}"
        raise InvalidInput(f"expected queries and gallery as float32 [n, d] of one d, came {arrays}")
    if metric not in get_args(Metric) or engine not in get_args(Engine):
        raise InvalidInput(f"expected one of {get_args(Metric)} and {get_args(Engine)}, came {metric!r} and {engine!r}")
    k = min(k, len(gallery))
    rows, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    with np.errstate(over="ignore"):
        for part, *found in _found(queries, gallery, k, metric, engine):
            rows[part], scores[part] = found
    return Ranking(rows, scores)


def exact_top_k(
    queries: Float32[np.ndarray, "q d"], gallery: Float32[np.ndarray, "n d"], k: int, *, metric: Metric
) -> tuple[Int64[np.ndarray, "q k"], Float64[np.ndarray, "q k"]]:
    """Find what `top_k` finds, with the float64 scores that it is ordered by: so that two answers can be put together.

    Args:
        queries: As of `top_k`.
        gallery: As of `top_k`.
        k: As of `top_k`.
        metric: As of `top_k`.

    Returns:
        Rows and scores [q, k], best first.

    Examples:
        >>> exact_top_k(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 1, metric="cosine")[1].tolist()
        [[1.0], [1.0]]
    """
    k = min(k, len(gallery))
    rows, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    for part, *found in _found(queries, gallery, k, metric, "numpy"):
        rows[part], scores[part] = found
    return rows, scores


def _found(
    queries: np.ndarray, gallery: np.ndarray, k: int, metric: Metric, engine: Engine
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Rows and float64 scores of some queries after the other."""
    step, scorer = queries_at_once(k, len(gallery)), Scorer(gallery, metric, pairs=len(queries) * k)
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # extreme lengths are noticed, and settled
            proposal = propose(queries[part], gallery, k, metric, engine)
            yield part, *settle(queries[part], proposal, k, scorer)


def rerank(
    queries: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "n d"],
    candidates: Int64[np.ndarray, "q m"],
    k: int,
    *,
    metric: Metric = "cosine",
) -> Ranking:
    """Order each query's own candidate rows, with the scores and the order that `top_k` gives them.

    Args:
        queries: Float32 [q, d].
        gallery: Float32 [n, d].
        candidates: Row numbers of the gallery, int64 [q, m].
        k: How many rows a query gets; at most m.
        metric: ``cosine``, ``dot`` or ``l2``.

    Returns:
        Rows and scores [q, k], best first.

    Examples:
        >>> points = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
        >>> rerank(points[:1], points, np.array([[2, 1]]), 1).rows.tolist()
        [[1]]
    """
    shape = len(queries), min(k, candidates.shape[1])
    rows, scores = np.empty(shape, np.int64), np.empty(shape, np.float32)
    with np.errstate(over="ignore"):
        scorer = Scorer(gallery, metric, pairs=candidates.size)
        for start in range(0, len(queries), _RERANKED):
            part = slice(start, start + _RERANKED)
            rows[part], scores[part] = settle_among(queries[part], candidates[part], k, scorer)
    return Ranking(rows, scores)
