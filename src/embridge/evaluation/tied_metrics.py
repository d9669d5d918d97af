"""Retrieval metrics of rankings with equal scores: the expectation over all orders of these, in closed form.

Each hit is one of ``size`` equal ones, of which ``relevant`` are relevant, and ``before`` of them stand before it. Where
no two scores are equal these are the values of `embridge.evaluation.metrics`.

Source: McSherry & Najork 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from embridge.evaluation.ties import Ties
from embridge.shapes import Float32, Float64, Int64

__all__ = ["TIED_METRICS", "expected_average_precision", "expected_first_rank", "expected_ndcg", "expected_recall"]

_Expected = Callable[[Ties, int, np.ndarray, np.ndarray], np.ndarray]


def expected_recall(
    ties: Ties, k: int, relevant: Int64[np.ndarray, " t"], *, rule: Literal["any", "share"]
) -> Float64[np.ndarray, " t"]:
    """Expect `embridge.evaluation.recall_at_k`.

    Args:
        ties: The hits.
        k: How deep to look.
        relevant: How many items are relevant to each query [t].
        rule: ``any`` or ``share``.

    Returns:
        One value a query [t].

    Examples:
        >>> ones, half = np.ones((1, 2), np.int64), np.full((1, 2), 0.5)
        >>> ties = Ties(np.array([0]), np.array([[0, 1]]), 2 * ones, ones, half, half)
        >>> expected_recall(ties, 1, np.array([1]), rule="any").tolist()
        [0.5]
    """
    if rule == "any":
        return 1 - _none_yet(ties.cut(k))[:, -1]
    found = (ties.relevant / ties.size)[:, :k].sum(axis=1)
    return np.asarray(found / np.maximum(relevant, 1))


def expected_average_precision(ties: Ties, k: int, relevant: Int64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
    """Expect the sum of the precisions at the relevant items within the top k, over ``relevant``.

    Args:
        ties: The hits.
        k: How deep to look.
        relevant: What the sum is divided by [t].

    Returns:
        One value a query [t].

    Examples:
        >>> ones, half = np.ones((1, 2), np.int64), np.full((1, 2), 0.5)
        >>> ties = Ties(np.array([0]), np.array([[0, 1]]), 2 * ones, ones, half, half)
        >>> expected_average_precision(ties, 2, np.array([1])).tolist()
        [0.75]
    """
    top = ties.cut(k)
    share = top.relevant / top.size
    earlier = share.cumsum(axis=1) - share - top.before * share  # in runs of other scores
    beside = top.before * (top.relevant - 1) / np.maximum(top.size - 1, 1)  # in its own, if it is relevant
    precision = (1 + earlier + beside) / np.arange(1, share.shape[1] + 1)
    return np.asarray((share * precision).sum(axis=1) / np.maximum(relevant, 1))


def expected_ndcg(
    ties: Ties, k: int, ideal: Float32[np.ndarray, "t m"], *, growth: Literal["linear", "exponential"]
) -> Float64[np.ndarray, " t"]:
    """Expect `embridge.evaluation.ndcg_at_k`.

    Args:
        ties: The hits.
        k: How deep to look.
        ideal: The gains of each query's relevant items, largest first [t, m].
        growth: ``linear`` or ``exponential``.

    Returns:
        One value a query [t].

    Examples:
        >>> ones, half = np.ones((1, 2), np.int64), np.full((1, 2), 0.5)
        >>> ties = Ties(np.array([0]), np.array([[0, 1]]), 2 * ones, ones, half, half)
        >>> expected_ndcg(ties, 1, np.ones((1, 1), np.float32), growth="linear").tolist()
        [0.5]
    """
    best = ideal[:, :k].astype(np.float64)
    values = ties.gain if growth == "linear" else ties.power
    best = best if growth == "linear" else np.exp2(best) - 1
    reached, possible = (
        (part / np.log2(np.arange(2, part.shape[1] + 2))).sum(axis=1) for part in (values[:, :k], best)
    )
    return np.divide(reached, possible, out=np.zeros(len(best)), where=possible > 0)


def expected_first_rank(ties: Ties) -> Float64[np.ndarray, " t"]:
    """Expect the rank of the first relevant item, within the first run of equal hits that has one.

    Args:
        ties: The hits.

    Returns:
        Ranks [t], 1 is best; 0 where nothing relevant is among the hits' scores.

    Examples:
        >>> ones, half = np.ones((1, 2), np.int64), np.full((1, 2), 0.5)
        >>> expected_first_rank(Ties(np.array([0]), np.array([[0, 1]]), 2 * ones, ones, half, half)).tolist()
        [1.5]
    """
    right = ties.relevant > 0
    first, line = right.argmax(axis=1), np.arange(len(right))
    rank = first + (ties.size[line, first] + 1) / (ties.relevant[line, first] + 1)
    return np.where(right.any(axis=1), rank, 0.0)


def _none_yet(top: Ties) -> np.ndarray:
    """The chance that none of the hits so far is relevant [t, k]."""
    left = top.size - top.before
    return np.cumprod(np.clip((left - top.relevant) / left, 0, 1), axis=1)


def _reciprocal_rank(ties: Ties, k: int) -> np.ndarray:
    none = _none_yet(ties.cut(k))
    first_here = -np.diff(none, axis=1, prepend=1.0)
    return np.asarray((first_here / np.arange(1, none.shape[1] + 1)).sum(axis=1))


def _any(ties: Ties, k: int, relevant: np.ndarray, _: np.ndarray) -> np.ndarray:
    return expected_recall(ties, k, relevant, rule="any")


TIED_METRICS: dict[str, _Expected] = {
    "recall": _any,
    "cmc": _any,
    "recall_share": lambda ties, k, relevant, _: expected_recall(ties, k, relevant, rule="share"),
    "ndcg": lambda ties, k, _, ideal: expected_ndcg(ties, k, ideal, growth="linear"),
    "ndcg_exp": lambda ties, k, _, ideal: expected_ndcg(ties, k, ideal, growth="exponential"),
    "mrr": lambda ties, k, *_: _reciprocal_rank(ties, k),
    "map": lambda ties, k, relevant, _: expected_average_precision(ties, k, relevant),
    "map_min": lambda ties, k, relevant, _: expected_average_precision(ties, k, np.minimum(relevant, k)),
}
"""By the names of `embridge.evaluation.MEASURES`: the expectation by ties, k, relevant and ideal."""
