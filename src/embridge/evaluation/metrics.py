"""Retrieval metrics: pure functions, one value a query, fractions, higher is better.

``gains`` [q, k] say how relevant each ranked item is, best rank first: 0 for one that is not, and never NaN, which
`Relevance` refuses. A ranking shorter than k is taken for the whole gallery. What becomes of a query with nothing
relevant is said by ``empty`` in every call: ``skip`` gives it NaN, to be left out of means; ``zero`` counts it as failed;
``error`` refuses it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float32, Float64, Int64

__all__ = ["Empty", "average_precision", "cmc_at_k", "first_hits", "mrr", "ndcg_at_k", "recall_at_k"]

Empty = Literal["skip", "zero", "error"]
_LARGEST_POWER = 1_000


def first_hits(gains: Float32[np.ndarray, "q k"]) -> Int64[np.ndarray, " q"]:
    """Find the rank of each query's first relevant item.

    Args:
        gains: How relevant each ranked item is [q, k], best rank first.

    Returns:
        Ranks [q], 1 is best; 0 where nothing relevant is in the ranking.

    Examples:
        >>> first_hits(np.array([[0, 1, 1], [0, 0, 0]], np.float32)).tolist()
        [2, 0]
    """
    if not gains.shape[1]:
        return np.zeros(len(gains), np.int64)
    right = gains > 0
    return np.where(right.any(axis=1), right.argmax(axis=1) + 1, 0)


def cmc_at_k(
    gains: Float32[np.ndarray, "q k"], k: int, *, relevant: Int64[np.ndarray, " q"], empty: Empty
) -> Float64[np.ndarray, " q"]:
    """Measure the cumulative match characteristic: 1 where the first relevant item is within the top k, else 0.

    Args:
        gains: How relevant each ranked item is [q, depth], best rank first.
        k: How deep to look, at least 1.
        relevant: How many items are relevant to each query [q].
        empty: What becomes of a query with none: ``skip``, ``zero`` or ``error``.

    Returns:
        Float64 [q].

    Raises:
        InvalidInput: k is below 1, or a query has nothing relevant and ``empty`` is ``error``.

    Examples:
        >>> gains = np.array([[0, 0, 1, 1]], np.float32)
        >>> cmc_at_k(gains, 3, relevant=np.array([2]), empty="error").tolist()
        [1.0]
    """
    first = first_hits(_top(gains, k))
    return _settled((first > 0).astype(np.float64), relevant, empty)


def recall_at_k(
    gains: Float32[np.ndarray, "q k"],
    k: int,
    *,
    relevant: Int64[np.ndarray, " q"],
    rule: Literal["any", "share"],
    empty: Empty,
) -> Float64[np.ndarray, " q"]:
    """Measure recall within the top k.

    Args:
        gains: How relevant each ranked item is [q, depth], best rank first.
        k: How deep to look, at least 1.
        relevant: How many items are relevant to each query [q].
        rule: ``any`` gives 1 where any relevant item is found, as image-text retrieval counts; the same as `cmc_at_k`.
            ``share`` gives the share of the relevant items that is found, as text retrieval counts.
        empty: What becomes of a query with none: ``skip``, ``zero`` or ``error``.

    Returns:
        Float64 [q].

    Raises:
        InvalidInput: k is below 1, or a query has nothing relevant and ``empty`` is ``error``.

    Examples:
        >>> gains = np.array([[0, 0, 1, 1]], np.float32)
        >>> [recall_at_k(gains, 3, relevant=np.array([2]), rule=r, empty="error").tolist() for r in ("any", "share")]
        [[1.0], [0.5]]
    """
    if rule == "any":
        return cmc_at_k(gains, k, relevant=relevant, empty=empty)
    found = (_top(gains, k) > 0).sum(axis=1)
    return _settled(found / np.maximum(relevant, 1), relevant, empty)


def mrr(
    gains: Float32[np.ndarray, "q k"], k: int, *, relevant: Int64[np.ndarray, " q"], empty: Empty
) -> Float64[np.ndarray, " q"]:
    """Measure one over the rank of the first relevant item; its mean is the mean reciprocal rank.

    Args:
        gains: How relevant each ranked item is [q, depth], best rank first.
        k: How deep to look, at least 1; an item beyond it counts 0.
        relevant: How many items are relevant to each query [q].
        empty: What becomes of a query with none: ``skip``, ``zero`` or ``error``.

    Returns:
        Float64 [q].

    Raises:
        InvalidInput: k is below 1, or a query has nothing relevant and ``empty`` is ``error``.

    Examples:
        >>> mrr(np.array([[0, 1], [1, 0]], np.float32), 2, relevant=np.array([1, 1]), empty="error").tolist()
        [0.5, 1.0]
    """
    first = first_hits(_top(gains, k))
    return _settled(np.divide(1.0, first, out=np.zeros(len(first)), where=first > 0), relevant, empty)


def average_precision(
    gains: Float32[np.ndarray, "q k"],
    k: int,
    *,
    relevant: Int64[np.ndarray, " q"],
    denominator: Literal["relevant", "min(relevant, k)"],
    estimator: Literal["step", "trapezoid"],
    empty: Empty,
) -> Float64[np.ndarray, " q"]:
    """Sum the precision at each relevant item within the top k, and divide; the mean of it is mAP@k.

    Args:
        gains: How relevant each ranked item is [q, depth], best rank first.
        k: How deep to look, at least 1.
        relevant: How many items are relevant to each query [q].
        denominator: ``relevant`` divides by all relevant items, so that a perfect top k of fewer scores below 1;
            ``min(relevant, k)`` gives it 1.
        estimator: ``step`` takes the precision at the item, as scikit-learn and trec_eval do. ``trapezoid`` takes the mean
            of the precisions before and at it, as the Oxford and Paris landmark benchmarks do.
        empty: What becomes of a query with nothing relevant: ``skip``, ``zero`` or ``error``.

    Returns:
        Float64 [q].

    Raises:
        InvalidInput: k is below 1, or a query has nothing relevant and ``empty`` is ``error``.

    Note:
        Source of the trapezoids: Philbin et al. 2007.

    Examples:
        >>> gains = np.array([[1, 0, 1]], np.float32)
        >>> settings = {"relevant": np.array([4]), "estimator": "step", "empty": "error"}
        >>> by = "relevant", "min(relevant, k)"
        >>> [float(average_precision(gains, 3, denominator=d, **settings)[0].round(3)) for d in by]
        [0.417, 0.556]
    """
    right = _top(gains, k) > 0
    rank = np.arange(1, right.shape[1] + 1)
    found = right.cumsum(axis=1)
    precision = found / rank
    if estimator == "trapezoid":
        before = np.divide(found - right, rank - 1, out=np.ones(right.shape), where=rank > 1)
        precision = (precision + before) / 2
    wanted = relevant if denominator == "relevant" else np.minimum(relevant, k)
    return _settled((precision * right).sum(axis=1) / np.maximum(wanted, 1), relevant, empty)


def ndcg_at_k(
    gains: Float32[np.ndarray, "q k"],
    k: int,
    *,
    ideal: Float32[np.ndarray, "q m"],
    growth: Literal["linear", "exponential"],
    empty: Empty,
) -> Float64[np.ndarray, " q"]:
    """Divide the discounted cumulative gain by that of the best possible ranking.

    An item at rank r counts gain / log2(r + 1).

    Args:
        gains: How relevant each ranked item is [q, depth], best rank first.
        k: How deep to look, at least 1.
        ideal: The gains of each query's relevant items [q, m], largest first, zeros after them; k columns, or all there are.
        growth: ``linear`` takes an item's judgement for its gain, ``exponential`` takes 2^judgement − 1.
        empty: What becomes of a query with nothing relevant: ``skip``, ``zero`` or ``error``.

    Returns:
        Float64 [q].

    Raises:
        InvalidInput: k is below 1, a query has nothing relevant and ``empty`` is ``error``, or a judgement above 1,000 is
            to grow exponentially.

    Note:
        Source: Järvelin & Kekäläinen 2002; the exponential gain is of Burges et al. 2005.

    Examples:
        >>> gains, ideal = np.array([[1, 0, 2]], np.float32), np.array([[2, 1]], np.float32)
        >>> float(ndcg_at_k(gains, 3, ideal=ideal, growth="linear", empty="error")[0].round(3))
        0.76
    """
    if growth == "exponential" and max(gains.max(initial=0), ideal.max(initial=0)) > _LARGEST_POWER:
        raise InvalidInput(
            f"2^gain overflows for gains above {_LARGEST_POWER}, such as sums of clicks; use the linear growth (ndcg_at_k)"
        )
    best = _discounted(_top(ideal, k), growth)
    reached = _discounted(_top(gains, k), growth)
    relevant = (ideal > 0).sum(axis=1)
    return _settled(np.divide(reached, best, out=np.zeros(len(best)), where=best > 0), relevant, empty)


def _discounted(gains: np.ndarray, growth: Literal["linear", "exponential"]) -> np.ndarray:
    wide = gains.astype(np.float64)
    value = wide if growth == "linear" else np.exp2(wide) - 1
    # a sum a row, not a matrix product, whose rounding depends on how many queries come at once
    return (value / np.log2(np.arange(2, gains.shape[1] + 2))).sum(axis=1)


def _top(gains: np.ndarray, k: int) -> np.ndarray:
    if k < 1:
        raise InvalidInput(f"a metric at k: k is at least 1, came {k}")
    return gains[:, :k]


def _settled(values: np.ndarray, relevant: np.ndarray, empty: Empty) -> np.ndarray:
    """The values, with the stated rule for queries that have nothing relevant."""
    nothing = relevant == 0
    if not nothing.any():
        return values.astype(np.float64)
    if empty == "error":
        raise InvalidInput(
            f"{nothing.sum()} of {len(relevant)} queries have no relevant item, first query {int(nothing.argmax())}; "
            "leave them out (skip) or count them as failed (zero)"
        )
    return np.where(nothing, np.nan if empty == "skip" else 0.0, values)
