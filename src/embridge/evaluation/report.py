"""Report: what was measured, query by query; every figure is computed from it, and can be computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embridge.errors import InvalidInput
from embridge.evaluation.compatibility import Comparison, compatible, expected_flip_rates
from embridge.evaluation.measures import FULL, measure
from embridge.evaluation.metrics import first_hits
from embridge.evaluation.statistics import Drawn, Interval, bootstrap_mean, weighted_mean
from embridge.evaluation.tied_metrics import expected_first_rank, expected_recall
from embridge.evaluation.ties import Ties
from embridge.shapes import Bool, Float32, Float64, Int64

__all__ = ["BACKFILLED", "CEILING", "DIRECTIONS", "OLD", "UPGRADED", "Cell", "Report", "Task"]

DIRECTIONS = {"t2i": "text to image", "i2t": "image to text", "": "search"}
OLD, UPGRADED, BACKFILLED = "old/old", "new/old", "new/new"
CEILING = "ceiling"


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What was asked in one direction, of every cell alike.

    Attributes:
        direction: ``t2i``, ``i2t`` or another.
        query_ids: The queries, q of them.
        gallery_ids: The items that any ranking holds.
        gallery: How many items were searched.
        relevant: How many items are right for each query [q].
        ideal: The best possible gains [q, depth].
        weights: How much each query counts [q], or None.
        slices: Column → a label for each query, empty for none.
        source: Who says what is right.
        groups: A number a query [q]. Queries that ask for the very same items, such as the captions of one photo, share it
            and are drawn together by the bootstrap.
        skipped: How many queries were not asked, since nothing is right for them.
        notes: What a reader should know of queries and judgements: what is missing, and which are one item.

    Examples:
        >>> Task("t2i", ("a caption",), ("a photo",), 1, np.array([1]), np.ones((1, 1), np.float32)).title
        'text to image'
    """

    direction: str
    query_ids: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    gallery: int
    relevant: Int64[np.ndarray, " q"]
    ideal: Float32[np.ndarray, "q depth"]
    weights: Float64[np.ndarray, " q"] | None = None
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: str = "judged pairs"
    groups: Int64[np.ndarray, " q"] | None = None
    skipped: int = 0
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The direction in words."""
        return DIRECTIONS.get(self.direction, self.direction)

    def drawn(self, rows: Any) -> Drawn:
        """How those queries are drawn by a bootstrap."""
        weights, groups = (None if values is None else values[rows] for values in (self.weights, self.groups))
        return Drawn(weights=weights, groups=groups)

    def among(self, column: str, label: str) -> Bool[np.ndarray, " q"]:
        """The queries of a slice; raises `InvalidInput` where there is no such column or label."""
        if column not in self.slices:
            raise InvalidInput(f"{self.title}: there is no slice column {column!r}; there are {sorted(self.slices)}")
        chosen = np.array([found == label for found in self.slices[column]], bool)
        if not chosen.any():
            raise InvalidInput(f"{self.title}: no query has {column} = {label!r}")
        return chosen

    def labels(self, column: str) -> tuple[str, ...]:
        """The labels of a column, most queries first."""
        found, counts = np.unique([label for label in self.slices[column] if label], return_counts=True)
        return tuple(str(label) for label in found[np.argsort(-counts, kind="stable")])


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One (query model, gallery model) pair in one direction: what each query found, best first.

    Attributes:
        direction: Of the task.
        name: ``old/old``, ``new/old``, ``new/new``, ``naive``, a control's, or ``mixed@0.50/ORDER`` for a part of a backfill.
        rows: What was found [q, depth], in the task's ``gallery_ids``.
        scores: Of each hit [q, depth].
        gains: How relevant each hit is [q, depth].
        full: Average precision over the whole gallery [q], where that was asked for.
        ties: Which hits are equal; None where none are, or nobody looked.

    Examples:
        >>> gains = np.array([[0, 1]], np.float32)
        >>> Cell("t2i", "new/old", np.array([[5, 3]]), np.array([[0.9, 0.8]], np.float32), gains).first_hits.tolist()
        [2]
    """

    direction: str
    name: str
    rows: Int64[np.ndarray, "q depth"]
    scores: Float32[np.ndarray, "q depth"]
    gains: Float32[np.ndarray, "q depth"]
    full: Float64[np.ndarray, " q"] | None = None
    ties: Ties | None = None

    @property
    def first_hits(self) -> Int64[np.ndarray, " q"]:
        """The rank of each query's first right item, 0 where none was found; among equal hits as expected, rounded up."""
        ranks = first_hits(self.gains)
        if self.ties is not None:
            expected = np.ceil(expected_first_rank(self.ties)).astype(np.int64)
            ranks[self.ties.queries] = np.where(expected > self.gains.shape[1], 0, expected)
        return ranks


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What was measured, query by query. Every figure is computed from it.

    Attributes:
        tasks: What was asked, one a direction.
        cells: What was found, in the order of a table.
        metrics: By which; the verdict, flips and curves go by the last.
        seed: Draws the resamples of every interval.
        about: Plain JSON on what was measured, with which versions and machine.

    Raises:
        InvalidInput: There is no metric or task, or a cell's rankings are too few or too short.

    Examples:
        >>> task = Task("", ("q",), ("g", "h"), 2, np.array([1]), np.ones((1, 1), np.float32))
        >>> found = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)
        >>> Report((task,), (Cell("", "old/old", *found),), ("recall_at_1",)).mean("", "old/old", "recall_at_1")
        1.0
    """

    tasks: tuple[Task, ...]
    cells: tuple[Cell, ...]
    metrics: tuple[str, ...] = ("recall_at_1", "recall_at_5", "recall_at_10")
    seed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.metrics or not self.tasks:
            raise InvalidInput("a report holds at least one metric and one task")
        for cell in self.cells:
            if len(cell.rows) != len(self.task(cell.direction).query_ids):
                raise InvalidInput(
                    f"cell {cell.direction} {cell.name}: one ranking a query of that direction is needed"
                )
        for name in self.metrics:
            self._require_depth(name)

    @property
    def main(self) -> str:
        """The metric that the verdict goes by: the last."""
        return self.metrics[-1]

    @property
    def directions(self) -> tuple[str, ...]:
        """In the order of the tasks."""
        return tuple(task.direction for task in self.tasks)

    def task(self, direction: str) -> Task:
        """What was asked in a direction; raises `InvalidInput` where nothing was."""
        for task in self.tasks:
            if task.direction == direction:
                return task
        raise InvalidInput(f"no direction {direction!r}; there are {[*self.directions]}")

    def names(self, direction: str) -> tuple[str, ...]:
        """The cells of a direction, in order, without those of a backfill curve."""
        return tuple(c.name for c in self.cells if c.direction == direction and not c.name.startswith("mixed@"))

    def curves(self, direction: str) -> dict[str, list[tuple[float, str]]]:
        """The backfill curves of a direction: order → (fraction backfilled, cell)."""
        found: dict[str, list[tuple[float, str]]] = {}
        for cell in self.cells:
            if cell.direction == direction and cell.name.startswith("mixed@"):
                fraction, _, order = cell.name.removeprefix("mixed@").partition("/")
                found.setdefault(order, []).append((float(fraction), cell.name))
        return found

    def cell(self, direction: str, name: str) -> Cell:
        """The named cell; raises `InvalidInput` where there is none."""
        for cell in self.cells:
            if (cell.direction, cell.name) == (direction, name):
                return cell
        raise InvalidInput(f"no cell {name!r} in direction {direction!r}; there are {[*self.names(direction)]}")

    def values(self, direction: str, name: str, metric: str) -> Float64[np.ndarray, " q"]:
        """The metric of every query."""
        cell, task = self.cell(direction, name), self.task(direction)
        if metric == FULL and cell.full is not None:
            return cell.full
        self._require_depth(metric)
        return measure(metric).values(cell.gains, task.relevant, task.ideal, cell.ties)

    def right(self, direction: str, name: str, metric: str) -> Float64[np.ndarray, " q"]:
        """1 where a query found a right item within the metric's k (for `FULL`, within the depth kept), else 0: what flips.

        Where equal hits make it a matter of chance, the chance.
        """
        cell = self.cell(direction, name)
        k = measure(metric).k or cell.gains.shape[1]
        right = np.any(cell.gains[:, :k] > 0, axis=1).astype(np.float64)
        if cell.ties is not None:
            rows = cell.ties.queries
            right[rows] = expected_recall(cell.ties, k, self.task(direction).relevant[rows], rule="any")
        return right

    def mean(self, direction: str, name: str, metric: str) -> float:
        """The metric of a cell."""
        return weighted_mean(self.values(direction, name, metric), self.task(direction).weights)

    def interval(
        self, direction: str, name: str, metric: str, *, among: Bool[np.ndarray, " q"] | None = None
    ) -> Interval:
        """The metric of a cell with its 95 % bootstrap interval; of some of the queries where ``among`` says which."""
        chosen = slice(None) if among is None else among
        values = self.values(direction, name, metric)[chosen]
        return bootstrap_mean(values, **self.task(direction).drawn(chosen), seed=self.seed)

    def compatible(
        self, direction: str, metric: str, name: str = UPGRADED, *, among: Bool[np.ndarray, " q"] | None = None
    ) -> Comparison:
        """The cell against ``old/old``."""
        chosen = slice(None) if among is None else among
        new_old, old_old = (self.values(direction, n, metric)[chosen] for n in (name, OLD))
        return compatible(new_old, old_old, **self.task(direction).drawn(chosen), seed=self.seed)

    def flip_rates(
        self, direction: str, metric: str, name: str = UPGRADED, *, among: Bool[np.ndarray, " q"] | None = None
    ) -> tuple[float, float]:
        """(negative, positive) flip rates of the cell against ``old/old``; see `right`."""
        chosen = slice(None) if among is None else among
        weights = self.task(direction).weights
        new_old, old_old = (self.right(direction, n, metric)[chosen] for n in (name, OLD))
        return expected_flip_rates(new_old, old_old, weights=None if weights is None else weights[chosen])

    def figures(self) -> dict[str, dict[str, dict[str, float]]]:
        """``figures()[direction][cell]["recall_at_10"]``, rounded to six places."""
        return {
            d: {n: {m: round(self.mean(d, n, m), 6) for m in self.metrics} for n in self.names(d)}
            for d in self.directions
        }

    def _require_depth(self, metric: str) -> None:
        wanted = measure(metric).k
        for cell in self.cells:
            depth, gallery = cell.rows.shape[1], self.task(cell.direction).gallery
            if (metric == FULL and cell.full is None) or (wanted > depth and depth < gallery - 1):
                raise InvalidInput(
                    f"{metric} of {cell.name} cannot be had: its rankings hold the best {depth} of {gallery} items; "
                    "evaluate with that metric, or a larger depth"
                )
