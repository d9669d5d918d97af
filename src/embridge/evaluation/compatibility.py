"""Is the new model, on the old gallery, better than the old one?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embridge.errors import InvalidInput
from embridge.evaluation.statistics import Interval, bootstrap_mean
from embridge.shapes import Float64

__all__ = ["Answer", "Comparison", "compatible", "flip_rates"]

Answer = Literal["yes", "no", "undecided"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer, and the interval of M(new, old) − M(old, old) it rests on."""

    answer: Answer
    difference: Interval


def compatible(
    new_old: Float64[np.ndarray, " q"], old_old: Float64[np.ndarray, " q"], *, seed: int = 0, resamples: int = 2_000
) -> Comparison:
    """``yes`` if the paired bootstrap interval of the difference lies above 0, ``no`` if below, else ``undecided``.

    Compatibility is strict, M(new, old) > M(old, old) (Shen et al. 2020, section 3); both arrays hold one value a
    query, of the same queries in the same order.
    """
    _require_paired(new_old, old_old)
    difference = bootstrap_mean(new_old - old_old, seed=seed, resamples=resamples)
    answer: Answer = "yes" if difference.low > 0 else "no" if difference.high < 0 else "undecided"
    return Comparison(answer, difference)


def flip_rates(new_old: Float64[np.ndarray, " q"], old_old: Float64[np.ndarray, " q"]) -> tuple[float, float]:
    """(negative, positive) flip rates: the share of queries right before and wrong now, and the reverse.

    A query is right where its value is above 0 (Yan et al. 2021, section 3).
    """
    _require_paired(new_old, old_old)
    was, now = old_old > 0, new_old > 0
    return float((was & ~now).mean()), float((~was & now).mean())


def _require_paired(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or not len(a):
        raise InvalidInput(f"expected one value a query from both systems, came {a.shape} and {b.shape}")
