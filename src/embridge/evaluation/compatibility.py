"""Is the new model, on the old gallery, better than the old one, and what did the upgrade change?

M(q, g) is a metric of queries by model q over a gallery by model g; n is the new model, o the old one, and * the paragon,
the best that could be had: usually the new model trained freely, with its own gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embridge.errors import InvalidInput
from embridge.evaluation.statistics import Interval, bootstrap_mean, queries_needed, weighted_mean
from embridge.shapes import Float64, Int64

__all__ = [
    "FEWEST_CHANGED",
    "Answer",
    "Comparison",
    "compatible",
    "expected_flip_rates",
    "flip_rates",
    "flips",
]

_ROUNDING = 1e-12  # an expectation over ties may miss the very value by as much
Answer = Literal["yes", "no", "undecided"]
FEWEST_CHANGED = 6
"""Fewer queries that changed cannot reach the two-sided 5 % of an exact sign test, even if all changed one way."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether one system beats another, and the evidence.

    Attributes:
        answer: ``yes``, ``no`` or ``undecided``.
        difference: The interval of M(n, o) − M(o, o) that the answer rests on.
        more_queries: How many more queries of this kind would settle it, were the difference to stay; None where it is
            settled, or no difference was seen.

    Examples:
        >>> Comparison("undecided", Interval(0.01, -0.02, 0.04), more_queries=900).more_queries
        900
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
    """Decide whether the upgraded system beats the old one.

    ``yes`` if the paired bootstrap interval of the difference lies above 0, ``no`` if below, else ``undecided``. Where fewer
    than `FEWEST_CHANGED` queries, or groups of them, differ it is ``undecided`` whatever they say.

    Args:
        new_old: One value a query [q] of the new queries on the old gallery.
        old_old: The same queries' values [q] in the old system.
        weights: How much each query counts [q]; once by default.
        groups: A number a query [q]; equal ones are drawn together, see `bootstrap_mean`.
        seed: Draws the resamples.
        resamples: How many there are.

    Returns:
        The answer, with the interval of the difference.

    Raises:
        InvalidInput: The arrays are not of the same queries, or hold NaN.

    Note:
        Source: Shen et al. 2020, section 3. Compatibility is strict, M(n, o) > M(o, o).

    Examples:
        >>> before, after = np.array([0.0, 1.0] * 50), np.array([1.0, 1.0] * 50)
        >>> compatible(after, before).answer
        'yes'
        >>> compatible(after[:10], before[:10]).answer
        'undecided'
    """
    _require_paired(new_old, old_old)
    changes = new_old - old_old
    changes[np.abs(changes) < _ROUNDING] = 0
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
    """Find the queries that changed sides. A query is right where its value is above 0.

    Args:
        new_old: One value a query [q] after the upgrade.
        old_old: The same queries' values [q] before it.

    Returns:
        The queries that were right and are now wrong [a], and those that were wrong and are now right [b].

    Raises:
        InvalidInput: The arrays are not of the same queries, or hold NaN.

    Examples:
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
    """Measure the shares of queries that changed sides. A query is right where its value is above 0.

    Args:
        new_old: One value a query [q] after the upgrade.
        old_old: The same queries' values [q] before it.
        weights: How much each query counts [q]; once by default.

    Returns:
        The negative rate (right before, wrong now) and the positive one (the reverse).

    Raises:
        InvalidInput: The arrays are not of the same queries, or hold NaN.

    Note:
        Source: Yan et al. 2021, section 3.

    Examples:
        >>> flip_rates(np.array([0.0, 1.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0]))
        (0.25, 0.5)
    """
    _require_paired(new_old, old_old)
    return expected_flip_rates((new_old > 0).astype(np.float64), (old_old > 0).astype(np.float64), weights=weights)


def expected_flip_rates(
    new_old: Float64[np.ndarray, " q"],
    old_old: Float64[np.ndarray, " q"],
    *,
    weights: Float64[np.ndarray, " q"] | None = None,
) -> tuple[float, float]:
    """Measure how far the chance to be right fell and rose: `flip_rates` where equal hits make it a matter of chance.

    Args:
        new_old: The chance that each query is right after the upgrade [q].
        old_old: The chance that it was before [q].
        weights: How much each query counts [q]; once by default.

    Returns:
        The negative rate and the positive one.

    Raises:
        InvalidInput: The arrays are not of the same queries, or hold NaN.

    Examples:
        >>> expected_flip_rates(np.array([0.0, 0.5]), np.array([1.0, 1.0]))
        (0.75, 0.0)
    """
    _require_paired(new_old, old_old)
    change = new_old - old_old
    return weighted_mean(np.maximum(-change, 0), weights), weighted_mean(np.maximum(change, 0), weights)


def _more_queries(changes: np.ndarray, weights: np.ndarray | None, groups: np.ndarray | None) -> int | None:
    needed = queries_needed(changes, weights=weights, groups=groups)
    if needed is None:
        return None
    changed = _changed(changes, groups) / len(changes)
    return max(needed, int(np.ceil(FEWEST_CHANGED / changed)), len(changes) + 1) - len(changes)


def _require_paired(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or not len(a):
        raise InvalidInput(f"expected one value a query from both systems, came {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InvalidInput("values with NaN or infinity came; leave out queries that have no value in both systems")
