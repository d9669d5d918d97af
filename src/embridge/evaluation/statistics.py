"""Intervals by the bootstrap over queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float64

__all__ = ["Interval", "bootstrap_mean"]

_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the bounds of its interval."""

    value: float
    low: float
    high: float


def bootstrap_mean(
    values: Float64[np.ndarray, " q"], *, resamples: int = 2_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean over queries (Efron & Tibshirani 1993, chapter 13).

    For a difference of two systems pass the per-query differences: that is the paired bootstrap. The same seed gives
    the same interval. Raises `InvalidInput` for no values.

    >>> bootstrap_mean(np.array([1.0, 1.0, 1.0]))
    Interval(value=1.0, low=1.0, high=1.0)
    """
    q = len(values)
    if q == 0 or resamples < 1 or not 0 < level < 1:
        raise InvalidInput(
            f"bootstrap: expected values, resamples >= 1, level in (0, 1); came {q}, {resamples}, {level}"
        )
    distinct, counts = np.unique(values, return_counts=True)
    step = max(1, _BLOCK_VALUES // len(distinct))
    generator = np.random.default_rng(seed)
    # how often each distinct value is drawn is multinomial: the same resampling, without drawing query by query
    draws = (min(step, resamples - done) for done in range(0, resamples, step))
    means = np.concatenate([generator.multinomial(q, counts / q, n) @ distinct / q for n in draws])
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))
