"""What each further part of a backfill brings: new queries over a gallery that is partly re-encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation.judged import Judged
from embridge.evaluation.measures import FULL, measure
from embridge.evaluation.one_set import without_rows
from embridge.nearest import Ranking, top_k
from embridge.shapes import Bool, Float64, Int64

__all__ = ["Mixed", "Scale", "backfill_auc", "backfill_curve", "backfilled", "cut_offs", "score_moments"]

Scale = Literal["raw", "standard"]
_SAMPLED_PAIRS, _BLOCK_PAIRS = 20_000, 1_000


def cut_offs(k: int = 20) -> list[float]:
    """K + 2 even fractions from 0 to 1 (Jaeckle et al. 2023).

    >>> cut_offs(1)
    [0.0, 0.5, 1.0]
    """
    if k < 0:
        raise InvalidInput(f"expected K >= 0 cut-offs between nothing and all, came {k}")
    return [i / (k + 1) for i in range(k + 2)]


def backfill_auc(values: Sequence[float]) -> float:
    """The area under a backfill curve: the mean of the metric over even cut-offs, both ends too.

    >>> backfill_auc([0.4, 0.5, 0.6])
    0.5
    """
    if not len(values):
        raise InvalidInput("a backfill curve has at least one cut-off; none came")
    return float(np.mean(values))


def backfill_curve(
    mixed: Mixed, order: Int64[np.ndarray, " n"], judged: Judged, metric: str, *, k: int = 20
) -> Float64[np.ndarray, "c q"]:
    """The metric of every query at each of the K + 2 cut-offs, where gallery rows are re-encoded in the order given.

    >>> from embridge import Space
    >>> from embridge.evaluation import LabelRelevance
    >>> rows = Embeddings.of(np.array([[1, 0], [1, 0.1], [0, 1]], np.float32), Space("toy", "1", 2))
    >>> labels = dict(zip(rows.ids, "aab"))
    >>> judged = LabelRelevance(labels, labels).judge(rows.ids, rows.ids)
    >>> backfill_curve(Mixed((rows, rows), (rows, rows)), np.arange(3), judged, "recall_at_1", k=1).mean(axis=1).tolist()
    [1.0, 1.0, 1.0]
    """
    wanted = measure(metric)
    if wanted.kind == FULL and not wanted.k:
        raise SettingsError(
            f"{FULL} is of whole rankings, which a partly backfilled gallery does not make; use map_at_K"
        )
    ideal = judged.ideal(min(wanted.k, len(order)))
    return np.stack(
        [
            wanted.values(judged.gains(mixed.ranking(done, wanted.k).rows), judged.relevant, ideal)
            for _, done in backfilled(order, k=k)
        ]
    )


def backfilled(order: Int64[np.ndarray, " n"], *, k: int = 20) -> Iterator[tuple[float, Bool[np.ndarray, " n"]]]:
    """Each cut-off, and which gallery rows are re-encoded by then; ``order`` names every row once, first to last."""
    if not np.array_equal(np.sort(order), np.arange(len(order))):
        raise InvalidInput(f"a backfill order names each of the {len(order)} gallery rows once")
    for fraction in cut_offs(k):
        done = np.zeros(len(order), bool)
        done[order[: round(fraction * len(order))]] = True
        yield fraction, done


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """New queries over a gallery in two parts: re-encoded rows, and rows reached through the bridge.

    ``new`` and ``bridged`` are (queries, gallery) over the same items, each in a space of its own. The parts are searched
    apart and merged by score. scale: ``standard`` first takes from each side's scores their mean and spread over random
    pairs, since two spaces score differently; ``raw`` compares them as they are. own: each query's own
    gallery row, which it may not find, where both are one set.
    """

    new: tuple[Embeddings, Embeddings]
    bridged: tuple[Embeddings, Embeddings]
    own: Int64[np.ndarray, " q"] | None = None
    scale: Scale = "standard"
    seed: int = 0
    _moments: dict[str, tuple[float, float]] = field(default_factory=dict, init=False, repr=False)  # of each part, once

    def ranking(self, backfilled: Bool[np.ndarray, " n"], depth: int) -> Ranking:
        """Where the marked rows are re-encoded; with all or none of them, exactly that of one search."""
        if len(backfilled) != len(self.new[1]):
            raise InvalidInput(f"{len(backfilled)} marks for a gallery of {len(self.new[1])} rows; one a row is needed")
        wanted = depth + (self.own is not None)
        parts = [
            self._part(part, np.flatnonzero(marked), wanted)
            for part, marked in (("new", backfilled), ("bridged", ~backfilled))
            if marked.any()
        ]
        merged = parts[0] if len(parts) == 1 else _merged(parts, wanted)
        return merged if self.own is None else without_rows(merged, self.own)

    def _part(self, part: str, rows: Int64[np.ndarray, " m"], depth: int) -> Ranking:
        queries, gallery = self.new if part == "new" else self.bridged
        found = top_k(queries.vectors, gallery.vectors[rows], depth, metric=gallery.space.metric)
        scores = found.scores
        if self.scale == "standard":
            if part not in self._moments:
                self._moments[part] = score_moments(queries, gallery, self.seed)
            mean, spread = self._moments[part]
            scores = ((scores.astype(np.float64) - mean) / spread).astype(np.float32)
        return Ranking(rows[found.rows], scores)


def _merged(parts: Sequence[Ranking], depth: int) -> Ranking:
    """The best of several rankings by score, then row."""
    rows, scores = (np.concatenate([getattr(p, name) for p in parts], axis=1) for name in ("rows", "scores"))
    order = np.lexsort((rows, -scores), axis=1)[:, :depth]
    return Ranking(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))


def score_moments(queries: Embeddings, gallery: Embeddings, seed: int) -> tuple[float, float]:
    """Mean and standard deviation (1 where it is 0) of the scores of random pairs."""
    random = np.random.default_rng(seed)
    drawn = [random.integers(len(side), size=_SAMPLED_PAIRS) for side in (queries, gallery)]
    blocks = (slice(first, first + _BLOCK_PAIRS) for first in range(0, _SAMPLED_PAIRS, _BLOCK_PAIRS))
    pairs = (
        [side.vectors[rows[block]] for side, rows in zip((queries, gallery), drawn, strict=True)] for block in blocks
    )
    scores = np.concatenate(
        [_scores(x.astype(np.float64), y.astype(np.float64), gallery.space.metric) for x, y in pairs]
    )
    return float(scores.mean()), float(scores.std()) or 1.0


def _scores(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "n d"], metric: str) -> Float64[np.ndarray, " n"]:
    """Of each row of x with the same row of y."""
    if metric == "l2":
        return np.asarray(-np.square(x - y).sum(axis=1))
    scores = (x * y).sum(axis=1)
    if metric == "cosine":
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
    return np.asarray(scores)
