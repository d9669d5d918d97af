"""Ties: hits of one score stand in no order, and every figure is its expectation over all orders of them.

A ranking has to put equal scores in some order, and `embridge.nearest` goes by the row. A metric that took this order for
the model's would reward whoever stands first in a file: a model that gives one vector to everything would find all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from embridge.evaluation._equal_rows import Equal, EqualRows
from embridge.evaluation.judged import Judged
from embridge.nearest import Ranking
from embridge.nearest._parts import Parts, over
from embridge.nearest.ties import pair_scores, tie_keys
from embridge.shapes import Float32, Float64, Int64
from embridge.space import Metric

__all__ = ["Searched", "Ties", "dense", "find_ties", "merged_ties", "runs_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """The hits of some queries, among them equal ones; a query without any is not here.

    Attributes:
        queries: Which queries [t].
        before: How many hits of the same score stand before each hit [t, depth].
        size: How many rows of the gallery have its score, shown or not [t, depth].
        relevant: How many of these are relevant [t, depth].
        gain: Their mean gain [t, depth].
        power: Their mean of 2^gain − 1 [t, depth].

    Examples:
        >>> ones, half = np.ones((1, 2), np.int64), np.full((1, 2), 0.5)
        >>> Ties(np.array([3]), np.array([[0, 1]]), 2 * ones, ones, half, half).cut(1).before.tolist()
        [[0]]
    """

    queries: Int64[np.ndarray, " t"]
    before: Int64[np.ndarray, "t depth"]
    size: Int64[np.ndarray, "t depth"]
    relevant: Int64[np.ndarray, "t depth"]
    gain: Float64[np.ndarray, "t depth"]
    power: Float64[np.ndarray, "t depth"]

    def cut(self, depth: int) -> Ties:
        """The first hits alone."""
        return self.each(lambda values: values[:, :depth])

    def arranged(self, places: Int64[np.ndarray, "q m"]) -> Ties:
        """The hits at those places of each query, in that order."""
        return self.each(lambda values: np.take_along_axis(values, places[self.queries], axis=1))

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> Ties:
        """The same change of every array but the numbers of the queries."""
        return replace(self, **{name: change(getattr(self, name)) for name in _ARRAYS})

    def arrays(self) -> tuple[np.ndarray, ...]:
        """All arrays but the numbers of the queries, in their order."""
        return tuple(getattr(self, name) for name in _ARRAYS)


_ARRAYS = tuple(field.name for field in fields(Ties) if field.name != "queries")


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """What a search is judged by.

    Attributes:
        judged: What is right for each query, by the rows of the whole gallery.
        own: Each query's own row, which it may not find [q], -1 where it has none; None where no query has one.
        rows: Which rows of the gallery were searched [n]; all where None.

    Examples:
        >>> from embridge.evaluation import Relevance
        >>> Searched(Relevance.from_pairs([("q", "a")]).judge(["q"], ["a", "b"])).own is None
        True
    """

    judged: Judged
    own: Int64[np.ndarray, " q"] | None = None
    rows: Int64[np.ndarray, " n"] | None = None

    def whole(self, rows: np.ndarray) -> np.ndarray:
        """Rows of what was searched, as rows of the whole gallery."""
        return rows if self.rows is None else self.rows[rows]

    def is_own(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether each row of the whole gallery is the query's own."""
        if self.own is None:
            return np.zeros(np.broadcast_shapes(queries.shape, rows.shape), bool)
        return self.own[queries] == rows


def find_ties(
    queries: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "n d"] | Parts,
    ranking: Ranking,
    searched: Searched,
    *,
    metric: Metric,
    beside: Int64[np.ndarray, "q k"] | None = None,
) -> Ties | None:
    """Find equal scores among the hits of a search, and count the rows of the gallery that have them too.

    Rows beyond the last hit are counted where the last two are equal: search one deeper than is needed. A query's own row
    counts for nothing.

    Args:
        queries: Float32 [q, d].
        gallery: What was searched, float32 [n, d], or its parts.
        ranking: The hits of `top_k`.
        searched: What they are judged by.
        metric: ``cosine``, ``dot`` or ``l2``.
        beside: Something else that orders equal hits, the same number for those that it leaves equal [q, k]. Then the hits
            are all that were searched.

    Returns:
        The ties; None where there are none.

    Examples:
        >>> from embridge.evaluation import Relevance
        >>> from embridge.nearest import top_k
        >>> judged = Relevance.from_pairs([("q", "2")]).judge(["q"], ["0", "1", "2"])
        >>> points = np.ones((3, 2), np.float32)
        >>> ties = find_ties(points[:1], points, top_k(points[:1], points, 2), Searched(judged), metric="cosine")
        >>> ties.size.tolist(), ties.relevant.tolist()
        ([[3, 3]], [[1, 1]])
    """
    near = np.flatnonzero((ranking.scores[:, 1:] == ranking.scores[:, :-1]).any(axis=1))
    if not len(near):
        return None
    keys = tie_keys(pair_scores(queries[near], gallery, ranking.rows[near], metric=metric), metric)
    same = keys[:, 1:] == keys[:, :-1]
    if beside is not None:
        same &= beside[near, 1:] == beside[near, :-1]
    tied = np.flatnonzero(same.any(axis=1))
    if not len(tied):
        return None
    asked, keys, same = near[tied], keys[tied], same[tied]
    runs = np.cumsum(np.pad(~same, ((0, 0), (1, 0))), axis=1)
    counts = _Counts(searched, runs.shape)
    counts.add(np.arange(len(asked))[:, None], runs, asked[:, None], searched.whole(ranking.rows[asked]))
    all_there = beside is not None or runs.shape[1] == len(gallery)
    further = np.flatnonzero(same[:, -1] & (not all_there))
    if len(further):
        counts.forget(further, runs[further, -1])
        equal = EqualRows(queries[asked[further]], keys[further, -1], asked[further], searched, metric)
        counts.add_all(further, runs[further, -1], asked[further], over(gallery, equal))
    return counts.ties(asked, runs, ~searched.is_own(asked[:, None], searched.whole(ranking.rows[asked])))


