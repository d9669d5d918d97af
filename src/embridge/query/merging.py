"""Two lists of hits, each scored in a space of its own, merged into one.

A server merges lists of ids (`embridge.query.MixedSearch`), an evaluation lists of rows (`embridge.evaluation.Mixed`).
Both do it by these functions, so what is measured is what is served.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from embridge.errors import InvalidInput
from embridge.query.calibration import Calibration
from embridge.shapes import Float64, Int64
from embridge.space import Space, require_same

__all__ = ["Merge", "Part", "Plain", "best_of_both", "comparable", "require_merge"]

Plain = Literal["rrf", "raw"]
Merge = Calibration | Plain
Part = Literal["old", "new"]
_RRF_K = 60


def comparable(
    merge: Merge, part: Part, scores: Float64[np.ndarray, ...], ranks: Int64[np.ndarray, ...]
) -> Float64[np.ndarray, ...]:
    """Values that compare hits of the old rows with hits of the new ones.

    Args:
        merge: A `Calibration`, ``rrf`` or ``raw``.
        part: Which rows the hits are of.
        scores: Of each hit, in its own space.
        ranks: Of each hit in its own list, from 0; they broadcast to ``scores``.

    Returns:
        Float64 of the same shape, larger is better. ``rrf`` gives 1 / (61 + rank), ``raw`` the scores.

    Note:
        ``rrf`` is reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).

    Examples:
        >>> comparable("rrf", "old", np.array([0.9, 0.8]), np.arange(2)).round(4).tolist()
        [0.0164, 0.0161]
    """
    if merge == "rrf":
        return np.broadcast_to(1 / (_RRF_K + 1 + np.asarray(ranks, np.float64)), np.shape(scores))
    if isinstance(merge, Calibration):
        return (merge.old if part == "old" else merge.new)(scores)
    return np.asarray(scores, np.float64)


def best_of_both(
    new: Float64[np.ndarray, "... a"], old: Float64[np.ndarray, "... b"], k: int
) -> Int64[np.ndarray, "... m"]:
    """The k best hits of two lists, as places in the new list followed by the old one.

    Equal values go by their rank in their own lists; of one rank, the new one comes first.

    Args:
        new: Comparable values of the hits among new rows, best first; one list, or one a query.
        old: The same for old rows.
        k: How many hits to return at most.

    Returns:
        Places in ``concatenate([new, old])``, best first; k of each list, or all there are.

    Examples:
        >>> best_of_both(np.array([0.9, 0.5]), np.array([0.9, 0.7]), 3).tolist()
        [0, 2, 3]
    """
    values = np.concatenate([new, old], axis=-1)
    ranks = np.concatenate([np.arange(new.shape[-1]), np.arange(old.shape[-1])])
    return np.lexsort((np.broadcast_to(ranks, values.shape), -values), axis=-1)[..., :k]  # it is a stable sort


def require_merge(merge: Merge, old: Space, new: Space) -> None:
    """Raise `InvalidInput` or `SpaceMismatch` unless this merge compares scores of these two spaces."""
    if isinstance(merge, Calibration):
        require_same(old, merge.old_space, what="the old side of the calibration")
        require_same(new, merge.new_space, what="the new side of the calibration")
    elif merge not in get_args(Plain):
        raise InvalidInput(f"merge is a Calibration or one of {', '.join(get_args(Plain))}, not {merge!r}")
    elif merge == "raw" and old.metric != new.metric:
        raise InvalidInput(f"raw scores by {old.metric} and by {new.metric} have nothing in common; calibrate them")
