"""Judgements as arrays over one list of queries and one gallery."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np

from embridge.shapes import Float32, Float64, Int64

__all__ = ["Judged", "JudgedByLabel", "JudgedByPair"]

_PAIRS = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Judged(ABC):
    """How relevant which gallery rows are to each query.

    Attributes:
        relevant: How many items are relevant to each query, in the gallery or not [q].
        weights: How much each query counts [q], or None where all count once.

    Examples:
        >>> from embridge.evaluation import Relevance
        >>> Relevance.from_pairs([("q", "a"), ("q", "b")]).judge(["q"], ["a", "b", "c"]).relevant.tolist()
        [2]
    """

    relevant: Int64[np.ndarray, " q"]
    weights: Float64[np.ndarray, " q"] | None

    @property
    @abstractmethod
    def present(self) -> Int64[np.ndarray, " q"]:
        """How many rows are relevant to each query: what of ``relevant`` the gallery has."""

    @property
    @abstractmethod
    def groups(self) -> Int64[np.ndarray, " q"] | None:
        """A number for every query that is the same for those with the very same right rows; None where none share."""

    def gains(self, rows: Int64[np.ndarray, "b k"], *, first: int = 0) -> Float32[np.ndarray, "b k"]:
        """The gain of each ranked row, 0 for one that is not relevant; of the queries from ``first`` on."""
        return self.gains_of(np.arange(first, first + len(rows))[:, None], rows)

    @abstractmethod
    def gains_of(self, queries: Int64[np.ndarray, ...], rows: Int64[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
        """The gain of each pair of a query and a row; the two broadcast."""

    @abstractmethod
    def ideal(self, depth: int) -> Float32[np.ndarray, "q depth"]:
        """The largest gains of each query, largest first, zeros after them."""

    def sums(self, vectors: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, "q d"]:
        """The sum of the vectors of each query's relevant rows."""
        return self.sums_of([(0, vectors)], vectors.shape[1])

    @abstractmethod
    def sums_of(self, parts: Iterable[tuple[int, np.ndarray]], dim: int) -> Float64[np.ndarray, "q d"]:
        """The same of a gallery in parts: the number of a row, and the vectors from there on, in the order of rows."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class JudgedByPair(Judged):
    """Listed pairs.

    Attributes:
        relevant: How many items are relevant to each query, in the gallery or not [q].
        weights: How much each query counts [q], or None.
        keys: Query · n + row of every pair [p], ascending.
        key_gains: The gain of each pair [p].
        gallery: How many gallery rows there are, n.
        absent: The query of each judged item that the gallery lacks [m].
        absent_gains: The gain of each of them [m].

    Examples:
        >>> judged = JudgedByPair.of(np.array([1]), np.array([2.0]), (1, 3), None)
        >>> judged.gains(np.array([[0, 1, 2]])).tolist()
        [[0.0, 2.0, 0.0]]
    """

    keys: Int64[np.ndarray, " p"]
    key_gains: Float32[np.ndarray, " p"]
    gallery: int
    absent: Int64[np.ndarray, " m"]
    absent_gains: Float32[np.ndarray, " m"]

    @classmethod
    def of(
        cls,
        keys: np.ndarray,
        gains: np.ndarray,
        shape: tuple[int, int],
        weights: np.ndarray | None,
        absent: tuple[np.ndarray, np.ndarray] = (np.zeros(0, np.int64), np.zeros(0)),
    ) -> JudgedByPair:
        """From keys in any order; shape: how many queries, how many gallery rows; absent: queries and gains of other items."""
        queries, gallery = shape
        order = np.argsort(keys)
        missing, missing_gains = absent[0].astype(np.int64), absent[1].astype(np.float32)
        relevant = np.bincount(np.concatenate([keys // max(gallery, 1), missing]), minlength=queries)
        return cls(relevant, weights, keys[order], gains[order].astype(np.float32), gallery, missing, missing_gains)

    @property
    def present(self) -> Int64[np.ndarray, " q"]:
        return self.relevant - np.bincount(self.absent, minlength=len(self.relevant))

    @property
    def groups(self) -> Int64[np.ndarray, " q"] | None:
        query, row = np.divmod(self.keys, max(self.gallery, 1))
        signs = np.random.default_rng(0).integers(
            1 << 62, size=max(self.gallery, 1)
        )  # so that equal sums are equal sets
        of_query = np.zeros(len(self.relevant), np.int64)
        np.add.at(of_query, query, signs[row])
        alone = self.present == 0
        of_query[alone] = -1 - np.arange(alone.sum())
        sets, groups = np.unique(of_query, return_inverse=True)
        return None if len(sets) == len(of_query) else groups.astype(np.int64)

    def gains_of(self, queries: Int64[np.ndarray, ...], rows: Int64[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
        pairs = queries * self.gallery + rows
        if not len(self.keys):
            return np.zeros(pairs.shape, np.float32)
        place = np.minimum(np.searchsorted(self.keys, pairs), len(self.keys) - 1)
        return np.where(self.keys[place] == pairs, self.key_gains[place], np.float32(0))

    def ideal(self, depth: int) -> Float32[np.ndarray, "q depth"]:
        query = np.concatenate([self.keys // max(self.gallery, 1), self.absent])
        gains = np.concatenate([self.key_gains, self.absent_gains])
        order = np.lexsort((-gains, query))
        query, gains = query[order], gains[order]
        place = np.arange(len(query)) - np.repeat(np.cumsum(self.relevant) - self.relevant, self.relevant)
        ideal = np.zeros((len(self.relevant), depth), np.float32)
        within = place < depth
        ideal[query[within], place[within]] = gains[within]
        return ideal

    def sums_of(self, parts: Iterable[tuple[int, np.ndarray]], dim: int) -> Float64[np.ndarray, "q d"]:
        sums = np.zeros((len(self.relevant), dim))
        query, row = np.divmod(self.keys, max(self.gallery, 1))
        for first, vectors in parts:
            inside = np.flatnonzero((row >= first) & (row < first + len(vectors)))
            for start in range(0, len(inside), _PAIRS):
                some = inside[start : start + _PAIRS]
                np.add.at(sums, query[some], vectors[row[some] - first])
        return sums


@final
@dataclass(frozen=True, slots=True, eq=False)
class JudgedByLabel(Judged):
    """Equal codes are relevant, with a gain of 1.

    Attributes:
        relevant: How many rows are relevant to each query [q].
        weights: None.
        query_codes: The label of each query [q]; below 0 where it has none.
        gallery_codes: The label of each row [n]; below 0 where it has none.
        own: The query's own row, which is not relevant, or -1 [q].

    Examples:
        >>> judged = JudgedByLabel.of(np.array([0]), np.array([1, 0]), np.array([-1]))
        >>> judged.gains(np.array([[0, 1]])).tolist()
        [[0.0, 1.0]]
    """

    query_codes: Int64[np.ndarray, " q"]
    gallery_codes: Int64[np.ndarray, " n"]
    own: Int64[np.ndarray, " q"]

    @property
    def present(self) -> Int64[np.ndarray, " q"]:
        return self.relevant

    @property
    def groups(self) -> None:
        """None: queries of one class ask for the same items, and are drawn one by one all the same."""
        return

    @classmethod
    def of(cls, queries: np.ndarray, gallery: np.ndarray, own: np.ndarray) -> JudgedByLabel:
        """Codes below 0 are of items without a label."""
        codes, counts = np.unique(gallery[gallery >= 0], return_counts=True)
        relevant = np.zeros(len(queries), np.int64)
        if len(codes):
            place = np.minimum(np.searchsorted(codes, queries), len(codes) - 1)
            relevant = np.where(codes[place] == queries, counts[place], 0)
        if len(gallery):
            relevant -= (own >= 0) & (queries >= 0) & (gallery[own] == queries)
        return cls(relevant, None, queries, gallery, own)

    def gains_of(self, queries: Int64[np.ndarray, ...], rows: Int64[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
        right = (self.gallery_codes[rows] == self.query_codes[queries]) & (rows != self.own[queries])
        return right.astype(np.float32)

    def ideal(self, depth: int) -> Float32[np.ndarray, "q depth"]:
        return (np.arange(depth) < self.relevant[:, None]).astype(np.float32)

    def sums_of(self, parts: Iterable[tuple[int, np.ndarray]], dim: int) -> Float64[np.ndarray, "q d"]:
        codes = self.gallery_codes.max(initial=self.query_codes.max(initial=-1)) + 1
        of_code = np.zeros((codes + 1, dim))  # the last row is for items without a label
        at = np.flatnonzero((self.own >= 0) & (self.query_codes >= 0))
        at = at[self.gallery_codes[self.own[at]] == self.query_codes[at]]
        row, own = self.own[at], np.zeros((len(at), dim))
        for first, vectors in parts:
            codes_here = self.gallery_codes[first : first + len(vectors)]
            np.add.at(of_code, np.where(codes_here < 0, codes, codes_here), vectors)
            inside = np.flatnonzero((row >= first) & (row < first + len(vectors)))
            own[inside] = vectors[row[inside] - first]
        of_code[-1] = 0
        sums: np.ndarray = of_code[np.where(self.query_codes < 0, codes, self.query_codes)]
        sums[at] -= own
        return sums
