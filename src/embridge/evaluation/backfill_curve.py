"""What each further part of a backfill brings: new queries over a gallery that is partly re-encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation._parted import part_of
from embridge.evaluation.calibrate import fit_calibration
from embridge.evaluation.judged import Judged, JudgedByPair
from embridge.evaluation.measures import FULL, measure
from embridge.evaluation.retrieve import Retrieved, hits_and_ties
from embridge.evaluation.sides import Side
from embridge.evaluation.ties import Searched, merged_ties
from embridge.nearest import Ranking
from embridge.query.merging import Merge, Part, best_of_both, comparable
from embridge.shapes import Bool, Float64, Int64

__all__ = ["Mixed", "backfill_auc", "backfill_curve", "backfilled", "cut_offs"]

_NOTHING = JudgedByPair.of(np.zeros(0, np.int64), np.zeros(0), (0, 1), None)


def cut_offs(k: int = 20) -> list[float]:
    """List K + 2 even fractions from 0 to 1.

    Args:
        k: How many lie between both ends.

    Returns:
        The fractions, ascending.

    Raises:
        InvalidInput: k is below 0.

    Note:
        Source: Jaeckle et al. 2023.

    Examples:
        >>> cut_offs(1)
        [0.0, 0.5, 1.0]
    """
    if k < 0:
        raise InvalidInput(f"expected K >= 0 cut-offs between nothing and all, came {k}")
    return [i / (k + 1) for i in range(k + 2)]


def backfill_auc(values: Sequence[float]) -> float:
    """Measure the area under a backfill curve: the mean of the metric over even cut-offs, both ends too.

    Args:
        values: The metric at each cut-off.

    Returns:
        Their mean.

    Raises:
        InvalidInput: There is no value.

    Examples:
        >>> backfill_auc([0.4, 0.5, 0.6])
        0.5
    """
    if not len(values):
        raise InvalidInput("a backfill curve has at least one cut-off; none came")
    return float(np.mean(values))


def backfill_curve(
    mixed: Mixed, order: Int64[np.ndarray, " n"], judged: Judged, metric: str, *, k: int = 20
) -> Float64[np.ndarray, "c q"]:
    """Measure every query at each of the K + 2 cut-offs of a backfill.

    Args:
        mixed: New queries over the gallery in its two parts.
        order: Gallery rows [n], the one re-encoded first in front.
        judged: What is right for each query.
        metric: A name that `measure` knows; not ``map``, which is of whole rankings.
        k: How many cut-offs lie between nothing and all.

    Returns:
        Float64 [k + 2, q].

    Raises:
        SettingsError: There is no such metric at a depth.
        InvalidInput: The order does not name every row once.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.evaluation import LabelRelevance
        >>> rows = Embeddings.of(np.array([[1, 0], [1, 0.1], [0, 1]], np.float32), Space("toy", "1", 2))
        >>> labels = dict(zip(rows.ids, "aab"))
        >>> judged, side = LabelRelevance(labels, labels).judge(rows.ids, rows.ids), Side(rows, rows)
        >>> backfill_curve(Mixed(side, side), np.arange(3), judged, "recall_at_1", k=1).mean(axis=1).tolist()
        [1.0, 1.0, 1.0]
    """
    at_k = measure(metric)
    if at_k.kind == FULL and not at_k.k:
        raise SettingsError(
            f"{FULL} is of whole rankings, which a partly backfilled gallery does not make; use map_at_K"
        )
    ideal = judged.ideal(min(at_k.k, len(order)))
    points = (mixed.search(done, at_k.k, judged) for _, done in backfilled(order, k=k))
    return np.stack([at_k.values(judged.gains(p.ranking.rows), judged.relevant, ideal, p.ties) for p in points])


def backfilled(order: Int64[np.ndarray, " n"], *, k: int = 20) -> Iterator[tuple[float, Bool[np.ndarray, " n"]]]:
    """Walk through a backfill, cut-off by cut-off.

    Args:
        order: Gallery rows [n], the one re-encoded first in front; every row once.
        k: How many cut-offs lie between nothing and all.

    Yields:
        The fraction, and which gallery rows are re-encoded by then [n].

    Raises:
        InvalidInput: The order does not name every row once.

    Examples:
        >>> [(fraction, done.tolist()) for fraction, done in backfilled(np.array([1, 0]), k=1)]
        [(0.0, [False, False]), (0.5, [False, True]), (1.0, [True, True])]
    """
    if not np.array_equal(np.sort(order), np.arange(len(order))):
        raise InvalidInput(f"a backfill order names each of the {len(order)} gallery rows once")
    for fraction in cut_offs(k):
        done = np.zeros(len(order), bool)
        done[order[: round(fraction * len(order))]] = True
        yield fraction, done


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """New queries over a gallery in two parts: re-encoded rows, and rows reached through the bridge.

    The parts are searched apart and merged as `embridge.query.MixedSearch` merges them, by the same functions: what is
    measured here is what a server would find.

    Attributes:
        new: Queries and gallery in the new space.
        bridged: The same queries and items with the bridge between them.
        own: Each query's own gallery row [q], which it may not find, where both are one set.
        merge: What makes scores of two spaces comparable; ``standard`` is fitted on these sides.
        seed: Draws the pairs that ``standard`` is fitted on.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> Mixed(Side(rows, rows), Side(rows, rows)).ranking(np.array([True, False]), 1).rows.tolist()
        [[0], [1]]
    """

    new: Side
    bridged: Side
    own: Int64[np.ndarray, " q"] | None = None
    merge: Merge | Literal["standard"] = "standard"
    seed: int = 0
    _merge: Merge = field(init=False, repr=False)

    def __post_init__(self) -> None:
        merge = self.merge
        if merge == "standard":
            merge = fit_calibration("standard", self.new, self.bridged, seed=self.seed)
        object.__setattr__(self, "_merge", merge)

    def ranking(self, backfilled: Bool[np.ndarray, " n"], depth: int) -> Ranking:
        """Search where some rows are re-encoded; with all or none of them, exactly as one search.

        Args:
            backfilled: Which gallery rows are re-encoded [n].
            depth: How many hits a query gets at most.

        Returns:
            Rows and merged values [q, depth], best first.

        Raises:
            InvalidInput: There is not one mark a gallery row.
        """
        return self._merged(backfilled, depth, _NOTHING).ranking

    def search(self, backfilled: Bool[np.ndarray, " n"], depth: int, judged: Judged) -> Retrieved:
        """`ranking`, with the hits that are equal, each in its own part.

        Args:
            backfilled: Which gallery rows are re-encoded [n].
            depth: How many hits a query gets at most.
            judged: What is right for each query.

        Returns:
            The hits, best first.

        Raises:
            InvalidInput: There is not one mark a gallery row.
        """
        return self._merged(backfilled, depth, judged)

    def _merged(self, backfilled: np.ndarray, depth: int, judged: Judged) -> Retrieved:
        if len(backfilled) != len(self.new.gallery):
            raise InvalidInput(
                f"{len(backfilled)} marks for a gallery of {len(self.new.gallery)} rows; one a row is needed"
            )
        searched = Searched(judged, self.own)
        new, new_values = self._hits("new", np.flatnonzero(backfilled), depth, searched)
        old, old_values = self._hits("old", np.flatnonzero(~backfilled), depth, searched)
        places = best_of_both(new_values, old_values, depth + (self.own is not None))
        rows = np.take_along_axis(np.concatenate([new.ranking.rows, old.ranking.rows], axis=1), places, axis=1)
        values = np.take_along_axis(np.concatenate([new_values, old_values], axis=1), places, axis=1)
        ties = merged_ties([(part.ranking.rows, part.ties) for part in (new, old)], places, judged)
        return Retrieved(Ranking(rows, values.astype(np.float32)), ties).without_own(searched).cut(depth)

    def _hits(self, part: Part, rows: np.ndarray, depth: int, searched: Searched) -> tuple[Retrieved, np.ndarray]:
        """The best of these gallery rows for every query, and values that compare with the other part's."""
        side = self.new if part == "new" else self.bridged
        if not len(rows):
            none = np.empty((len(side.queries), 0))
            return Retrieved(Ranking(none.astype(np.int64), none.astype(np.float32))), none
        queries, gallery, metric = side.queries.vectors, part_of(side.gallery, rows), side.gallery.space.metric
        hits = hits_and_ties(queries, gallery, depth + 1, replace(searched, rows=rows), metric=metric)
        scores = hits.ranking.scores.astype(np.float64)
        values = comparable(self._merge, part, scores, np.arange(scores.shape[1]))
        return hits, np.minimum.accumulate(values, axis=1)
