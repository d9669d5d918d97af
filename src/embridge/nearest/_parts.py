"""Exact search of a gallery that lies in parts: each part is searched for itself, and what was found is put together.

A `Work` is done on a part at a time, wherever that part is, and depends on nothing else. Scores are of pairs and in float64, as
`embridge.nearest` ranks by them, so that the answer is the same to the bit however the rows are divided.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from embridge.nearest._rescore import Scorer, pair_by_pair
from embridge.nearest.exact import Ranking, exact_top_k, top_k
from embridge.shapes import Float32, Float64, Int64
from embridge.space import Metric

__all__ = [
    "BLOCK",
    "Parts",
    "Portions",
    "Searchable",
    "Through",
    "TopK",
    "Work",
    "blocks",
    "over",
    "ranked",
    "scores_of",
    "through",
    "vectors_of",
]

BLOCK = 16_384
"""Rows that are computed with at once where the shape of a product may change its last bits; parts are whole blocks."""

_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_I_contra = TypeVar("_I_contra", contravariant=True)

Portions = Callable[[], Iterator[tuple[int, np.ndarray]]]
"""Reads a gallery from its first row on: the number of a row, and the vectors from there on."""


@runtime_checkable
class Work(Protocol[_R]):
    """What is done with each part of a gallery, and how two results are put together, whichever came first."""

    def of(self, vectors: np.ndarray, first: int) -> _R:
        """Of the rows from ``first`` on."""
        ...

    def joined(self, one: _R, other: _R) -> _R:
        """Of both parts."""
        ...


@runtime_checkable
class Through(Protocol[_I_contra, _R_co]):
    """What needs all rows, in their order; it holds as much of them as it has to."""

    def through(self, portions: Portions, item: _I_contra) -> _R_co:
        """Of one item, such as some of the queries."""
        ...


class Parts(ABC):
    """Rows that lie in parts, somewhere."""

    __slots__ = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def over(self, work: Work[_R]) -> _R:
        """The work done on all parts."""

    @abstractmethod
    def through(self, work: Through[Any, _R], items: Sequence[Any]) -> list[_R]:
        """The work done on the whole for each item, in the order of the items."""


Searchable = np.ndarray | Parts


def over(gallery: Searchable, work: Work[_R]) -> _R:
    """The work done on a gallery; an array is one part."""
    return gallery.over(work) if isinstance(gallery, Parts) else work.of(gallery, 0)


def through(gallery: Searchable, work: Through[Any, _R], items: Sequence[Any]) -> list[_R]:
    """The work done on a whole gallery for each item."""
    if isinstance(gallery, Parts):
        return gallery.through(work, items)
    return [work.through(lambda: iter([(0, gallery)]), item) for item in items]


def blocks(rows: int) -> list[slice]:
    """So many rows in blocks; the last one takes the rest, so that none is small beside the others."""
    edges = [*range(0, max(1, rows - BLOCK + 1), BLOCK), rows]
    return [slice(start, stop) for start, stop in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class TopK:
    """The k nearest rows, with their float64 scores; ``over`` it gives as many as there are, see `ranked`."""

    queries: Float32[np.ndarray, "q d"]
    k: int
    metric: Metric

    def of(self, vectors: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        if not len(vectors) or not len(self.queries):
            shape = len(self.queries), min(self.k, len(vectors))
            return np.zeros(shape, np.int64), np.zeros(shape)
        rows, scores = exact_top_k(self.queries, vectors, self.k, metric=self.metric)
        return rows + first, scores

    def joined(
        self, one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        rows, scores = (np.concatenate(pair, axis=1) for pair in zip(one, other, strict=True))
        order = np.lexsort((rows, -scores), axis=1)[:, : self.k]
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def ranked(queries: Float32[np.ndarray, "q d"], gallery: Searchable, k: int, *, metric: Metric) -> Ranking:
    """What `top_k` finds, of an array or of parts."""
    if not isinstance(gallery, Parts):
        return top_k(queries, gallery, k, metric=metric)
    rows, scores = gallery.over(TopK(queries, k, metric))
    with np.errstate(over="ignore"):
        return Ranking(rows, scores.astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Picked:
    """Something of single rows: where they are in a list, and what came of them."""

    rows: Int64[np.ndarray, " p"]

    def inside(self, count: int, first: int) -> np.ndarray:
        """Which places of the list are of these rows."""
        return np.flatnonzero((self.rows >= first) & (self.rows < first + count))

    def joined(
        self, one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])


@dataclass(frozen=True, slots=True)
class _Scores(_Picked):
    queries: Float32[np.ndarray, "q d"]
    asks: Int64[np.ndarray, " p"]
    metric: Metric

    def of(self, vectors: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        places = self.inside(len(vectors), first)
        scorer = Scorer(vectors, self.metric, pairs=0)
        return places, pair_by_pair(self.queries, self.asks[places], self.rows[places] - first, scorer)


@dataclass(frozen=True, slots=True)
class _Vectors(_Picked):
    def of(self, vectors: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        places = self.inside(len(vectors), first)
        return places, np.asarray(vectors[self.rows[places] - first])


def scores_of(
    queries: Float32[np.ndarray, "q d"], gallery: Parts, rows: Int64[np.ndarray, "q m"], *, metric: Metric
) -> Float64[np.ndarray, "q m"]:
    """The float64 scores of each query's own rows."""
    asks = np.repeat(np.arange(len(rows)), rows.shape[1])
    places, values = gallery.over(_Scores(rows.reshape(-1), queries, asks, metric))
    scores = np.empty(rows.size)
    scores[places] = values
    return scores.reshape(rows.shape)


def vectors_of(gallery: Searchable, rows: Int64[np.ndarray, " p"]) -> Float32[np.ndarray, "p d"]:
    """Some rows, in that order; each is fetched once."""
    if not isinstance(gallery, Parts):
        return gallery[rows]
    asked, place = np.unique(rows, return_inverse=True)
    places, values = gallery.over(_Vectors(asked))
    found = np.empty_like(values)
    found[places] = values
    return found[place]
