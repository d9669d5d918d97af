"""Scope: what to measure of an upgrade."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.evaluation.cells import MORE_CELLS
from embridge.evaluation.measures import FULL, measure
from embridge.evaluation.one_set import OwnItems

__all__ = ["CROSS_MODAL", "Scope", "Unjudged"]

CROSS_MODAL = ("t2i", "i2t")
Unjudged = Literal["error", "skip", "zero"]


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What to measure of an upgrade.

    Attributes:
        metrics: Names that `measure` knows; the verdict goes by the last.
        directions: One, or two: the second exchanges queries and gallery (text to image, then image to text).
        cells: Any of `MORE_CELLS`, besides old/old, new/old, new/new and naive.
        controls: Other upgrades between the same models: name → upgrade, each a cell NAME/old.
        orders: Backfill orders to draw a curve of: name → gallery ids, first to last; None for a random order.
        slices: Column → query id → label.
        unjudged: What becomes of a query with nothing relevant in the gallery: ``error`` refuses it, and ``zero`` counts it
            as failed. ``skip`` leaves it out, unless something that the gallery lacks is right for it: then it has failed.
        own_items: Whether a query whose id the gallery has is that item, and may not find itself (``leave_out``), or
            another thing (``keep``); ``decide`` goes by the vectors, see `embridge.evaluation.one_set.settle_own`.
        depth: How many hits of a query to keep; at least the largest k is kept.
        cascade_items: How many items the cascade re-encodes for a query.
        seed: Draws the random order and the resamples of every interval.
        about: Plain JSON to keep in the report.
        notes: What a reader should know of the queries of the first direction; a caution each.

    Raises:
        SettingsError: There is no such metric or cell, or a number is out of range.

    Examples:
        >>> Scope(metrics=["ndcg_at_10"], directions=[""]).deepest
        10
    """

    metrics: Sequence[str] = ("recall_at_1", "recall_at_5", "recall_at_10")
    directions: Sequence[str] = CROSS_MODAL
    cells: Sequence[str] = ()
    controls: Mapping[str, Upgrade] = field(default_factory=dict)
    orders: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unjudged: Unjudged = "error"
    own_items: OwnItems = "decide"
    depth: int = 1
    cascade_items: int = 100
    seed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

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
