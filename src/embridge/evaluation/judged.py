"""Judgements as arrays over one list of queries and one gallery."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from embridge.shapes import Float32, Float64, Int64

__all__ = ["Judged", "JudgedByLabel", "JudgedByPair"]


@dataclass(frozen=True, slots=True, eq=False)
class Judged(ABC):
    """How relevant which gallery rows are to each query.

    relevant [q]: how many rows are relevant; weights [q]: how much each query counts, or None where all count once.
    """

    relevant: Int64[np.ndarray, " q"]
    weights: Float64[np.ndarray, " q"] | None

    @abstractmethod
    def gains(self, rows: Int64[np.ndarray, "q k"]) -> Float32[np.ndarray, "q k"]:
        """The gain of each ranked row, 0 for one that is not relevant."""

    @abstractmethod
    def ideal(self, depth: int) -> Float32[np.ndarray, "q depth"]:
        """The largest gains of each query, largest first, zeros after them."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class JudgedByPair(Judged):
    """Listed pairs: ``keys`` are query · n + row, ascending, each with its gain."""

    keys: Int64[np.ndarray, " p"]
    key_gains: Float32[np.ndarray, " p"]
    gallery: int

    @classmethod
    def of(
        cls, keys: np.ndarray, gains: np.ndarray, shape: tuple[int, int], weights: np.ndarray | None
    ) -> JudgedByPair:
        """From keys in any order; shape: how many queries, how many gallery rows."""
        queries, gallery = shape
        order = np.argsort(keys)
        relevant = np.bincount(keys // max(gallery, 1), minlength=queries)
        return cls(relevant, weights, keys[order], gains[order].astype(np.float32), gallery)

    def gains(self, rows: Int64[np.ndarray, "q k"]) -> Float32[np.ndarray, "q k"]:
        if not len(self.keys):
            return np.zeros(rows.shape, np.float32)
        wanted = np.arange(len(rows))[:, None] * self.gallery + rows
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, self.key_gains[place], np.float32(0))

    def ideal(self, depth: int) -> Float32[np.ndarray, "q depth"]:
        query = self.keys // max(self.gallery, 1)
        order = np.lexsort((-self.key_gains, query))
        place = np.arange(len(query)) - np.repeat(np.cumsum(self.relevant) - self.relevant, self.relevant)
        made = np.zeros((len(self.relevant), depth), np.float32)
        within = place < depth
        made[query[within], place[within]] = self.key_gains[order][within]
        return made


@final
@dataclass(frozen=True, slots=True, eq=False)
class JudgedByLabel(Judged):
    """Equal codes are relevant, with a gain of 1; ``own`` is the query's own row, which is not, or -1."""

    query_codes: Int64[np.ndarray, " q"]
    gallery_codes: Int64[np.ndarray, " n"]
    own: Int64[np.ndarray, " q"]

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

    def gains(self, rows: Int64[np.ndarray, "q k"]) -> Float32[np.ndarray, "q k"]:
        right = (self.gallery_codes[rows] == self.query_codes[:, None]) & (rows != self.own[:, None])
        return right.astype(np.float32)

    def ideal(self, depth: int) -> Float32[np.ndarray, "q depth"]:
        return (np.arange(depth) < self.relevant[:, None]).astype(np.float32)
