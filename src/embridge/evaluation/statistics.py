"""Intervals by the bootstrap over queries, and how many queries a question needs."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from statistics import NormalDist

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float64

__all__ = ["Interval", "bootstrap_mean", "queries_needed", "weighted_mean"]

_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the bounds of its interval."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width: what stands after ± in a table."""
        return (self.high - self.low) / 2


def weighted_mean(values: Float64[np.ndarray, " q"], weights: Float64[np.ndarray, " q"] | None = None) -> float:
    """The mean over queries, each counted as often as its weight says (once, without weights).

    >>> weighted_mean(np.array([1.0, 0.0]), np.array([3.0, 1.0]))
    0.75
    """
    return float(values.mean() if weights is None else values @ weights / weights.sum())


def bootstrap_mean(
    values: Float64[np.ndarray, " q"],
    *,
    weights: Float64[np.ndarray, " q"] | None = None,
    resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a mean over queries (Efron & Tibshirani 1993, chapter 13).

    For a difference of two systems pass the per-query differences: that is the paired bootstrap. Weights are resampled
    with their queries. The same seed gives the same interval. What did not vary has no width: one query, or values that
    are all equal, give low = value = high. Raises `InvalidInput` for no values, NaN, and weights that are not above 0.

    >>> bootstrap_mean(np.array([1.0, 1.0, 1.0]))
    Interval(value=1.0, low=1.0, high=1.0)
    """
    q = len(values)
    if q == 0 or resamples < 1 or not 0 < level < 1:
        came = f"{q}, {resamples}, {level}"
        raise InvalidInput(f"bootstrap: expected values, resamples >= 1, level in (0, 1); came {came}")
    if not np.isfinite(values).all():
        raise InvalidInput("bootstrap: values with NaN or infinity came; leave out queries that have no value")
    if weights is not None and (weights.shape != values.shape or not (weights > 0).all()):
        raise InvalidInput("bootstrap: expected one weight above 0 a value")
    distinct, counts = np.unique(_with_weights(values, weights), axis=0, return_counts=True)
    step = max(1, _BLOCK_VALUES // len(distinct))
    generator = np.random.default_rng(seed)
    # how often each distinct value is drawn is multinomial: the same resampling, without drawing query by query
    draws = (min(step, resamples - done) for done in range(0, resamples, step))
    sums = np.concatenate([generator.multinomial(q, counts / q, n) @ distinct for n in draws])
    means = sums[:, 0] / (q if weights is None else sums[:, 1])
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(weighted_mean(values, weights), float(low), float(high))


def _with_weights(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """[q, 1] values, or [q, 2] weighted values and weights."""
    return values[:, None] if weights is None else np.stack([values * weights, weights], axis=1)


def queries_needed(differences: Float64[np.ndarray, " q"], *, level: float = 0.95, power: float = 0.8) -> int | None:
    """How many queries in all would settle a difference like the one seen; None where none was seen.

    The usual sample size of a paired comparison: ((z₁ + z₂) · s / mean)², where z₁ belongs to the two-sided level and z₂
    to the power, the chance that so many queries show it.

    >>> queries_needed(np.array([0.0, 0.0, 0.0, 1.0, -1.0, 1.0, 0.0, 0.0]))
    181
    """
    mean, deviation = float(differences.mean()), float(differences.std())
    if mean == 0:
        return None
    normal = NormalDist()
    return ceil(((normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)) * deviation / mean) ** 2)
