"""Is the new model, on the old gallery, better than the old one, and what did the upgrade change?

M(q, g) is a metric of queries by model q over a gallery by model g; n is the new model, o the old one, and * the paragon,
the best that could be had: usually the new model trained freely, with its own gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, nan
from typing import Literal

import numpy as np

from embridge.errors import InvalidInput
from embridge.evaluation.statistics import Interval, bootstrap_mean, queries_needed, weighted_mean
from embridge.shapes import Float64, Int64

__all__ = [
    "FEWEST_CHANGED",
    "Answer",
    "Comparison",
    "break_even",
    "compatible",
    "flip_rates",
    "flips",
    "p_1",
    "p_comp",
    "p_up",
    "retention",
    "update_gain",
]

Answer = Literal["yes", "no", "undecided"]
FEWEST_CHANGED = 6
"""Fewer queries that changed cannot reach the two-sided 5 % of an exact sign test, even if all changed one way."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer, the interval of M(n, o) − M(o, o) it rests on, and how many more queries would settle it.

    more_queries: of the kind asked, were the difference to stay; None where it is settled, or no difference was seen.
    """

    answer: Answer
    difference: Interval
    more_queries: int | None = None


def compatible(
    new_old: Float64[np.ndarray, " q"],
    old_old: Float64[np.ndarray, " q"],
    *,
    weights: Float64[np.ndarray, " q"] | None = None,
    groups: Int64[np.ndarray, " q"] | None = None,
    seed: int = 0,
    resamples: int = 2_000,
) -> Comparison:
    """``yes`` if the paired bootstrap interval of the difference lies above 0, ``no`` if below, else ``undecided``.

    Compatibility is strict, M(n, o) > M(o, o) (Shen et al. 2020, section 3); both arrays hold one value a query, of the
    same queries in the same order. Where fewer than `FEWEST_CHANGED` queries (or groups of them, see `bootstrap_mean`)
    differ it is ``undecided`` whatever they say.

    >>> before, after = np.array([0.0, 1.0] * 50), np.array([1.0, 1.0] * 50)
    >>> compatible(after, before).answer
    'yes'
    >>> compatible(after[:10], before[:10]).answer
    'undecided'
    """
    _require_paired(new_old, old_old)
    changes = new_old - old_old
    difference = bootstrap_mean(changes, weights=weights, groups=groups, seed=seed, resamples=resamples)
    enough = _changed(changes, groups) >= FEWEST_CHANGED
    if enough and difference.low > 0:
        return Comparison("yes", difference)
    if enough and difference.high < 0:
        return Comparison("no", difference)
    return Comparison("undecided", difference, _more_queries(changes, weights, groups))


def _changed(changes: np.ndarray, groups: np.ndarray | None) -> int:
    """How many queries differ, or how many groups have one that does."""
    return int(np.count_nonzero(changes)) if groups is None else len(np.unique(groups[changes != 0]))


def flips(
    new_old: Float64[np.ndarray, " q"], old_old: Float64[np.ndarray, " q"]
) -> tuple[Int64[np.ndarray, " a"], Int64[np.ndarray, " b"]]:
    """The queries that were right and are now wrong, and those that were wrong and are now right.

    A query is right where its value is above 0.

    >>> [rows.tolist() for rows in flips(np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0]))]
    [[0], [1]]
    """
    _require_paired(new_old, old_old)
    was, now = old_old > 0, new_old > 0
    return np.flatnonzero(was & ~now), np.flatnonzero(~was & now)


def flip_rates(
    new_old: Float64[np.ndarray, " q"],
    old_old: Float64[np.ndarray, " q"],
    *,
    weights: Float64[np.ndarray, " q"] | None = None,
) -> tuple[float, float]:
    """(negative, positive) flip rates: the share of queries right before and wrong now, and the reverse.

    Yan et al. 2021, section 3.

    >>> flip_rates(np.array([0.0, 1.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0]))
    (0.25, 0.5)
    """
    _require_paired(new_old, old_old)
    change = (new_old > 0).astype(np.float64) - (old_old > 0)
    return weighted_mean(np.maximum(-change, 0), weights), weighted_mean(np.maximum(change, 0), weights)


def update_gain(new_old: float, old_old: float, paragon: float) -> float:
    """[M(n, o) − M(o, o)] / [M(*, *) − M(o, o)] (Ramanujan et al. 2022): 0 is the old system, 1 a full backfill.

    NaN where the paragon is exactly as good as the old system; it explodes near there, so read the absolute difference
    beside it.

    >>> round(update_gain(0.5, 0.4, 0.8), 3)
    0.25
    """
    return nan if paragon == old_old else (new_old - old_old) / (paragon - old_old)


def retention(bridged: float, new_new: float) -> float:
    """M(bridge) / M(n, n): the share of a full backfill that the bridge keeps; NaN where a backfill finds nothing.

    >>> retention(0.5, 0.8)
    0.625
    """
    return bridged / new_new if new_new else nan


def break_even(bridged: float, new_new: float, old_old: float) -> float:
    """`retention` times the gain M(n, n) / M(o, o) of the new model: a bridge is worth its while above 1.

    NaN where the old system or a backfill finds nothing.

    >>> round(break_even(0.6, 0.8, 0.5), 3)
    1.2
    """
    return retention(bridged, new_new) * (new_new / old_old) if old_old else nan


def p_up(self_tests: Sequence[float], paragons: Sequence[float]) -> float:
    """Mean over data sets of σ((M(n, n) − M*) / M*): .5 where compatibility costs the new model nothing (AdvBCT).

    Pan et al. 2023, recovered from its tables.

    >>> round(p_up([0.8205, 0.6451, 0.1644], [0.8115, 0.6385, 0.1648]), 4)
    0.5016
    """
    return _mean(_p_up(self_tests, paragons))


def p_comp(cross_tests: Sequence[float], olds: Sequence[float], paragons: Sequence[float]) -> float:
    """Mean over data sets of σ((M(n, o) − M(o, o)) / (M* − M(o, o))): .5 where the upgrade is just as the old system.

    >>> round(p_comp([0.7716, 0.5482, 0.1205], [0.7429, 0.5434, 0.1143], [0.8115, 0.6385, 0.1648]), 3)
    0.549
    """
    return _mean(_p_comp(cross_tests, olds, paragons))


def p_1(
    self_tests: Sequence[float], cross_tests: Sequence[float], olds: Sequence[float], paragons: Sequence[float]
) -> float:
    """Mean over data sets of the harmonic mean of the terms of `p_up` and `p_comp`; .5 is break-even.

    >>> new, crossed = [0.8205, 0.6451, 0.1644], [0.7716, 0.5482, 0.1205]
    >>> round(p_1(new, crossed, [0.7429, 0.5434, 0.1143], [0.8115, 0.6385, 0.1648]), 4)
    0.5235
    """
    ups, comps = _p_up(self_tests, paragons), _p_comp(cross_tests, olds, paragons)
    return _mean([2 * up * comp / (up + comp) for up, comp in zip(ups, comps, strict=True)])


def _p_up(self_tests: Sequence[float], paragons: Sequence[float]) -> list[float]:
    _require_alike(self_tests, paragons)
    return [_sigmoid((own - best) / best if best else nan) for own, best in zip(self_tests, paragons, strict=True)]


def _p_comp(cross_tests: Sequence[float], olds: Sequence[float], paragons: Sequence[float]) -> list[float]:
    _require_alike(cross_tests, olds, paragons)
    return [_sigmoid(update_gain(*figures)) for figures in zip(cross_tests, olds, paragons, strict=True)]


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x)) if x < 0 else nan


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _more_queries(changes: np.ndarray, weights: np.ndarray | None, groups: np.ndarray | None) -> int | None:
    needed = queries_needed(changes, weights=weights, groups=groups)
    if needed is None:
        return None
    changed = _changed(changes, groups) / len(changes)
    return max(needed, int(np.ceil(FEWEST_CHANGED / changed)), len(changes) + 1) - len(changes)


def _require_alike(*figures: Sequence[float]) -> None:
    if not figures[0] or len({len(f) for f in figures}) != 1:
        raise InvalidInput(f"expected one figure a data set from every system, came {[len(f) for f in figures]}")


def _require_paired(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or not len(a):
        raise InvalidInput(f"expected one value a query from both systems, came {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InvalidInput("values with NaN or infinity came; leave out queries that have no value in both systems")
