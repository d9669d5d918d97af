"""Intervals by the bootstrap over queries, and how many queries a question needs."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from statistics import NormalDist
from typing import TypedDict

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float64, Int64

__all__ = ["Drawn", "Interval", "bootstrap_mean", "queries_needed", "weighted_mean"]

_BLOCK_VALUES = 1 << 22
_FEW_DISTINCT = 1_024
_DRAWS_A_COUNT = 16  # drawing so many queries takes as long as one multinomial count
_ROUNDING = 1e-12  # of a sum of fractions: less is no difference


class Drawn(TypedDict):
    """How queries are drawn by a bootstrap: arguments of `bootstrap_mean` and `queries_needed`.

    Attributes:
        weights: How much each query counts [q], or None.
        groups: A number a query [q]; equal ones are drawn together; or None.

    Examples:
        >>> bootstrap_mean(np.ones(3), **Drawn(weights=None, groups=None)).value
        1.0
    """

    weights: Float64[np.ndarray, " q"] | None
    groups: Int64[np.ndarray, " q"] | None


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the bounds of its interval.

    Attributes:
        value: The mean.
        low: The lower bound.
        high: The upper bound.

    Examples:
        >>> Interval(0.5, 0.25, 0.75).half
        0.25
    """

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width: what stands after ± in a table."""
        return (self.high - self.low) / 2


def weighted_mean(values: Float64[np.ndarray, " q"], weights: Float64[np.ndarray, " q"] | None = None) -> float:
    """Take the mean over queries, each counted as often as its weight says.

    Args:
        values: One a query [q].
        weights: How much each counts [q], above 0; once by default.

    Returns:
        The mean; NaN if a value is.

    Raises:
        InvalidInput: There are no values, or a weight is not above 0.

    Examples:
        >>> weighted_mean(np.array([1.0, 0.0]), np.array([3.0, 1.0]))
        0.75
    """
    _require_weighted(values, weights)
    return float(values.mean() if weights is None else values @ weights / weights.sum())


def bootstrap_mean(
    values: Float64[np.ndarray, " q"],
    *,
    weights: Float64[np.ndarray, " q"] | None = None,
    groups: Int64[np.ndarray, " q"] | None = None,
    resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Compute the percentile bootstrap interval of a mean over queries.

    For a difference of two systems pass the per-query differences: that is the paired bootstrap. The same seed gives the same
    interval. What did not vary has no width: one query, or values that are all equal, give low = value = high.

    Args:
        values: One a query [q].
        weights: How much each counts [q], above 0; they are resampled with their queries.
        groups: A number a query [q]. Queries of one group, such as the captions of one photo, are drawn together, since they
            are not independent of each other (the cluster bootstrap).
        resamples: How many are drawn.
        level: Of the interval, in (0, 1).
        seed: Draws them.

    Returns:
        The mean and its interval.

    Raises:
        InvalidInput: There are no values, NaN among them, or a weight is not above 0.

    Note:
        Source: Efron & Tibshirani 1993, chapter 13.

    Examples:
        >>> bootstrap_mean(np.array([1.0, 1.0, 1.0]))
        Interval(value=1.0, low=1.0, high=1.0)
    """
    if resamples < 1 or not 0 < level < 1:
        raise InvalidInput(f"bootstrap: expected resamples >= 1, level in (0, 1); came {resamples}, {level}")
    _require_finite(values)
    value = weighted_mean(values, weights)
    columns = _grouped(_with_weights(values, weights), groups)
    sums = _resampled_sums(columns, resamples, np.random.default_rng(seed))
    means = sums[:, 0] / (sums[:, 1] if columns.shape[1] > 1 else len(columns))
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _resampled_sums(columns: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """[resamples, c]: the sums of the columns [q, c] over q queries drawn with replacement."""
    q = len(columns)
    distinct, counts = np.unique(columns, axis=0, return_counts=True)
    if len(distinct) > max(_FEW_DISTINCT, q // _DRAWS_A_COUNT):
        return np.stack([columns[generator.integers(q, size=q)].sum(axis=0) for _ in range(resamples)])
    # how often each distinct value is drawn is multinomial: the same resampling, without drawing query by query
    step = max(1, _BLOCK_VALUES // len(distinct))
    draws = (min(step, resamples - done) for done in range(0, resamples, step))
    return np.concatenate([generator.multinomial(q, counts / q, n) @ distinct for n in draws])


def _with_weights(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """[q, 1] values, or [q, 2] weighted values and weights."""
    return values[:, None] if weights is None else np.stack([values * weights, weights], axis=1)


def _grouped(columns: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """[g, 2]: the sums of values and weights of every group; the columns as they are without groups."""
    if groups is None:
        return columns
    if groups.shape != columns.shape[:1]:
        raise InvalidInput(f"expected one group a value, came {groups.shape} for {len(columns)} values")
    _, code = np.unique(groups, return_inverse=True)
    weights = columns[:, 1] if columns.shape[1] > 1 else np.ones(len(columns))
    return np.stack([np.bincount(code, column) for column in (columns[:, 0], weights)], axis=1)


def queries_needed(
    differences: Float64[np.ndarray, " q"],
    *,
    weights: Float64[np.ndarray, " q"] | None = None,
    groups: Int64[np.ndarray, " q"] | None = None,
    level: float = 0.95,
    power: float = 0.8,
) -> int | None:
    """Estimate how many queries in all would settle a difference like the one seen.

    It is the usual sample size of a paired comparison, ((z₁ + z₂) · s / mean)². z₁ belongs to the two-sided level and z₂ to
    the power; s² / q is the variance of the weighted mean, and of one of grouped queries where there are groups. One query,
    and differences that are all equal, show no variation: the answer is 1 then, and no evidence.

    Args:
        differences: One a query [q].
        weights: How much each counts [q], above 0; once by default.
        groups: A number a query [q]; see `bootstrap_mean`.
        level: Of the test, in (0, 1).
        power: The chance that so many queries show the difference.

    Returns:
        How many queries; None where no difference was seen.

    Raises:
        InvalidInput: There are no differences, NaN among them, or a weight is not above 0.

    Examples:
        >>> queries_needed(np.array([0.0, 0.0, 0.0, 1.0, -1.0, 1.0, 0.0, 0.0]))
        181
    """
    _require_finite(differences)
    mean = weighted_mean(differences, weights)
    if abs(mean) < _ROUNDING:
        return None
    q = len(differences)
    shares = np.full(q, 1 / q) if weights is None else weights / weights.sum()
    spread = shares * (differences - mean)
    if groups is not None:
        spread = np.bincount(np.unique(groups, return_inverse=True)[1], spread)
    variance = q * float(np.square(spread).sum())
    normal = NormalDist()
    scale = (normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)) / mean
    return max(1, ceil(scale**2 * variance))


def _require_weighted(values: np.ndarray, weights: np.ndarray | None) -> None:
    if not len(values):
        raise InvalidInput("a mean over queries: expected values, came none")
    if weights is not None and not (
        weights.shape == values.shape and (weights > 0).all() and np.isfinite(weights).all()
    ):
        raise InvalidInput("a mean over queries: expected one finite weight above 0 a value")


def _require_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise InvalidInput("values with NaN or infinity came; leave out queries that have no value")
