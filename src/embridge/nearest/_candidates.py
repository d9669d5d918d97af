"""Candidates for the nearest neighbours, by float32 scores that are off by a bounded amount.

An engine gives somewhat more than k candidates a query, and says above which score there is no other row.
`embridge.nearest._rescore` makes the exact answer of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embridge.errors import require
from embridge.space import Metric

__all__ = ["Engine", "Proposal", "propose", "queries_at_once"]

Engine = Literal["numpy", "faiss"]
Found = tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]  # results of `_Best`, and the margin

_QUERIES_AT_ONCE = 8_192  # the more, the fewer times a gallery is read and scaled
_QUERY_ROWS = 1_024  # of one matrix product
_BLOCK_VALUES = 1 << 20  # of scores or vectors held at once: 4 MB of float32
_FAISS_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Proposal:
    """Candidates [q, wanted] and their float32 scores, in a unit of the engine's."""

    rows: np.ndarray  # -1 where there is no candidate
    values: np.ndarray
    margin: np.ndarray  # [q]: how far values may be off
    bound: np.ndarray  # [q]: no other row scores above it, in the metric's own unit


def propose(queries: np.ndarray, gallery: np.ndarray, k: int, metric: Metric, engine: Engine) -> Proposal:
    """Candidates for the k nearest of at most `queries_at_once` queries."""
    found, margin = {"numpy": _by_numpy, "faiss": _by_faiss}[engine](queries, gallery, k, metric)
    rows, values, bound = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if metric == "cosine":
        bound /= _lengths(queries)
    if metric == "l2":
        bound = 2 * bound - np.square(_lengths(queries).astype(np.float64))
    return Proposal(rows, values, margin, bound)


