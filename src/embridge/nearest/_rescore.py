"""The exact answer, from an engine's candidates: float64 scores, ties by row order.

Candidates whose float32 score is within reach of the k-th best are scored again in float64. A k-th score that beats all
rows that are no candidates is *certain*; queries whose k-th does not (many ties, extreme lengths) are scanned again.
"""

from __future__ import annotations

import numpy as np

from embridge.nearest._candidates import Proposal
from embridge.space import Metric

__all__ = ["Scorer", "estimates", "pair_by_pair", "scores_among", "settle", "settle_among"]

_BLOCK_VALUES = 1 << 18  # of vectors in float64 held at once: 2 MB
_RESCANNED = 256  # queries at once; few leave room for more rows of the gallery
_PAIR_VALUES = 1 << 17  # of the vectors scored in float64 at once: they stay in the processor's cache


class Scorer:
    """Float64 scores of pairs of one gallery; each depends on its two vectors alone.

    Where many pairs are to be scored, the gallery's squared lengths are computed once.
    """

    def __init__(self, gallery: np.ndarray, metric: Metric, *, pairs: int) -> None:
        self.gallery, self.metric = np.asarray(gallery), metric
        self.squares = None
        if metric == "cosine" and pairs >= len(gallery):  # no larger than the answer, then
            self.squares = np.empty(len(gallery), np.float64)
            step = max(1, _PAIR_VALUES // max(1, gallery.shape[1]))
            for start in range(0, len(gallery), step):
                block = _wide(self.gallery[start : start + step])
                self.squares[start : start + step] = _dots(block, block)

    def score(self, x: np.ndarray, squares: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The scores of (x[i], gallery[rows[i]]) for a few float64 queries of the given squared lengths."""
        y = _wide(self.gallery.take(rows, axis=0))
        if self.metric == "l2":
            np.subtract(y, x, out=y)
            return -_dots(y, y)
        dots = _dots(x, y)
        if self.metric == "dot":
            return dots
        norms = np.sqrt(squares * (_dots(y, y) if self.squares is None else self.squares[rows]))
        return np.divide(dots, norms, out=np.zeros(len(norms)), where=norms > 0)


def settle(queries: np.ndarray, proposal: Proposal, k: int, scorer: Scorer) -> tuple[np.ndarray, np.ndarray]:
    """The k best candidates by float64 score, then row; uncertain queries are scanned again."""
    least = proposal.values[:, k - 1] - 2 * proposal.margin  # below it float32 is sure enough
    near = (proposal.rows >= 0) & ~(proposal.values < least[:, None])
    exact = np.full(proposal.rows.shape, -np.inf)
    step = max(1, _PAIR_VALUES // max(1, queries.shape[1]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        exact[part] = _near_scores(_wide(queries[part]), proposal.rows[part], near[part], scorer)
    rows, exact = _first(proposal.rows, exact, k)
    uncertain = np.flatnonzero(~(proposal.bound < exact[:, -1]))
    for start in range(0, len(uncertain), _RESCANNED):
        some = uncertain[start : start + _RESCANNED]
        rows[some], exact[some] = _rescan(_wide(queries[some]), exact[some, -1], k, scorer)
    return rows, exact


def settle_among(queries: np.ndarray, rows: np.ndarray, k: int, scorer: Scorer) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each query's own ``rows`` [q, m], whatever other rows score."""
    rows, exact = _first(rows, scores_among(queries, rows, scorer), k)
    return rows, exact.astype(np.float32)


def scores_among(queries: np.ndarray, rows: np.ndarray, scorer: Scorer) -> np.ndarray:
    """The float64 scores [q, m] of each query's own ``rows`` [q, m]."""
    exact = np.empty(rows.shape)
    step = max(1, _PAIR_VALUES // max(1, queries.shape[1]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        exact[part] = _near_scores(_wide(queries[part]), rows[part], np.ones(rows[part].shape, bool), scorer)
    return exact


def pair_by_pair(queries: np.ndarray, asks: np.ndarray, rows: np.ndarray, scorer: Scorer) -> np.ndarray:
    """The float64 scores [p] of the pairs (queries[asks[i]], rows[i])."""
    scores = np.empty(len(rows))
    step = max(1, _PAIR_VALUES // max(1, queries.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        wide = _wide(queries[asks[part]])
        scores[part] = scorer.score(wide, _dots(wide, wide), rows[part])
    return scores


def _near_scores(queries: np.ndarray, rows: np.ndarray, near: np.ndarray, scorer: Scorer) -> np.ndarray:
    """Scores [q, wanted] of the candidates that are near, and -inf; by columns, since most queries are in the first k."""
    scores = np.full(rows.shape, -np.inf)
    squares = _dots(queries, queries)
    for column in np.flatnonzero(near.any(axis=0)):
        if near[:, column].all():
            scores[:, column] = scorer.score(queries, squares, rows[:, column])
        else:
            some = np.flatnonzero(near[:, column])
            scores[some, column] = scorer.score(queries[some], squares[some], rows[some, column])
    return scores


def _rescan(queries: np.ndarray, least: np.ndarray, k: int, scorer: Scorer) -> tuple[np.ndarray, np.ndarray]:
    """Every row that may score ``least`` [q] or more, scored pair by pair; queries are float64."""
    gallery, metric = scorer.gallery, scorer.metric
    rows = np.full((len(queries), k), -1, np.int64)
    exact = np.full(rows.shape, -np.inf)
    step = max(1, _BLOCK_VALUES // max(queries.shape))
    few = max(1, _PAIR_VALUES // max(1, queries.shape[1]))
    squares = _dots(queries, queries)
    for start in range(0, len(gallery), step):
        scores, off = estimates(queries, _wide(gallery[start : start + step]), metric)
        for i, near in enumerate(scores + off >= least[:, None]):
            found = np.flatnonzero(near) + start
            if len(found):
                parts = [found[j : j + few] for j in range(0, len(found), few)]
                pairs = [np.full(len(part), i) for part in parts]
                settled = [scorer.score(queries[at], squares[at], r) for at, r in zip(pairs, parts, strict=True)]
                best = _first(np.concatenate([rows[i], found])[None], np.concatenate([exact[i], *settled])[None], k)
                rows[i], exact[i] = best[0][0], best[1][0]
    return rows, exact


def estimates(queries: np.ndarray, block: np.ndarray, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """The score of each pair [q, m] of float64 vectors by a matrix product, and how far it may be off."""
    dots = queries @ block.T
    lengths = np.sqrt(_dots(queries, queries))[:, None], np.sqrt(_dots(block, block))
    rounding = (2 * block.shape[1] + 16) * 2.0**-52
    if metric == "l2":
        scores = 2 * dots - np.square(lengths[0]) - np.square(lengths[1])
        return scores, rounding * np.square(lengths[0] + lengths[1])
    scale = lengths[0] * lengths[1]
    if metric == "dot":
        return dots, rounding * scale
    return np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0), np.array(rounding)


def _first(rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of every line by score, then row."""
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _wide(vectors: np.ndarray) -> np.ndarray:
    """In float64, and row by row in memory: the order of a sum's terms follows the layout."""
    return vectors.astype(np.float64, order="C")


def _dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Row-wise dot products; in slices, since einsum splits longer sums at places that depend on the other rows."""
    width = 4_096
    parts = (slice(start, start + width) for start in range(0, x.shape[1], width))
    return sum((np.einsum("nd,nd->n", x[:, p], y[:, p]) for p in parts), start=np.zeros(len(x), x.dtype))
