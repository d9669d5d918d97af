"""Scores move when the model changes: by how much, and which threshold does now what the old one did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Bool, Float64

__all__ = ["FEWEST_KEPT", "Threshold", "ks_distance", "precision_above", "threshold_for_precision"]

FEWEST_KEPT = 20
"""A precision of fewer hits is off by a tenth or more, by chance alone."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What is kept of all hits by a score that they must reach.

    Attributes:
        score: Hits that score it or more are kept.
        precision: The share of them that is right.
        kept: The share of all hits that is kept.

    Examples:
        >>> Threshold(0.5, precision=0.9, kept=0.25).kept
        0.25
    """

    score: float
    precision: float
    kept: float

    def rests_on_few(self, hits: int) -> bool:
        """Whether it keeps fewer than `FEWEST_KEPT` of so many hits.

        >>> Threshold(0.5, 0.5, 2 / 3).rests_on_few(3)
        True
        """
        return round(self.kept * hits) < FEWEST_KEPT


def ks_distance(a: Float64[np.ndarray, " n"], b: Float64[np.ndarray, " m"]) -> float:
    """Measure the largest distance of two distribution functions (Kolmogorov–Smirnov), 0 to 1.

    Args:
        a: Scores of one system [n].
        b: Scores of the other [m].

    Returns:
        The distance.

    Raises:
        InvalidInput: There are no scores, or NaN among them.

    Examples:
        >>> ks_distance(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
        0.5
    """
    if not len(a) or not len(b):
        raise InvalidInput(f"expected scores from both systems, came {len(a)} and {len(b)}")
    _require_numbers(a, b)
    points = np.union1d(a, b)
    shares = (np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (a, b))
    return float(np.abs(np.subtract(*shares)).max())


def precision_above(scores: Float64[np.ndarray, " h"], right: Bool[np.ndarray, " h"], score: float) -> Threshold:
    """Measure what a threshold keeps, and how much of it is right.

    Args:
        scores: Of all hits [h].
        right: Whether each is right [h].
        score: The threshold.

    Returns:
        The threshold; its precision is 1 where it keeps nothing.

    Raises:
        InvalidInput: A score is NaN.

    Examples:
        >>> precision_above(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]), 0.5)
        Threshold(score=0.5, precision=0.5, kept=0.6666666666666666)
    """
    _require_numbers(scores)
    kept = scores >= score
    if not kept.any():
        return Threshold(score, 1.0, 0.0)
    return Threshold(score, float(right[kept].mean()), float(kept.mean()))


def threshold_for_precision(
    scores: Float64[np.ndarray, " h"], right: Bool[np.ndarray, " h"], precision: float
) -> Threshold | None:
    """Find the lowest threshold above which enough hits are right.

    Args:
        scores: Of all hits [h].
        right: Whether each is right [h].
        precision: The share that must be right.

    Returns:
        The threshold, or None where none gives that precision.

    Raises:
        InvalidInput: A score is NaN.

    Examples:
        >>> threshold_for_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]), 0.6)
        Threshold(score=0.1, precision=0.6666666666666666, kept=1.0)
    """
    _require_numbers(scores)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(ranked[1:] < ranked[:-1], True) if len(ranked) else np.zeros(0, bool)
    enough = np.flatnonzero(last_of_equals & (shares >= precision))
    if not len(enough):
        return None
    at = enough[-1]
    return Threshold(float(ranked[at]), float(shares[at]), float((at + 1) / len(ranked)))


def _require_numbers(*scores: np.ndarray) -> None:
    if any(np.isnan(s).any() for s in scores):
        raise InvalidInput("scores with NaN came; leave out hits that have no score")