def queries_at_once(k: int, rows: int) -> int:
    """For how many queries candidates are held at once."""
    return min(_QUERIES_AT_ONCE, max(1, _BLOCK_VALUES // _capacity(_width(k, rows))))


def _width(k: int, rows: int) -> int:
    return min(rows, k + max(8, k // 4))  # enough that float32 leaves few queries uncertain


def _capacity(width: int) -> int:
    return width + max(width, 64)


class _Best:
    """The best rows so far of some queries: the ``wanted`` best, and arrivals that were not yet weighed against them."""

    def __init__(self, queries: int, k: int, rows: int) -> None:
        self.k, self.width, self.gallery_rows = k, _width(k, rows), rows
        self.keys = np.full((queries, _capacity(self.width)), _EMPTY, np.int64)
        self.counts = np.zeros(queries, np.int64)
        self.kth = np.full(queries, -np.inf, np.float32)  # k rows are known to score this
        self.dropped = np.full(queries, -np.inf, np.float32)  # the most that a row scores which was dropped for room

    def offer(self, scores: np.ndarray, start: int, margin: np.ndarray) -> None:
        """Take what may be among the k best from scores [q, m], off by ``margin`` [q], of rows start .. start + m - 1."""
        if not self.counts.any():
            self.foresee(scores)
        if self.took(scores, start, margin):
            return
        self.compact()
        self.foresee(scores)
        if self.took(scores, start, margin):
            return
        half = (scores.shape[1] + 1) // 2  # few enough always find room
        self.offer(np.ascontiguousarray(scores[:, :half]), start, margin)
        self.offer(np.ascontiguousarray(scores[:, half:]), start + half, margin)

    def took(self, scores: np.ndarray, start: int, margin: np.ndarray) -> bool:
        """Take it, if there is room. What is left out is surely worse than k others: the third margin covers rounding."""
        floor = np.fmax(self.dropped, self.kth - 3 * margin).astype(np.float32)
        passed = scores > floor[:, None]
        if np.count_nonzero(passed) > self.keys.size:
            return False
        above = np.flatnonzero(passed)
        query, column = np.divmod(above, scores.shape[1])
        arrivals = np.bincount(query, minlength=len(scores))
        total = self.counts + arrivals
        if np.any(total > self.keys.shape[1]):
            return False
        place = np.arange(len(above)) + np.repeat(total - np.cumsum(arrivals), arrivals)
        self.keys.reshape(-1)[query * self.keys.shape[1] + place] = _keys(scores.take(above), column + start)
        self.counts = total
        return True

    def foresee(self, scores: np.ndarray) -> None:
        """Raise ``kth`` by these scores alone: the k-th best of the maxima of groups is no better than theirs."""
        most = scores
        while most.shape[1] >= 8 * self.k:
            half = most.shape[1] // 2
            most = np.maximum(most[:, :half], most[:, half : 2 * half])
        if most is not scores:
            self.kth = np.fmax(self.kth, np.partition(most, -self.k, axis=1)[:, -self.k])

    def compact(self) -> None:
        """Drop all but the ``wanted`` best."""
        self.keys.sort(axis=1)
        self.keys[:, self.width :] = _EMPTY
        values, _ = _unpacked(self.keys[:, : self.width])
        self.kth = np.fmax(self.kth, values[:, self.k - 1])
        self.dropped = np.where(self.counts > self.width, np.fmax(self.dropped, values[:, -1]), self.dropped)
        self.counts = np.minimum(self.counts, self.width)

    def take(self, values: np.ndarray, rows: np.ndarray, *, of: int) -> None:
        """Take the best of ``of`` rows: at most ``wanted`` candidates a query, of row -1 where there is none."""
        self.compact()
        arrived = self.keys[:, self.width : self.width + rows.shape[1]]
        arrived[:] = np.where(rows < 0, _EMPTY, _keys(values, rows))
        self.counts += np.count_nonzero(rows >= 0, axis=1)
        if rows.shape[1] < of:
            self.dropped = np.fmax(self.dropped, values.min(axis=1))

    def result(self, margin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and values [q, wanted], best first, and a bound [q] on all others that may be among the k best."""
        self.compact()
        values, rows = _unpacked(self.keys[:, : self.width])
        bound = np.where(margin < np.inf, self.dropped + margin, np.inf)
        bound[self.counts == self.gallery_rows] = -np.inf  # there are no others
        return rows, values, bound


_EMPTY = np.iinfo(np.int64).max


def _keys(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whole numbers in the order of falling values, then rising rows: one array to sort, and numpy sorts numbers fast."""
    bits = np.negative(values).view(np.int32)
    rising = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # a negative number's bits fall as it rises
    return (rising.astype(np.int64) << 32) + rows


def _unpacked(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and rows of such keys; -inf and -1 where there is none."""
    rising = (keys >> 32).astype(np.int32)
    bits = np.where(rising < 0, rising ^ 0x7FFFFFFF, rising)
    empty = keys == _EMPTY
    return np.where(empty, -np.inf, -bits.view(np.float32)), np.where(empty, -1, keys & 0xFFFFFFFF)


def _by_numpy(queries: np.ndarray, gallery: np.ndarray, k: int, metric: Metric) -> Found:
    lengths, longest = _lengths(queries), 0.0
    parts = [slice(start, start + _QUERY_ROWS) for start in range(0, len(queries), _QUERY_ROWS)]
    best = [_Best(len(queries[part]), k, len(gallery)) for part in parts]
    step = max(1, _BLOCK_VALUES // max(queries[:_QUERY_ROWS].shape))
    late = metric == "cosine" and len(queries) < queries.shape[1]  # then there are fewer scores to scale than numbers
    memory = np.empty(min(len(queries), _QUERY_ROWS) * step, np.float32)
    for start in range(0, len(gallery), step):
        block = np.asarray(gallery[start : start + step])
        block_lengths = _lengths(block)
        longest = max(longest, float(block_lengths.max()))
        margin = _margin(lengths, longest, queries.shape[1], metric)
        right = block if late else _prepared(block, block_lengths, metric)
        for part, found in zip(parts, best, strict=True):
            scores = memory[: len(found.keys) * len(block)].reshape(len(found.keys), len(block))
            np.matmul(queries[part], right.T, out=scores)
            if metric == "l2":
                scores -= np.square(block_lengths) / 2
            if late:
                scores *= _scale(block_lengths)
            found.offer(scores, start, margin[part])
    return [found.result(margin[part]) for part, found in zip(parts, best, strict=True)], margin


def _by_faiss(queries: np.ndarray, gallery: np.ndarray, k: int, metric: Metric) -> Found:
    faiss = require("faiss", extra="faiss")
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    lengths, longest = _lengths(queries), 0.0
    left = np.ascontiguousarray(queries)
    best = _Best(len(queries), k, len(gallery))
    for start in range(0, len(gallery), _FAISS_ROWS):
        block = np.ascontiguousarray(gallery[start : start + _FAISS_ROWS])
        block_lengths = _lengths(block)
        longest = max(longest, float(block_lengths.max()))
        margin = _margin(lengths, longest, queries.shape[1], metric)
        width = min(best.width, len(block))
        values, rows = faiss.knn(left, _prepared(block, block_lengths, metric), width, metric=kind)
        if metric == "l2":
            values = (np.square(lengths)[:, None] - values) / 2
        best.take(values, np.where(rows < 0, -1, rows + start), of=len(block))
    return [best.result(margin)], margin


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Euclidean lengths [n]; infinity where float32 cannot be trusted with products of such numbers."""
    squares = np.einsum("nd,nd->n", vectors, vectors)
    lengths: np.ndarray = np.sqrt(squares)
    lengths[~(squares < 1e37)] = np.inf
    small = np.flatnonzero(squares < 1e-30)
    lengths[small[vectors[small].any(axis=1)]] = np.inf
    return lengths


def _prepared(block: np.ndarray, lengths: np.ndarray, metric: Metric) -> np.ndarray:
    """Gallery rows whose dot products with a query have the order of the metric, or for l2 may be given it."""
    if metric != "cosine":
        return block
    return block * _scale(lengths)[:, None]


def _scale(lengths: np.ndarray) -> np.ndarray:
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def _margin(lengths: np.ndarray, longest: float, dim: int, metric: Metric) -> np.ndarray:
    """How far a value may be off: each of d products and sums, and each scaling, rounds once."""
    lengths = lengths.astype(np.float64)
    if metric == "cosine":
        scale = lengths if longest < np.inf else np.full_like(lengths, np.inf)
    else:
        scale = np.square(lengths + longest) / 2 if metric == "l2" else lengths * longest
    return np.maximum((2 * dim + 16) * 2.0**-24 * scale, 1e-37)  # above zero, so that equal values are never left out
