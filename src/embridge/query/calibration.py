"""Scores of two spaces made comparable: one monotone curve a space, so no order within a space ever changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from embridge.errors import InvalidInput
from embridge.space import Space

__all__ = ["Calibration", "CalibrationKind", "Curve"]

CalibrationKind = Literal["calibrated", "distance-rank", "standard"]


@dataclass(frozen=True, slots=True)
class Curve:
    """A piecewise linear map from scores to values that never falls.

    Attributes:
        x: Scores of the knots, ascending.
        y: Values there, never descending.
        continued: Whether the curve goes on beyond its ends as steep as there; it stays level otherwise.

    Raises:
        InvalidInput: The knots are not finite, do not ascend, or the values fall.

    Examples:
        >>> Curve((0.0, 1.0), (1.0, 3.0))(np.array([0.5, 9.0])).tolist()
        [2.0, 3.0]
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
    """One curve for each space; `embridge.evaluation.fit_calibration` makes it.

    Attributes:
        kind: How the curves were fitted: ``calibrated``, ``distance-rank`` or ``standard``.
        old_space: Where old rows are scored.
        new_space: Where re-encoded rows are scored.
        old: From scores in the old space to comparable values.
        new: The same for the new space.
        support: Ids of the queries it was fitted on; leave them out of any evaluation.

    Raises:
        InvalidInput: The kind is another.

    Examples:
        >>> curve, space = Curve((0.0, 1.0), (0.0, 1.0)), Space("toy", "1", 2)
        >>> Calibration("standard", space, space, curve, curve).support
        ()
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


def _curve_from(fields: Mapping[str, Any]) -> Curve:
    x, y = (tuple(map(float, fields[axis])) for axis in ("x", "y"))
    return Curve(x, y, bool(fields["continued"]))
