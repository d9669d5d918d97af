"""Scope: what to measure of an upgrade."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from embridge.errors import SettingsError
from embridge.evaluation.cells import MORE_CELLS
from embridge.evaluation.measures import FULL, measure

__all__ = ["CROSS_MODAL", "Scope"]

CROSS_MODAL = ("t2i", "i2t")


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What to measure.

    metrics: names of `embridge.evaluation.measure`; the verdict goes by the last.
    directions: one, or two: the second exchanges queries and gallery (text to image, then image to text).
    cells: any of `MORE_CELLS` besides old/old, new/old, new/new and naive.
    orders: backfill orders to draw a curve of: name → gallery ids, first to last; None for a random order.
    slices: column → query id → label.
    unjudged: what becomes of a query with nothing relevant in the gallery: refused, not asked, or counted as failed.
    depth: how many hits a query to keep; at least the largest k is kept.
    cascade_items: how many items the cascade re-encodes for a query.
    about: plain JSON to keep in the report.

    >>> Scope(metrics=["ndcg_at_10"], directions=[""]).deepest
    10
    """

    metrics: Sequence[str] = ("recall_at_1", "recall_at_5", "recall_at_10")
    directions: Sequence[str] = CROSS_MODAL
    cells: Sequence[str] = ()
    orders: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unjudged: Literal["error", "skip", "zero"] = "error"
    depth: int = 1
    cascade_items: int = 100
    seed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.metrics or len(set(self.directions)) not in (1, 2) or self.depth < 1 or self.cascade_items < 1:
            raise SettingsError(
                "expected at least one metric, one or two directions, depth >= 1 and cascade_items >= 1; came "
                f"{self.metrics}, {self.directions}, {self.depth}, {self.cascade_items}"
            )
        try:
            json.dumps(dict(self.about), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"about: expected plain JSON, which a report keeps; {error}") from error
        unknown = [cell for cell in self.cells if cell not in MORE_CELLS]
        if unknown:
            raise SettingsError(f"there is no cell {unknown[0]!r}; more cells are {', '.join(MORE_CELLS)}")
        for name in self.metrics:
            measure(name)
        if FULL in self.metrics and ("cascade" in self.cells or self.orders):
            raise SettingsError(
                f"{FULL} is of whole rankings, which a cascade and a backfill curve do not make; use map_at_K"
            )

    @property
    def deepest(self) -> int:
        """How many hits are needed."""
        return max(self.depth, *(measure(name).k for name in self.metrics))
