"""What else in a gallery scores as a query's hit: counted, or drawn from, a part of the gallery at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from embridge.nearest.ties import rows_of_score
from embridge.space import Metric

if TYPE_CHECKING:
    from embridge.evaluation.ties import Searched

__all__ = ["DrawnRows", "Equal", "EqualRows", "placed"]


class Equal(NamedTuple):
    """How many rows score the same [t], and those of them that are relevant: the number of a line, and the row."""

    sizes: np.ndarray
    lines: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, slots=True)
class _OneScore:
    """Queries [t], the score that is looked for, and which of all queries they are."""

    queries: np.ndarray
    keys: np.ndarray
    asked: np.ndarray
    searched: Searched
    metric: Metric

    def pairs(self, vectors: np.ndarray, first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Lines and rows of the whole gallery that score so, without each query's own."""
        for line, rows in rows_of_score(self.queries, vectors, self.keys, metric=self.metric):
            whole = self.searched.whole(rows + first)
            other = ~self.searched.is_own(self.asked[line], whole)
            yield line[other], whole[other]


@dataclass(frozen=True, slots=True)
class EqualRows(_OneScore):
    """Counts them. Relevant rows come in their order, since sums of gains depend on it."""

    def of(self, vectors: np.ndarray, first: int) -> Equal:
        found = Equal(np.zeros(len(self.keys), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
        for line, rows in self.pairs(vectors, first):
            right = self.searched.judged.gains_of(self.asked[line], rows) > 0
            found = self.joined(found, Equal(np.bincount(line, minlength=len(self.keys)), line[right], rows[right]))
        return found

    def joined(self, one: Equal, other: Equal) -> Equal:
        lines, rows = np.concatenate([one.lines, other.lines]), np.concatenate([one.rows, other.rows])
        order = np.lexsort((rows, lines))
        return Equal(one.sizes + other.sizes, lines[order], rows[order])


@dataclass(frozen=True, slots=True)
class DrawnRows(_OneScore):
    """Draws some of them for each query: as an array of lines, draws and rows [3, r], by line and draw."""

    count: np.ndarray
    seed: int

    def of(self, vectors: np.ndarray, first: int) -> np.ndarray:
        drawn = np.zeros((3, 0), np.int64)
        for line, rows in self.pairs(vectors, first):
            drawn = self.joined(drawn, np.stack([line, _draws(self.asked[line], rows, self.seed), rows]))
        return drawn

    def joined(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        drawn, place = placed(np.concatenate([one, other], axis=1))
        return drawn[:, place < self.count[drawn[0]]]


def placed(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of line, draw and row in this order, and the place of each in its line."""
    drawn = drawn[:, np.lexsort((drawn[2], drawn[1], drawn[0]))]
    return drawn, np.arange(drawn.shape[1]) - np.searchsorted(drawn[0], drawn[0])


def _draws(queries: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """A random number for each pair: a mix of its numbers, as in SplitMix64."""
    mixed = queries.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + rows.astype(np.uint64)
    mixed += np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    draws: np.ndarray = (mixed >> np.uint64(1)).astype(np.int64)
    return draws
