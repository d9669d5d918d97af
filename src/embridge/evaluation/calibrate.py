"""Calibrations fitted on a sample that both models have seen: what a search of a partly backfilled gallery merges by."""

from __future__ import annotations

from typing import get_args

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation._parted import fetched, searchable
from embridge.evaluation.one_set import own_rows, share_items, without_rows
from embridge.evaluation.relevance import AnyRelevance
from embridge.evaluation.sides import Side
from embridge.nearest._parts import ranked
from embridge.query.calibration import Calibration, CalibrationKind, Curve
from embridge.shapes import Float64
from embridge.space import Metric

__all__ = ["fit_calibration", "isotonic"]

_SAMPLED_PAIRS, _BLOCK_PAIRS = 20_000, 1_000
_SAMPLED_ROWS = 4_096
_RAREST = 16  # pairs at the highest knot of a distance rank; fewer would be noise
_KNOTS = 128


def fit_calibration(
    kind: CalibrationKind,
    new: Side,
    bridged: Side,
    relevance: AnyRelevance | None = None,
    *,
    depth: int = 100,
    seed: int = 0,
) -> Calibration:
    """Fit one curve a space, from a few hundred queries over a sample of the gallery.

    ``calibrated`` is an isotonic regression from score to the share of right items. ``distance-rank`` needs no
    judgements: -log10 of the share of pairs of a query with an item that score at least as high. ``standard`` is
    (score - mean) / spread over random pairs; the backfill curve of a report merges by it.

    Where queries are rows of the gallery, by id and by vector, none finds itself, unless pairs call an item right for
    itself.

    Args:
        kind: ``calibrated``, ``distance-rank`` or ``standard``.
        new: Queries and gallery in the new space, as the upgrade's head writes them.
        bridged: The same queries through the bridge, and the old gallery; both galleries should hold the same items.
        relevance: What is right; ``calibrated`` alone needs it.
        depth: How many hits of each query ``calibrated`` looks at.
        seed: Draws the pairs of ``standard``, and the up to 4,096 items of ``distance-rank``.

    Returns:
        The calibration, with the queries' ids as its support.

    Raises:
        InvalidInput: There are no queries or items, the two sides hold other queries, or nothing found is right.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3))
        >>> fit_calibration("standard", Side(rows, rows), Side(rows, rows)).kind
        'standard'
    """
    for side in (new, bridged):
        if not len(side.queries) or not len(side.gallery):
            raise InvalidInput(f"expected queries and a gallery, came {len(side.queries)} and {len(side.gallery)} rows")
    if new.queries.ids != bridged.queries.ids:
        raise InvalidInput("the new and the bridged queries must be the same ones in the same order")
    if kind not in get_args(CalibrationKind):
        raise InvalidInput(f"a calibration is one of {', '.join(get_args(CalibrationKind))}, not {kind!r}")
    twins = relevance is not None and relevance.names_itself
    one_set = not twins and share_items(new.queries, new.gallery)
    if kind == "calibrated":
        old_curve, new_curve = (_judged(side, relevance, depth, one_set) for side in (bridged, new))
    elif kind == "distance-rank":
        old_curve, new_curve = (_distance_rank(side, one_set, seed) for side in (bridged, new))
    else:
        old_curve, new_curve = (_standard(side, seed) for side in (bridged, new))
    return Calibration(kind, bridged.gallery.space, new.gallery.space, old_curve, new_curve, new.queries.ids)


