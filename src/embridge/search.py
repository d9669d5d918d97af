"""Exact nearest neighbours in bounded memory, with ties settled by row order.

Scores are computed block by block in float32; what may belong to the answer is scored again in float64, pair by pair,
so the order of the answer depends neither on block sizes nor on the engine that proposed the candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, require
from embridge.shapes import Float32, Int64
from embridge.space import Metric, require_same

__all__ = ["Engine", "Hits", "Ranking", "search", "top_k"]

Engine = Literal["numpy", "faiss"]

_QUERY_ROWS = 256
_GALLERY_ROWS = 2_048
_TILE = 64  # blocks are padded to whole tiles, so that BLAS sums every score in the same order: equal rows, equal bits


@dataclass(frozen=True, slots=True)
class Ranking:
    """The k best gallery rows of every query, best first: ``rows`` [q, k] and their ``scores`` [q, k]."""

    rows: Int64[np.ndarray, "q k"]
    scores: Float32[np.ndarray, "q k"]


@dataclass(frozen=True, slots=True)
class Hits:
    """The same by name: ``ids[i][j]`` is the j-th best item for query i, ``scores[i, j]`` its score."""

    ids: tuple[tuple[str, ...], ...]
    scores: Float32[np.ndarray, "q k"]


def search(queries: Embeddings, gallery: Embeddings, k: int, *, engine: Engine = "numpy") -> Hits:
    """The k nearest gallery items of every query; both must lie in one space.

    k larger than the gallery gives the whole gallery. Raises `SpaceMismatch`, and `InvalidInput` for an empty gallery.
    """
    require_same(gallery.space, queries.space, what="the queries")
    ranking = top_k(queries.vectors, gallery.vectors, k, metric=gallery.space.metric, engine=engine)
    return Hits(tuple(tuple(gallery.ids[j] for j in row) for row in ranking.rows), ranking.scores)


def top_k(
    queries: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "n d"],
    k: int,
    *,
    metric: Metric = "cosine",
    engine: Engine = "numpy",
) -> Ranking:
    """The k best rows of ``gallery`` for every query: cosine, dot product or negative squared distance.

    Equal scores are ordered by row. A vector of zeros has cosine 0 with everything. Memory beyond the two arrays is a
    few megabytes, and the answer. ``engine="faiss"`` proposes candidates with ``faiss.IndexFlat``: same answer.

    >>> top_k(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 1).rows.tolist()
    [[0], [1]]
    """
    if k < 1 or not len(gallery):
        raise InvalidInput(f"expected k >= 1 and a gallery with rows, came k={k} and {len(gallery)} rows")
    if queries.shape[1] != gallery.shape[1]:
        raise InvalidInput(f"queries are {queries.shape[1]}-d and the gallery is {gallery.shape[1]}-d")
    k = min(k, len(gallery))
    wanted = min(len(gallery), k + max(16, k // 4))  # float32 may misplace near-ties by a few ranks
    propose = {"numpy": _propose_numpy, "faiss": _propose_faiss}[engine]
    parts = [
        _settle(
            queries[i : i + _QUERY_ROWS],
            gallery,
            propose(queries[i : i + _QUERY_ROWS], gallery, wanted, metric),
            k,
            metric,
        )
        for i in range(0, len(queries), _QUERY_ROWS)
    ]
    if not parts:
        return Ranking(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    return Ranking(np.concatenate([p.rows for p in parts]), np.concatenate([p.scores for p in parts]))


def _propose_numpy(queries: np.ndarray, gallery: np.ndarray, wanted: int, metric: Metric) -> np.ndarray:
    """The ``wanted`` best rows of each query by float32 score; equal scores keep the lower rows."""
    left = _pad(_prepared(queries, metric))
    q = len(queries)
    scores = np.full((q, wanted), -np.inf, np.float32)
    rows = np.full((q, wanted), -1, np.int64)
    for start in range(0, len(gallery), _GALLERY_ROWS):
        block = np.asarray(gallery[start : start + _GALLERY_ROWS])
        new = (left @ _pad(_prepared(block, metric)).T)[:q, : len(block)]
        if metric == "l2":
            new = 2 * new - np.einsum("nd,nd->n", block, block)
        _keep_best(scores, rows, new, start)
    return rows


def _keep_best(scores: np.ndarray, rows: np.ndarray, new: np.ndarray, start: int) -> None:
    """Merge a block of scores into the best so far, in place; only entries above the worst kept are touched."""
    wanted = scores.shape[1]
    at_query, at_row = np.nonzero(new > scores[:, -1:])
    if not len(at_query):
        return
    bounds = np.searchsorted(at_query, np.arange(len(scores) + 1))
    values = new[at_query, at_row]
    for q in np.flatnonzero(np.diff(bounds)):
        part = slice(bounds[q], bounds[q + 1])
        merged = np.concatenate([scores[q], values[part]])
        order = np.argsort(-merged, kind="stable")[:wanted]
        rows[q] = np.concatenate([rows[q], at_row[part] + start])[order]
        scores[q] = merged[order]


def _propose_faiss(queries: np.ndarray, gallery: np.ndarray, wanted: int, metric: Metric) -> np.ndarray:
    faiss = require("faiss", extra="faiss")
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    _, rows = faiss.knn(_prepared(queries, metric), _prepared(np.asarray(gallery), metric), wanted, metric=kind)
    return np.asarray(rows, np.int64)


def _settle(queries: np.ndarray, gallery: np.ndarray, rows: np.ndarray, k: int, metric: Metric) -> Ranking:
    """Score the candidates again in float64 and order them by score, then row."""
    exact = np.empty(rows.shape, np.float64)
    for i, query in enumerate(queries):
        exact[i] = _exact_scores(query.astype(np.float64), gallery[rows[i]].astype(np.float64), metric)
    order = np.lexsort((rows, -exact), axis=1)[:, :k]
    best = np.take_along_axis(exact, order, axis=1).astype(np.float32)
    return Ranking(np.take_along_axis(rows, order, axis=1), best)


def _exact_scores(query: np.ndarray, rows: np.ndarray, metric: Metric) -> np.ndarray:
    if metric == "l2":
        return -np.einsum("nd,nd->n", rows - query, rows - query)
    dots = np.einsum("nd,d->n", rows, query)
    if metric == "dot":
        return dots
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows) * (query @ query))
    return np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)


def _prepared(vectors: np.ndarray, metric: Metric) -> np.ndarray:
    """Rows whose dot products rank as the metric does (up to a term of each row for l2)."""
    vectors = np.ascontiguousarray(vectors)
    if metric != "cosine":
        return vectors
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return vectors / np.where(norms > 0, norms, 1)[:, None]


def _pad(block: np.ndarray) -> np.ndarray:
    short = -len(block) % _TILE
    return np.pad(block, ((0, short), (0, 0))) if short else block
