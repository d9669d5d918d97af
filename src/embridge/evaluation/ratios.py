"""Ratios of figures: what a bridge keeps, whether it is worth its while, and what compatibility costs and gains.

M(q, g) is a metric of queries by model q over a gallery by model g; n is the new model, o the old one, and * the paragon,
the best that could be had: usually the new model trained freely, with its own gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, nan

from embridge.errors import InvalidInput

__all__ = ["break_even", "p_1", "p_comp", "p_up", "retention", "update_gain"]


def update_gain(new_old: float, old_old: float, paragon: float) -> float:
    """Measure how far an upgrade goes from the old system, 0, to the paragon, 1.

    It explodes where the paragon is hardly better than the old system, so read the absolute difference beside it.

    Args:
        new_old: M(n, o).
        old_old: M(o, o).
        paragon: M(*, *).

    Returns:
        [M(n, o) − M(o, o)] / [M(*, *) − M(o, o)]; NaN where the paragon is exactly as good as the old system.

    Note:
        Source: Ramanujan et al. 2022.

    Examples:
        >>> round(update_gain(0.5, 0.4, 0.8), 3)
        0.25
    """
    return nan if paragon == old_old else (new_old - old_old) / (paragon - old_old)


def retention(bridged: float, new_new: float) -> float:
    """Measure the share of a full backfill that the bridge keeps.

    Args:
        bridged: M of the bridge.
        new_new: M(n, n).

    Returns:
        M(bridge) / M(n, n); NaN where a backfill finds nothing.

    Examples:
        >>> retention(0.5, 0.8)
        0.625
    """
    return bridged / new_new if new_new else nan


def break_even(bridged: float, new_new: float, old_old: float) -> float:
    """Measure whether a bridge is worth its while: it is above 1.

    Args:
        bridged: M of the bridge.
        new_new: M(n, n).
        old_old: M(o, o).

    Returns:
        `retention` times the gain M(n, n) / M(o, o); NaN where the old system or a backfill finds nothing.

    Examples:
        >>> round(break_even(0.6, 0.8, 0.5), 3)
        1.2
    """
    return retention(bridged, new_new) * (new_new / old_old) if old_old else nan


def p_up(self_tests: Sequence[float], paragons: Sequence[float]) -> float:
    """Measure what compatibility costs the new model: nothing at .5, less than nothing above.

    Args:
        self_tests: M(n, n) on each data set.
        paragons: M* on each data set.

    Returns:
        The mean over data sets of σ((M(n, n) − M*) / M*).

    Raises:
        InvalidInput: Not every system has one figure a data set.

    Note:
        Source: AdvBCT, Pan et al. 2023, recovered from its tables.

    Examples:
        >>> round(p_up([0.8205, 0.6451, 0.1644], [0.8115, 0.6385, 0.1648]), 4)
        0.5016
    """
    return _mean(_p_up(self_tests, paragons))


def p_comp(cross_tests: Sequence[float], olds: Sequence[float], paragons: Sequence[float]) -> float:
    """Measure what the upgrade gains: nothing over the old system at .5.

    Args:
        cross_tests: M(n, o) on each data set.
        olds: M(o, o) on each data set.
        paragons: M* on each data set.

    Returns:
        The mean over data sets of σ((M(n, o) − M(o, o)) / (M* − M(o, o))).

    Raises:
        InvalidInput: Not every system has one figure a data set.

    Note:
        Source: AdvBCT, Pan et al. 2023, recovered from its tables.

    Examples:
        >>> round(p_comp([0.7716, 0.5482, 0.1205], [0.7429, 0.5434, 0.1143], [0.8115, 0.6385, 0.1648]), 3)
        0.549
    """
    return _mean(_p_comp(cross_tests, olds, paragons))


def p_1(
    self_tests: Sequence[float], cross_tests: Sequence[float], olds: Sequence[float], paragons: Sequence[float]
) -> float:
    """Measure cost and gain in one figure; .5 is break-even.

    Args:
        self_tests: M(n, n) on each data set.
        cross_tests: M(n, o) on each data set.
        olds: M(o, o) on each data set.
        paragons: M* on each data set.

    Returns:
        The mean over data sets of the harmonic mean of the terms of `p_up` and `p_comp`.

    Raises:
        InvalidInput: Not every system has one figure a data set.

    Note:
        Source: AdvBCT, Pan et al. 2023, recovered from its tables.

    Examples:
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


def _require_alike(*figures: Sequence[float]) -> None:
    if not figures[0] or len({len(f) for f in figures}) != 1:
        raise InvalidInput(f"expected one figure a data set from every system, came {[len(f) for f in figures]}")