def isotonic(
    x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Fit the curve of non-descending values that is nearest to y by squares.

    Args:
        x: Float64 [n], in any order; equal x get one value.
        y: Float64 [n].

    Returns:
        Knots [m] and their values [m], at both ends of every level part.

    Note:
        Source: pool adjacent violators (Ayer et al. 1955).

    Examples:
        >>> [knots.tolist() for knots in isotonic(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.5]))]
        [[1.0, 2.0, 3.0], [0.0, 0.75, 0.75]]
    """
    places, inverse = np.unique(x, return_inverse=True)
    sums, counts = np.bincount(inverse, weights=y), np.bincount(inverse)
    blocks: list[tuple[float, int, float, float]] = []  # sum, count, first place, last place
    for total, count, place in zip(sums.tolist(), counts.tolist(), places.tolist(), strict=True):
        first = place
        while blocks and blocks[-1][0] * count >= total * blocks[-1][1]:
            total, count, first = total + blocks[-1][0], count + blocks[-1][1], blocks.pop()[2]
        blocks.append((total, count, first, place))
    ends = [(end, total / count) for total, count, first, last in blocks for end in sorted({first, last})]
    knots = np.array(ends, np.float64).reshape(-1, 2)
    return knots[:, 0], knots[:, 1]


def _judged(side: Side, relevance: AnyRelevance | None, depth: int, one_set: bool) -> Curve:
    if relevance is None or depth < 1:
        raise InvalidInput("a calibrated merge needs relevance and a depth of at least 1; without, take distance-rank")
    queries, gallery = side.queries, side.gallery
    ranking = ranked(queries.vectors, searchable(gallery), depth + one_set, metric=gallery.space.metric)
    if one_set:
        ranking = without_rows(ranking, own_rows(queries, gallery))
    right = relevance.judge(queries.ids, gallery.ids, one_set=one_set).gains(ranking.rows) > 0
    if not right.any():
        raise InvalidInput(
            f"none of the {right.size} items found in {gallery.space} is right; more queries or depth are needed"
        )
    x, y = isotonic(ranking.scores.ravel().astype(np.float64), right.ravel().astype(np.float64))
    return Curve(tuple(x.tolist()), tuple(y.tolist()))


def _distance_rank(side: Side, one_set: bool, seed: int) -> Curve:
    queries, gallery = side.queries, side.gallery
    rows = np.random.default_rng(seed).permutation(len(gallery))[:_SAMPLED_ROWS]
    sample = gallery.take(np.sort(rows))
    scores = _all_scores(queries.vectors, sample.vectors, gallery.space.metric)
    if one_set:
        scores = scores[own_rows(queries, sample)[:, None] != np.arange(len(sample))]
    descending = -np.sort(-scores, axis=None)
    if not len(descending):
        raise InvalidInput("a distance rank needs pairs of a query and another item, and there is none")
    ranks = np.unique(np.geomspace(min(_RAREST, len(descending)), len(descending), _KNOTS).astype(np.int64))
    x = descending[ranks - 1]
    atleast = len(descending) - np.searchsorted(descending[::-1], x, side="left")
    x, first = np.unique(x, return_index=True)
    y = -np.log10(atleast[first] / len(descending))
    return Curve(tuple(x.tolist()), tuple(y.tolist()), continued=True)


def _all_scores(queries: np.ndarray, gallery: np.ndarray, metric: Metric) -> np.ndarray:
    """The score of every query with every item, near enough for a curve."""
    x, y = queries.astype(np.float64), gallery.astype(np.float64)
    dots = x @ y.T
    if metric == "dot":
        return dots
    squares = np.einsum("qd,qd->q", x, x)[:, None], np.einsum("nd,nd->n", y, y)
    if metric == "l2":
        return np.minimum(2 * dots - squares[0] - squares[1], 0.0)
    lengths = np.sqrt(squares[0] * squares[1])
    return np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)


def _standard(side: Side, seed: int) -> Curve:
    """The line through (mean, 0) and (mean + spread, 1) of the scores of random pairs."""
    mean, spread = _score_moments(side.queries, side.gallery, seed)
    above = max(mean + spread, float(np.nextafter(mean, np.inf)))  # of scores that are all but equal
    return Curve((mean, above), (0.0, 1.0), continued=True)


def _score_moments(queries: Embeddings, gallery: Embeddings, seed: int) -> tuple[float, float]:
    """Mean and standard deviation (1 where it is 0) of the scores of random pairs."""
    random = np.random.default_rng(seed)
    drawn = [random.integers(len(side), size=_SAMPLED_PAIRS) for side in (queries, gallery)]
    blocks = (slice(first, first + _BLOCK_PAIRS) for first in range(0, _SAMPLED_PAIRS, _BLOCK_PAIRS))
    items = fetched(gallery, drawn[1])
    pairs = ((queries.vectors[drawn[0][block]], items[block]) for block in blocks)
    scores = np.concatenate(
        [_pair_scores(x.astype(np.float64), y.astype(np.float64), gallery.space.metric) for x, y in pairs]
    )
    return float(scores.mean()), float(scores.std()) or 1.0


def _pair_scores(
    x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "n d"], metric: Metric
) -> Float64[np.ndarray, " n"]:
    """Of each row of x with the same row of y."""
    if metric == "l2":
        return np.asarray(-np.square(x - y).sum(axis=1))
    scores = (x * y).sum(axis=1)
    if metric == "cosine":
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
    return np.asarray(scores)
