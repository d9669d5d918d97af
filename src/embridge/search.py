"""Exact nearest neighbours in bounded memory, with ties settled by row order.

An engine *proposes* somewhat more than k candidates a query by float32 scores, and `_settle` scores those again in
float64. Float32 sums are off by a bounded amount, so a k-th score that beats all other rows by more than that is *certain*;
queries for which it does not (many ties, extreme lengths) go to `_rescan`. Neither block sizes nor engine change an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, require
from embridge.shapes import Float32, Int64
from embridge.space import Metric, require_same

__all__ = ["Engine", "Hits", "Ranking", "search", "top_k"]

Engine = Literal["numpy", "faiss"]

_QUERY_ROWS = 2_048
_BLOCK_VALUES = 1 << 20  # of scores or vectors held at once: 4 MB of float32
_PAIR_VALUES = 1 << 17  # of the vectors scored in float64 at once: they stay in the processor's cache
_FAISS_ROWS = 65_536


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
    if {queries.dtype, gallery.dtype} != {np.dtype(np.float32)} or queries.shape[1:] != gallery.shape[1:]:
        came = f"{queries.dtype} {queries.shape} and {gallery.dtype} {gallery.shape}"
        raise InvalidInput(f"expected queries and gallery as float32 [n, d] of one d, came {came}")
    if metric not in get_args(Metric) or engine not in get_args(Engine):
        raise InvalidInput(f"expected one of {get_args(Metric)} and {get_args(Engine)}, came {metric!r} and {engine!r}")
    k = min(k, len(gallery))
    wanted = min(len(gallery), k + max(8, k // 4))  # enough that float32 leaves few queries uncertain
    step = min(_QUERY_ROWS, max(1, _BLOCK_VALUES // _capacity(wanted)))
    rows, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    propose = {"numpy": _propose_numpy, "faiss": _propose_faiss}[engine]
    with np.errstate(over="ignore", invalid="ignore"):  # lengths beyond float32 are noticed, and settled in float64
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            block = np.ascontiguousarray(queries[part])
            rows[part], scores[part] = _settle(block, gallery, propose(block, gallery, wanted, metric), k, metric)
    return Ranking(rows, scores)


@dataclass(frozen=True, slots=True)
class _Proposal:
    """Candidates [q, wanted] and their float32 scores."""

    rows: np.ndarray  # -1 where there is no candidate
    values: np.ndarray
    margin: np.ndarray  # [q]: how far values may be off
    bound: np.ndarray  # [q]: no other row scores above it


class _Best:
    """The best rows so far of every query: the ``wanted`` best, and arrivals that were not yet weighed against them."""

    def __init__(self, queries: int, wanted: int) -> None:
        self.wanted = wanted
        self.values = np.full((queries, _capacity(wanted)), -np.inf, np.float32)
        self.rows = np.full(self.values.shape, -1, np.int64)
        self.held = np.zeros(queries, np.int64)
        self.floor = np.full((queries, 1), -np.inf, np.float32)  # what an arrival must exceed

    def offer(self, scores: np.ndarray, start: int) -> None:
        """Take what exceeds the floor from the scores [q, m] of rows start .. start + m - 1."""
        room = self.values.shape[1] - self.wanted  # so many fit for certain
        above = scores > self.floor
        crowded = scores.shape[1] > room and np.count_nonzero(above) > above.size // 16
        if not crowded:
            query, column = np.divmod(np.flatnonzero(above), scores.shape[1])
            arrivals = np.bincount(query, minlength=len(scores))
            crowded = bool(np.any(self.held + arrivals > self.values.shape[1]))
        if crowded:
            self.compact()
            for left in range(0, scores.shape[1], room):
                self.offer(scores[:, left : left + room], start + left)
            return
        first = np.cumsum(arrivals) - arrivals
        place = self.held[query] + np.arange(len(query)) - first[query]
        self.values[query, place] = scores[query, column]
        self.rows[query, place] = column + start
        self.held += arrivals

    def take(self, values: np.ndarray, rows: np.ndarray) -> None:
        """Take at most ``wanted`` candidates a query, of row -1 where there is none."""
        self.compact()
        arrived = slice(self.wanted, self.wanted + rows.shape[1])
        self.values[:, arrived] = np.where(rows < 0, -np.inf, values)
        self.rows[:, arrived] = rows
        self.held += rows.shape[1]

    def compact(self) -> None:
        """Drop all but the ``wanted`` best, and raise the floor to the worst of them."""
        best = np.argpartition(self.values, -self.wanted, axis=1)[:, -self.wanted :]
        for array, empty in ((self.values, -np.inf), (self.rows, -1)):
            array[:, : self.wanted] = np.take_along_axis(array, best, axis=1)
            array[:, self.wanted :] = empty
        self.held[:] = self.wanted
        self.floor = self.values[:, : self.wanted].min(axis=1, keepdims=True)

    def proposal(self, margin: np.ndarray, rows_in_all: int) -> _Proposal:
        """What is left, where float32 scores are off by at most ``margin`` [q]."""
        self.compact()
        floor, kept = self.floor[:, 0], slice(self.wanted)
        bound = np.full(len(floor), -np.inf) if self.wanted == rows_in_all else floor + margin
        bound[floor == -np.inf] = np.inf
        return _Proposal(self.rows[:, kept], self.values[:, kept], margin, bound)


def _capacity(wanted: int) -> int:
    return wanted + max(wanted, 64)


def _propose_numpy(queries: np.ndarray, gallery: np.ndarray, wanted: int, metric: Metric) -> _Proposal:
    lengths, longest = _lengths(queries), 0.0
    left = 2 * queries if metric == "l2" else _prepared(queries, lengths, metric)
    best = _Best(len(queries), wanted)
    step = max(1, _BLOCK_VALUES // max(queries.shape))
    memory = np.empty(len(queries) * step, np.float32)
    for start in range(0, len(gallery), step):
        block = np.asarray(gallery[start : start + step])
        block_lengths = _lengths(block)
        scores = memory[: len(queries) * len(block)].reshape(len(queries), len(block))
        np.matmul(left, _prepared(block, block_lengths, metric).T, out=scores)
        if metric == "l2":
            scores -= np.square(block_lengths)
        best.offer(scores, start)
        longest = max(longest, float(block_lengths.max()))
    proposal = best.proposal(_margin(lengths, longest, queries.shape[1], metric), len(gallery))
    if metric == "l2":
        proposal.bound[:] -= np.square(lengths.astype(np.float64))
    return proposal


def _propose_faiss(queries: np.ndarray, gallery: np.ndarray, wanted: int, metric: Metric) -> _Proposal:
    faiss = require("faiss", extra="faiss")
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    lengths, longest = _lengths(queries), 0.0
    left = _prepared(queries, lengths, metric)
    best = _Best(len(queries), wanted)
    for start in range(0, len(gallery), _FAISS_ROWS):
        block = np.ascontiguousarray(gallery[start : start + _FAISS_ROWS])
        block_lengths = _lengths(block)
        values, rows = faiss.knn(left, _prepared(block, block_lengths, metric), min(wanted, len(block)), metric=kind)
        best.take(-values if metric == "l2" else values, np.where(rows < 0, -1, rows + start))
        longest = max(longest, float(block_lengths.max()))
    return best.proposal(_margin(lengths, longest, queries.shape[1], metric), len(gallery))


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Euclidean lengths [n]; infinity where float32 cannot be trusted with products of such numbers."""
    squares = np.einsum("nd,nd->n", vectors, vectors)
    lengths: np.ndarray = np.sqrt(squares)
    lengths[~(squares < 1e37)] = np.inf
    small = np.flatnonzero(squares < 1e-30)
    lengths[small[vectors[small].any(axis=1)]] = np.inf
    return lengths


