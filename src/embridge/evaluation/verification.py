"""Verification: are two items the same? Yes where their score reaches a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float64

__all__ = ["Acceptance", "tar_at_far"]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a threshold accepts: pairs scoring it or more.

    Attributes:
        threshold: The score; infinite where nothing is accepted.
        true_accept_rate: The share of same pairs accepted.
        false_accept_rate: The share of different pairs accepted.

    Examples:
        >>> Acceptance(0.7, true_accept_rate=0.9, false_accept_rate=0.001).true_accept_rate
        0.9
    """

    threshold: float
    true_accept_rate: float
    false_accept_rate: float


def tar_at_far(same: Float64[np.ndarray, " s"], different: Float64[np.ndarray, " d"], far: float) -> Acceptance:
    """Find the threshold that accepts most same pairs, while it accepts at most a share of different ones.

    Ties are settled conservatively: pairs of one score are accepted or refused together, so the rate reached may be below the
    one asked, never above. The threshold is the lowest score seen that keeps it.

    Args:
        same: Scores of pairs that are the same [s].
        different: Scores of pairs that are not [d].
        far: The share of different pairs that may be accepted, in (0, 1].

    Returns:
        The threshold, and what it accepts.

    Raises:
        InvalidInput: There are no pairs, NaN among them, the rate is out of range, or fewer than 1 / far different pairs
            cannot show it.

    Note:
        Source: TAR @ FAR of the face verification benchmarks (IJB-B, Whitelam et al. 2017).

    Examples:
        >>> tar_at_far(np.array([0.9, 0.8, 0.3]), np.array([0.7, 0.2, 0.1, 0.0]), 0.25)
        Acceptance(threshold=0.3, true_accept_rate=1.0, false_accept_rate=0.25)
    """
    _require_pairs(same, different, far)
    ranked = np.sort(different)[::-1]
    allowed = np.count_nonzero(np.arange(1, len(ranked) + 1) / len(ranked) <= far)
    seen = np.concatenate([same, different])
    if allowed < len(ranked):
        seen = seen[seen > ranked[allowed]]
    threshold = float(seen.min(initial=inf))
    return Acceptance(threshold, float((same >= threshold).mean()), float((different >= threshold).mean()))


def _require_pairs(same: np.ndarray, different: np.ndarray, far: float) -> None:
    if not len(same) or not len(different) or not 0 < far <= 1:
        came = f"{len(same)}, {len(different)} and {far}"
        raise InvalidInput(f"expected scores of same and different pairs and a rate in (0, 1], came {came}")
    if not (np.isfinite(same).all() and np.isfinite(different).all()):
        raise InvalidInput("verification: scores with NaN or infinity came; leave out pairs that have no score")
    if 1 / len(different) > far:
        needed = ceil(1 / far)
        raise InvalidInput(
            f"a false accept rate of {far:g} takes at least {needed:,} different pairs, came {len(different):,}"
        )