def runs_of(ties: Ties | None, queries: int, depth: int) -> Int64[np.ndarray, "q depth"]:
    """Number the hits of every query, equal ones alike.

    Args:
        ties: Which are equal.
        queries: How many there are.
        depth: How many hits each has.

    Returns:
        Whole numbers [q, depth], rising.

    Examples:
        >>> runs_of(None, 1, 3).tolist()
        [[0, 1, 2]]
    """
    runs = np.tile(np.arange(depth), (queries, 1))
    if ties is not None:
        runs[ties.queries] -= ties.before[:, :depth]
    return runs


def merged_ties(
    parts: Sequence[tuple[Int64[np.ndarray, "q _"], Ties | None]], places: Int64[np.ndarray, "q depth"], judged: Judged
) -> Ties | None:
    """Arrange the ties of several lists of hits as the hits were merged; hits of two lists are not equal.

    Args:
        parts: Rows of the whole gallery and ties of each list.
        places: Places in all lists, one after the other.
        judged: What is right for each query.

    Returns:
        The ties of the merged hits; None where no list has any.

    Examples:
        >>> from embridge.evaluation import Relevance
        >>> judged = Relevance.from_pairs([("q", "a")]).judge(["q"], ["a", "b"])
        >>> merged_ties([(np.array([[0]]), None), (np.array([[1]]), None)], np.array([[1, 0]]), judged) is None
        True
    """
    found = [ties.queries for _, ties in parts if ties is not None]
    if not found:
        return None
    queries = np.unique(np.concatenate(found))
    lists = [dense(rows, ties, queries, judged).arrays() for rows, ties in parts]
    merged = (np.concatenate(arrays, axis=1) for arrays in zip(*lists, strict=True))
    return Ties(queries, *(np.take_along_axis(array, places[queries], axis=1) for array in merged))


def dense(rows: Int64[np.ndarray, "q k"], ties: Ties | None, queries: Int64[np.ndarray, " t"], judged: Judged) -> Ties:
    """Describe the hits of some queries, whether some are equal or not.

    Args:
        rows: The hits, rows of the whole gallery.
        ties: Which are equal; of no other queries.
        queries: Whose hits, ascending.
        judged: What is right for each query.

    Returns:
        The hits of these queries.

    Examples:
        >>> from embridge.evaluation import Relevance
        >>> judged = Relevance.from_pairs([("q", "a")]).judge(["q"], ["a", "b"])
        >>> dense(np.array([[1, 0]]), None, np.array([0]), judged).relevant.tolist()
        [[0, 1]]
    """
    gains = judged.gains_of(queries[:, None], rows[queries]).astype(np.float64)
    ones = np.ones(gains.shape, np.int64)
    with np.errstate(over="ignore"):
        hits = Ties(queries, 0 * ones, ones, (gains > 0).astype(np.int64), gains, np.exp2(gains) - 1)
    if ties is not None:
        here = np.searchsorted(queries, ties.queries)
        for array, values in zip(hits.arrays(), ties.arrays(), strict=True):
            array[here] = values
    return hits


class _Counts:
    """How many rows have the score of each run of equal hits, and how many of them are relevant."""

    def __init__(self, searched: Searched, shape: tuple[int, ...]) -> None:
        self._searched, self._width = searched, shape[1]
        self._all = tuple(np.zeros(shape, kind) for kind in (np.int64, np.int64, np.float64, np.float64))

    def add(self, line: np.ndarray, run: np.ndarray, query: np.ndarray, rows: np.ndarray) -> None:
        """Count rows for the run of a line; the arrays broadcast."""
        gains = self._searched.judged.gains_of(query, rows).astype(np.float64)
        counted = ~self._searched.is_own(query, rows)
        place = np.broadcast_to(line * self._width + run, gains.shape)[counted]
        gains = gains[counted]
        with np.errstate(over="ignore"):  # a metric refuses gains that grow so far
            weights = (1, gains > 0, gains, np.exp2(gains) - 1)
        for values, weight in zip(self._all, weights, strict=True):
            np.add.at(values.reshape(-1), place, weight)

    def add_all(self, line: np.ndarray, run: np.ndarray, query: np.ndarray, equal: Equal) -> None:
        """Count all rows that score as the run of a line; those that are not relevant weigh nothing."""
        self._all[0][line, run] += equal.sizes
        weighed = _Counts(self._searched, self._all[0].shape)
        weighed.add(line[equal.lines], run[equal.lines], query[equal.lines], equal.rows)
        for values, more in zip(self._all[1:], weighed._all[1:], strict=True):
            np.add(values, more, out=values)

    def forget(self, line: np.ndarray, run: np.ndarray) -> None:
        """Begin those runs again."""
        for values in self._all:
            values[line, run] = 0

    def ties(self, queries: np.ndarray, runs: np.ndarray, counted: np.ndarray) -> Ties:
        """Of those queries, hit by hit; counted: which hits are not the query's own, which equals nothing."""
        size, relevant, gain, power = (np.take_along_axis(values, runs, axis=1) * counted for values in self._all)
        some = np.maximum(size, 1)
        before = counted.cumsum(axis=1) - counted
        heads = np.pad(np.diff(runs, axis=1) > 0, ((0, 0), (1, 0)))
        before -= np.maximum.accumulate(np.where(heads, before, 0), axis=1)
        return Ties(queries, before, some, relevant, gain / some, power / some)
