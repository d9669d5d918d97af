"""Scores of two spaces made comparable: one monotone curve a space, so no order within a space ever changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation.backfill_curve import score_moments
from embridge.evaluation.one_set import own_rows, without_rows
from embridge.evaluation.relevance import Truth
from embridge.nearest import top_k
from embridge.shapes import Float64
from embridge.space import Metric, Space, require_same

__all__ = ["Calibration", "CalibrationKind", "Curve", "fit_calibration", "isotonic"]

CalibrationKind = Literal["calibrated", "distance-rank", "standard"]
Sides = tuple[Embeddings, Embeddings]

_SAMPLED_ROWS = 4_096
_RAREST = 16  # pairs at the highest knot of a distance rank; fewer would be noise
_KNOTS = 128


@dataclass(frozen=True, slots=True)
class Curve:
    """A piecewise linear map from scores that never falls: ``x`` ascending, ``y`` not descending.

    Beyond its ends it stays level, or goes on as steep as there where ``continued``.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    continued: bool = False

    def __post_init__(self) -> None:
        x, y = np.array(self.x, np.float64), np.array(self.y, np.float64)
        rising = bool((np.diff(x) > 0).all() and (np.diff(y) >= 0).all())
        if not len(x) or x.shape != y.shape or not np.isfinite([x, y]).all() or not rising:
            raise InvalidInput(
                f"a curve has ascending x and y that never falls, came {self.x!r:.100} and {self.y!r:.100}"
            )

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """The value at each score."""
        x, y = np.array(self.x), np.array(self.y)
        values = np.interp(scores, x, y)
        if self.continued and len(x) > 1:
            for end, beyond in (((0, 1), scores < x[0]), ((-2, -1), scores > x[-1])):
                a, b = end
                line = y[a] + (scores - x[a]) * ((y[b] - y[a]) / (x[b] - x[a]))
                values = np.where(beyond, line, values)
        return np.asarray(values)


@dataclass(frozen=True, slots=True)
class Calibration:
    """One curve for each space; `fit_calibration` makes it.

    support: ids of the queries it was fitted on; leave them out of any evaluation.
    """

    kind: CalibrationKind
    old_space: Space
    new_space: Space
    old: Curve
    new: Curve
    support: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(CalibrationKind):
            raise InvalidInput(f"a calibration is one of {', '.join(get_args(CalibrationKind))}, not {self.kind!r}")

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`; raises `InvalidInput` on missing, unknown and impossible fields."""
        try:
            if set(fields) != set(Calibration.__slots__):
                raise KeyError(*sorted(set(fields) ^ set(Calibration.__slots__)))
            return Calibration(
                fields["kind"],
                old_space=Space.from_dict(fields["old_space"]),
                new_space=Space.from_dict(fields["new_space"]),
                old=_curve_from(fields["old"]),
                new=_curve_from(fields["new"]),
                support=tuple(map(str, fields["support"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(
                f"a calibration is written as {list(Calibration.__slots__)}, not as {fields!r:.200}"
            ) from error


def fit_calibration(
    kind: CalibrationKind,
    new: Sides,
    bridged: Sides,
    relevance: Truth | None = None,
    *,
    depth: int = 100,
    one_set: bool = False,
    seed: int = 0,
) -> Calibration:
    """One curve a space, from a few hundred queries over a sample of the gallery seen by both models.

    new and bridged are (queries, gallery) in the new space (as the upgrade's head writes it) and in the old one (queries
    through the bridge), the same queries in both; the galleries should hold the same items.

    ``calibrated``: isotonic regression from score to the share of right items, over each query's best ``depth``; needs
    relevance. Without judgements take ``distance-rank``: -log10 of the share of pairs of a query with an item that score
    at least as high, of up to 4 096 items drawn. ``standard``: (score - mean) / spread over random pairs, as
    `embridge.evaluation.Mixed` has it. one_set: the queries are gallery rows, and none may find itself.

    >>> rows = Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3))
    >>> fit_calibration("standard", (rows, rows), (rows, rows)).kind
    'standard'
    """
    for queries, gallery in (new, bridged):
        require_same(gallery.space, queries.space, what="the queries")
        if not len(queries) or not len(gallery):
            raise InvalidInput(f"expected queries and a gallery, came {len(queries)} and {len(gallery)} rows")
    if new[0].ids != bridged[0].ids:
        raise InvalidInput("the new and the bridged queries must be the same ones in the same order")
    if kind not in get_args(CalibrationKind):
        raise InvalidInput(f"a calibration is one of {', '.join(get_args(CalibrationKind))}, not {kind!r}")
    settings: dict[str, Any] = {"depth": depth, "one_set": one_set, "seed": seed}
    old_curve, new_curve = (_curve(kind, sides, relevance, **settings) for sides in (bridged, new))
    return Calibration(kind, bridged[1].space, new[1].space, old_curve, new_curve, new[0].ids)


def isotonic(
    x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """The curve through the non-descending values nearest to y by squares, given at the ends of its level parts.

    Pool adjacent violators (Ayer et al. 1955); equal x have one value.

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


def _curve_from(fields: Mapping[str, Any]) -> Curve:
    x, y = (tuple(map(float, fields[axis])) for axis in ("x", "y"))
    return Curve(x, y, bool(fields["continued"]))


def _curve(
    kind: CalibrationKind, sides: Sides, relevance: Truth | None, *, depth: int, one_set: bool, seed: int
) -> Curve:
    if kind == "calibrated":
        return _judged(sides, relevance, depth, one_set)
    if kind == "distance-rank":
        return _distance_rank(sides, one_set, seed)
    mean, spread = score_moments(*sides, seed)
    return Curve((mean, mean + spread), (0.0, 1.0), continued=True)


def _judged(sides: Sides, relevance: Truth | None, depth: int, one_set: bool) -> Curve:
    if relevance is None or depth < 1:
        raise InvalidInput("a calibrated merge needs relevance and a depth of at least 1; without, take distance-rank")
    queries, gallery = sides
    ranking = top_k(queries.vectors, gallery.vectors, depth + one_set, metric=gallery.space.metric)
    if one_set:
        ranking = without_rows(ranking, own_rows(queries, gallery))
    right = relevance.judge(queries.ids, gallery.ids, one_set=one_set).gains(ranking.rows) > 0
    if not right.any():
        raise InvalidInput(
            f"none of the {right.size} items found in {gallery.space} is right; more queries or depth are needed"
        )
    x, y = isotonic(ranking.scores.ravel().astype(np.float64), right.ravel().astype(np.float64))
    return Curve(tuple(x.tolist()), tuple(y.tolist()))


def _distance_rank(sides: Sides, one_set: bool, seed: int) -> Curve:
    queries, gallery = sides
    rows = np.random.default_rng(seed).permutation(len(gallery))[:_SAMPLED_ROWS]
    sample = gallery.take(np.sort(rows))
    scores = _scores(queries.vectors, sample.vectors, gallery.space.metric)
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


def _scores(queries: np.ndarray, gallery: np.ndarray, metric: Metric) -> np.ndarray:
    """All pairs' scores, near enough for a curve."""
    x, y = queries.astype(np.float64), gallery.astype(np.float64)
    dots = x @ y.T
    if metric == "dot":
        return dots
    squares = np.einsum("qd,qd->q", x, x)[:, None], np.einsum("nd,nd->n", y, y)
    if metric == "l2":
        return np.minimum(2 * dots - squares[0] - squares[1], 0.0)
    lengths = np.sqrt(squares[0] * squares[1])
    return np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