def _prepared(vectors: np.ndarray, lengths: np.ndarray, metric: Metric) -> np.ndarray:
    """Rows whose dot products are the metric, or for l2 may be turned into it."""
    if metric != "cosine":
        return vectors
    scale = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return vectors * scale[:, None]


def _margin(lengths: np.ndarray, longest: float, dim: int, metric: Metric) -> np.ndarray:
    """How far a float32 score may be off: each of d products and sums, and each scaling, rounds once."""
    lengths = lengths.astype(np.float64)
    scale = np.square(lengths + longest) if metric == "l2" else lengths * longest
    if metric == "cosine":
        scale = np.where(scale < np.inf, 1.0, np.inf)
    return (2 * dim + 16) * 2.0**-24 * scale


def _settle(
    queries: np.ndarray, gallery: np.ndarray, proposal: _Proposal, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """The k best candidates by float64 score, then row; uncertain queries are scanned again."""
    wide = queries.astype(np.float64)
    least = np.partition(proposal.values, -k, axis=1)[:, -k] - 2 * proposal.margin  # below it float32 is sure enough
    at, place = np.nonzero((proposal.rows >= 0) & ~(proposal.values < least[:, None]))
    exact = np.full(proposal.rows.shape, -np.inf)
    exact[at, place] = _exact(wide, gallery, at, proposal.rows[at, place], metric)
    rows, exact = _first(proposal.rows, exact, k)
    uncertain = np.flatnonzero(~(proposal.bound < exact[:, -1]))
    if len(uncertain):
        rows[uncertain], exact[uncertain] = _rescan(wide[uncertain], gallery, exact[uncertain, -1], k, metric)
    return rows, exact.astype(np.float32)


def _rescan(
    queries: np.ndarray, gallery: np.ndarray, least: np.ndarray, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """Every row that may score ``least`` [q] or more, scored pair by pair; queries are float64."""
    rows = np.full((len(queries), k), -1, np.int64)
    exact = np.full(rows.shape, -np.inf)
    step = max(1, _BLOCK_VALUES // (4 * max(queries.shape)))  # several such arrays, and of doubles
    for start in range(0, len(gallery), step):
        highest = _highest(queries, np.asarray(gallery[start : start + step]).astype(np.float64), metric)
        for i, near in enumerate(highest >= least[:, None]):
            found = np.flatnonzero(near) + start
            if len(found):
                scores = _exact(queries[i : i + 1], gallery, np.zeros_like(found), found, metric)
                best = _first(np.append(rows[i], found)[None], np.append(exact[i], scores)[None], k)
                rows[i], exact[i] = best[0][0], best[1][0]
    return rows, exact


def _highest(queries: np.ndarray, block: np.ndarray, metric: Metric) -> np.ndarray:
    """An upper bound, a rounding above the score, of each pair [q, m] in float64."""
    dots = queries @ block.T
    lengths = np.sqrt(_dots(queries, queries))[:, None], np.sqrt(_dots(block, block))
    rounding = (2 * block.shape[1] + 16) * 2.0**-52
    if metric == "l2":
        return 2 * dots - np.square(lengths[0]) - np.square(lengths[1]) + rounding * np.square(lengths[0] + lengths[1])
    scale = lengths[0] * lengths[1]
    if metric == "dot":
        return dots + rounding * scale
    return np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0) + rounding


def _first(rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of every line by score, then row."""
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _exact(queries: np.ndarray, gallery: np.ndarray, at: np.ndarray, rows: np.ndarray, metric: Metric) -> np.ndarray:
    """Float64 scores of the pairs (queries[at[i]], gallery[rows[i]]); each depends on its two vectors alone."""
    scores = np.empty(len(rows), np.float64)
    squares = _dots(queries, queries)
    step = max(1, _PAIR_VALUES // max(1, queries.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        x, y = queries[at[part]], gallery[rows[part]].astype(np.float64)
        if metric == "l2":
            scores[part] = -_dots(y - x, y - x)
            continue
        scores[part] = _dots(x, y)
        if metric == "cosine":
            norms = np.sqrt(squares[at[part]] * _dots(y, y))
            scores[part] = np.divide(scores[part], norms, out=np.zeros(len(norms)), where=norms > 0)
    return scores


def _dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Row-wise dot products; in slices, since einsum splits longer sums at places that depend on the other rows."""
    width = 4_096
    parts = (slice(start, start + width) for start in range(0, x.shape[1], width))
    return sum((np.einsum("nd,nd->n", x[:, p], y[:, p]) for p in parts), start=np.zeros(len(x), x.dtype))
