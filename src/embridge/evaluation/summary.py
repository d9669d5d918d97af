"""Summary: the figures of a report, as its JSON file holds them and every rendering shows them.

It needs no per-query values, so that a report can be read and shown by the base install.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from embridge.evaluation.compatibility import Answer
from embridge.evaluation.gates import GateResult
from embridge.evaluation.report import UPGRADED
from embridge.evaluation.score_shift import Threshold
from embridge.evaluation.statistics import Interval
from embridge.evaluation.verdict import Verdict

__all__ = [
    "Asked",
    "Curve",
    "Figure",
    "Flip",
    "Histogram",
    "Ratios",
    "ScoreShift",
    "SliceFigure",
    "Summary",
    "worst_first",
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked in one direction; cells are in the order of a table.

    source: who says what is right; skipped: queries without a right item.
    """

    direction: str
    title: str
    queries: int
    gallery: int
    source: str
    cells: tuple[str, ...]
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric of a cell, and what it is against ``old/old`` (None for that cell itself)."""

    direction: str
    cell: str
    metric: str
    interval: Interval
    difference: Interval | None
    compatible: Answer | None
    negative_flip_rate: float | None
    positive_flip_rate: float | None


@dataclass(frozen=True, slots=True)
class SliceFigure:
    """The main metric of a cell for the queries of one slice."""

    direction: str
    column: str
    label: str
    queries: int
    cell: str
    interval: Interval
    difference: Interval | None
    compatible: Answer | None


def worst_first(slices: Sequence[SliceFigure]) -> list[SliceFigure]:
    """The slices of ``new/old``, column by column, those that lost most against ``old/old`` first."""
    changed = [found for found in slices if found.cell == UPGRADED and found.difference is not None]
    columns = list(dict.fromkeys(found.column for found in changed))
    return sorted(changed, key=lambda f: (columns.index(f.column), f.difference.value if f.difference else 0.0))


@dataclass(frozen=True, slots=True)
class Ratios:
    """Of the main metric in one direction; None where something is divided by nothing.

    ceiling: about the most that a map into this gallery can reach, where it was measured.
    """

    direction: str
    retention: float | None
    gain_ratio: float | None
    break_even: float | None
    update_gain: float | None
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class Flip:
    """A query that was lost or won: ranks of its first right item before and after (0: not found), and the first hits."""

    direction: str
    query: str
    before: int
    after: int
    right: tuple[str, ...]
    old_hits: tuple[str, ...]
    new_hits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """The main metric of new queries at each fraction backfilled; auc is the area under it."""

    direction: str
    order: str
    fractions: tuple[float, ...]
    intervals: tuple[Interval, ...]
    auc: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the scores of each query's best hit are spread, right and wrong ones apart; one more edge than counts."""

    direction: str
    cell: str
    edges: tuple[float, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScoreShift:
    """How far the scores of best hits moved, and for a precision the threshold that gave it and the one that does now.

    A threshold is None where no score gives that precision.
    """

    direction: str
    cell: str
    ks_distance: float
    precision: float
    old: Threshold | None
    new: Threshold | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All of it. ``about`` says what was measured on what, with which versions and machine.

    flips: queries that were lost; wins: those that were won (none in reports of earlier versions).
    """

    verdict: Verdict
    metrics: tuple[str, ...]
    seed: int
    asked: tuple[Asked, ...]
    figures: tuple[Figure, ...]
    ratios: tuple[Ratios, ...]
    slices: tuple[SliceFigure, ...]
    flips: tuple[Flip, ...]
    curves: tuple[Curve, ...]
    histograms: tuple[Histogram, ...]
    shifts: tuple[ScoreShift, ...]
    gates: tuple[GateResult, ...]
    cautions: tuple[str, ...]
    about: Mapping[str, Any]
    wins: tuple[Flip, ...] = ()
    schema: Literal["embridge.report/2"] = "embridge.report/2"

    @property
    def main(self) -> str:
        """The metric that the verdict goes by."""
        return self.metrics[-1]

    @property
    def outcome(self) -> str:
        """The verdict in a few words: the decision, and how many gate checks failed."""
        failed = sum(not gate.passed for gate in self.gates)
        return (
            f"{self.verdict.decision}, but {failed} of {len(self.gates)} gate checks failed"
            if failed
            else self.verdict.decision
        )

    def figure(self, direction: str, cell: str, metric: str) -> Figure:
        """The figure of that direction, cell and metric; raises `KeyError` where there is none."""
        for figure in self.figures:
            if (figure.direction, figure.cell, figure.metric) == (direction, cell, metric):
                return figure
        raise KeyError((direction, cell, metric))

    def headline(self) -> dict[str, Any]:
        """What a script wants to know, as plain JSON: ``cells[direction][cell][metric]``, compatible, decision, gates."""
        cells: dict[str, dict[str, dict[str, float]]] = {}
        compatible: dict[str, dict[str, str | None]] = {}
        for f in self.figures:
            cells.setdefault(f.direction, {}).setdefault(f.cell, {})[f.metric] = round(f.interval.value, 6)
            if f.cell == UPGRADED:
                compatible.setdefault(f.direction, {})[f.metric] = f.compatible
        return {
            "cells": cells,
            "compatible": compatible,
            "decision": self.verdict.decision,
            "verdict": self.verdict.sentence,
            "more_queries": self.verdict.more_queries,
            "gates": [asdict(gate) for gate in self.gates],
            "cautions": list(self.cautions),
        }
