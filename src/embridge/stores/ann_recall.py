"""What an approximate index loses: a store's own search against exact search of the same rows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation.statistics import Interval, bootstrap_mean
from embridge.nearest import top_k
from embridge.progress import Progress, silent
from embridge.shapes import Float64
from embridge.space import Space
from embridge.stores.base import Store

__all__ = ["AnnRecall", "ann_recall", "draw_queries"]

_CHUNK_ROWS = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class AnnRecall:
    """How much of the exact top k the store's search returned.

    Attributes:
        k: How many items a query got.
        shares: The share of each query, float64 [q].
        mean: Their mean, with its interval over queries.
        search_p50_milliseconds: The median time of one query in the store.

    Examples:
        >>> AnnRecall(10, np.ones(2), Interval(1.0, 1.0, 1.0), 0.5).to_dict()["recall"]
        1.0
    """

    k: int
    shares: Float64[np.ndarray, " q"]
    mean: Interval
    search_p50_milliseconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the single queries."""
        return {
            "k": self.k,
            "queries": len(self.shares),
            "recall": self.mean.value,
            "low": self.mean.low,
            "high": self.mean.high,
            "search_p50_milliseconds": self.search_p50_milliseconds,
        }


def ann_recall(
    store: Store, queries: Embeddings, k: int, *, one_set: bool = False, seed: int = 0, progress: Progress = silent
) -> AnnRecall:
    """Measure the store's search against exact search; the gallery streams through memory in parts.

    A returned item counts if its exact score is at least the k-th best one, so that of items with that very score any may
    be returned. A store with fewer than k rows is asked for all it has. Rows of zeros, which cosine does not rank, may be
    returned but need not be. A store that is exact scores 1, but for items nearer to the k-th than float32 tells. Nothing
    else may write to the store meanwhile.

    Args:
        store: The store.
        queries: At least one; under cosine none of zeros.
        k: How many items a query gets.
        one_set: The queries are rows of the store, and each is left out of both lists.
        seed: Of the interval.
        progress: Told of both searches.

    Returns:
        Shares by query, their mean and the time of a query.

    Raises:
        InvalidInput: There are no queries, k is below 1, a query is zeros under cosine, or the store has no rows to find.

    Examples:
        >>> from embridge.stores import MemoryStore
        >>> store = MemoryStore(Space("toy", "1", 2))
        >>> rows = Embeddings.of(np.array([[1, 0], [0, 1], [1, 1]], np.float32), Space("toy", "1", 2))
        >>> store.upsert(rows)
        >>> ann_recall(store, rows, 1, one_set=True).mean.value
        1.0
    """
    _require_usable(queries, k)
    depth = k + 1 if one_set else k
    answers, seconds = [], []
    for i, name in enumerate(queries.ids):
        query = queries.take([i])
        began = perf_counter()
        found = store.search(query, depth).ids[0]
        seconds.append(perf_counter() - began)
        answers.append([one for one in found if not (one_set and one == name)][:k])
        progress(i + 1, len(queries), "search by the store")
    exact = _Exact(queries, k, answers, one_set=one_set)
    total, done = store.count(queries.space), 0
    for part in store.scan(queries.space, rows=_CHUNK_ROWS):
        exact.take(part)
        done += len(part)
        progress(done, total, "exact search")
    shares = exact.shares()
    return AnnRecall(k, shares, bootstrap_mean(shares, seed=seed), 1_000 * float(np.median(seconds)))


