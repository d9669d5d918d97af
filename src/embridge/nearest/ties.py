"""Equal scores: which neighbours of a ranking have one, and what else in the gallery has it.

Scores are computed pair by pair in float64, as `embridge.nearest` ranks by, so that equal vectors have equal scores wherever
they stand. Scores that differ by no more than float64 rounds off are equal here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embridge.nearest._parts import Parts, scores_of
from embridge.nearest._rescore import Scorer, estimates, scores_among
from embridge.shapes import Float32, Float64, Int64
from embridge.space import Metric

__all__ = ["pair_scores", "rows_of_score", "tie_keys"]

_BLOCK_VALUES = 1 << 18  # of vectors in float64 held at once: 2 MB
_PAIR_VALUES = 1 << 17
_QUERIES = 256
_BITS = 40  # of a score that count; rounding moves the last of 53 or so


def tie_keys(scores: Float64[np.ndarray, "*n"], metric: Metric) -> Float64[np.ndarray, "*n"]:
    """Round scores so far that equal ones are the same number, in the same order.

    Args:
        scores: Float64 scores.
        metric: ``cosine``, which is rounded to 2^-40; of others, whose scale is open, 40 bits count.

    Returns:
        The rounded scores.

    Examples:
        >>> tie_keys(np.array([0.5, 0.5 + 2e-16, 0.6]), "cosine").tolist()[:2]
        [0.5, 0.5]
    """
    if metric == "cosine":
        return np.ldexp(np.rint(np.ldexp(scores, _BITS)), -_BITS)
    fraction, exponent = np.frexp(scores)
    return np.ldexp(np.rint(np.ldexp(fraction, _BITS)), exponent - _BITS)


def pair_scores(
    queries: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "n d"] | Parts,
    rows: Int64[np.ndarray, "q m"],
    *,
    metric: Metric,
) -> Float64[np.ndarray, "q m"]:
    """Score some gallery rows for each query, in float64.

    Args:
        queries: Float32 [q, d].
        gallery: Float32 [n, d], or its parts.
        rows: Row numbers of each query's own [q, m].
        metric: ``cosine``, ``dot`` or ``l2``.

    Returns:
        Scores [q, m].

    Examples:
        >>> points = np.eye(2, dtype=np.float32)
        >>> pair_scores(points, points, np.array([[0, 1], [0, 1]]), metric="dot").tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if isinstance(gallery, Parts):
        return scores_of(queries, gallery, rows, metric=metric)
    with np.errstate(over="ignore"):
        return scores_among(queries, rows, Scorer(gallery, metric, pairs=rows.size))


def rows_of_score(
    queries: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "n d"],
    keys: Float64[np.ndarray, " q"],
    *,
    metric: Metric,
) -> Iterator[tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]]]:
    """Find every gallery row that scores the same as one of a query's hits.

    Args:
        queries: Float32 [q, d].
        gallery: Float32 [n, d].
        keys: The score of each query, by `tie_keys` [q].
        metric: ``cosine``, ``dot`` or ``l2``.

    Yields:
        Numbers of queries and rows, pair by pair, a block of the gallery at a time.

    Examples:
        >>> points = np.array([[1, 0], [0, 1], [2, 0]], np.float32)
        >>> [rows.tolist() for _, rows in rows_of_score(points[:1], points, np.ones(1), metric="cosine")]
        [[0, 2]]
    """
    scorer = Scorer(gallery, metric, pairs=0)
    few = max(1, _PAIR_VALUES // max(1, queries.shape[1]))
    for first in range(0, len(queries), _QUERIES):
        wide = queries[first : first + _QUERIES].astype(np.float64, order="C")
        wanted = keys[first : first + _QUERIES]
        squares = np.einsum("qd,qd->q", wide, wide)
        step = max(1, _BLOCK_VALUES // max(wide.shape))
        for start in range(0, len(gallery), step):
            with np.errstate(over="ignore", invalid="ignore"):
                scores, off = estimates(wide, gallery[start : start + step].astype(np.float64), metric)
                slack = 2 * off + np.ldexp(1 + np.abs(wanted), 1 - _BITS)[:, None]
                query, row = np.nonzero(~(np.abs(scores - wanted[:, None]) > slack))
            row += start
            found = [
                tie_keys(scorer.score(wide[q], squares[q], r), metric) == wanted[q]
                for q, r in ((query[i : i + few], row[i : i + few]) for i in range(0, len(row), few))
            ]
            if found:
                same = np.concatenate(found)
                yield query[same] + first, row[same]