def draw_queries(store: Store, space: Space, count: int, *, seed: int = 0) -> Embeddings:
    """Draw stored rows evenly, as queries for `ann_recall` with ``one_set``.

    Stored rows lie where the index has rows; queries of another modality often do not, and an index may find less for
    them: measure with real ones where you have them.

    Args:
        store: The store.
        space: The space of the rows.
        count: How many at most.
        seed: Of the draw.

    Returns:
        Up to ``count`` rows; under cosine none of zeros.

    Raises:
        InvalidInput: The store has no such row.

    Examples:
        >>> from embridge.stores import MemoryStore
        >>> space = Space("toy", "1", 3)
        >>> store = MemoryStore(space)
        >>> store.upsert(Embeddings.of(np.eye(3, dtype=np.float32), space))
        >>> len(draw_queries(store, space, 2))
        2
    """
    generator = np.random.default_rng(seed)
    draws, ids = np.empty(0), np.empty(0, object)
    vectors = np.empty((0, space.dim), np.float32)
    for part in store.scan(space, rows=_CHUNK_ROWS):
        new = generator.random(len(part))
        usable = _ranked(part)
        draws = np.concatenate([draws, new[usable]])
        lowest = np.argsort(draws, kind="stable")[:count]
        ids = np.concatenate([ids, np.array(part.ids, object)[usable]])[lowest]
        draws, vectors = draws[lowest], np.concatenate([vectors, part.vectors[usable]])[lowest]
    if not len(ids):
        raise InvalidInput(f"no row of {space} in the store can be a query; expected at least one that is not zeros")
    return Embeddings(tuple(ids.tolist()), vectors, space)


class _Exact:
    """The k best exact scores of every query so far, and the exact scores of what the store returned."""

    def __init__(self, queries: Embeddings, k: int, answers: list[list[str]], *, one_set: bool) -> None:
        self.queries, self.k, self.one_set = queries, k, one_set
        self.best = np.full((len(queries), k), -np.inf, np.float32)
        self.rivals = np.zeros(len(queries), np.int64)  # rows that may be found for each query
        self.returned = np.full((len(queries), k), np.nan, np.float32)
        self.askers: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for query, names in enumerate(answers):
            for place, name in enumerate(dict.fromkeys(names)):
                self.askers[name].append((query, place))

    def take(self, part: Embeddings) -> None:
        """Weigh some rows of the store."""
        self._score_returned(part)
        ranked = part.take(np.flatnonzero(_ranked(part)))
        if not len(ranked):
            return
        k = self.k + 1 if self.one_set else self.k
        near = top_k(self.queries.vectors, ranked.vectors, k, metric=part.space.metric)
        row_of = {name: row for row, name in enumerate(ranked.ids)} if self.one_set else {}
        own = np.array([row_of.get(name, -1) for name in self.queries.ids])
        scores = np.where(near.rows == own[:, None], np.float32(-np.inf), near.scores)
        self.best = -np.sort(-np.concatenate([self.best, scores], axis=1), axis=1)[:, : self.k]
        self.rivals += len(ranked) - (own >= 0)

    def shares(self) -> Float64[np.ndarray, " q"]:
        """Of the exact top k, what was returned."""
        depth = np.minimum(self.rivals, self.k)
        if not depth.all():
            raise InvalidInput(f"{self.queries.space}: the store has no rows to find; there is nothing to measure")
        least = np.take_along_axis(self.best, depth[:, None] - 1, axis=1)
        return np.minimum(1.0, (self.returned >= least).sum(axis=1) / depth)

    def _score_returned(self, part: Embeddings) -> None:
        met: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for row, name in enumerate(part.ids):
            for query, place in self.askers.get(name, ()):
                met[query].append((place, row))
        for query, pairs in met.items():
            places, rows = np.array(pairs).T
            vector = self.queries.vectors[query : query + 1]
            found = top_k(vector, part.vectors[rows], len(rows), metric=part.space.metric)
            self.returned[query, places[found.rows[0]]] = found.scores[0]


def _ranked(rows: Embeddings) -> np.ndarray:
    """Which rows the metric ranks: under cosine, those that are not zeros."""
    ranked: np.ndarray = (rows.vectors != 0).any(axis=1)
    return ranked if rows.space.metric == "cosine" else np.ones(len(rows), bool)


def _require_usable(queries: Embeddings, k: int) -> None:
    if k < 1 or not len(queries):
        raise InvalidInput(f"expected k >= 1 and at least one query, came k={k} and {len(queries)} queries")
    zeros = np.flatnonzero(~_ranked(queries))
    if len(zeros):
        raise InvalidInput(
            f"{len(zeros)} queries are zeros, first row {zeros[0]}: no item is near them; leave them out"
        )
