"""Summary: the figures of a report, as its JSON file holds them and every rendering shows them.

It needs no per-query values, so that a report can be read and shown by the base install.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from embridge.evaluation.figures import Asked, Curve, Figure, Flip, Histogram, Ratios, ScoreShift, SliceFigure
from embridge.evaluation.gates import GateResult
from embridge.evaluation.report import UPGRADED
from embridge.evaluation.verdict import Verdict

__all__ = ["Summary"]


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of a report.

    Attributes:
        verdict: What to do, and why.
        metrics: By which; the verdict goes by the last.
        seed: Drew the resamples of every interval.
        asked: What was asked, one a direction.
        figures: One a direction, cell and metric.
        ratios: One a direction.
        slices: One a slice and cell.
        flips: Queries that lost their right item, the worst first.
        curves: One a direction and backfill order.
        histograms: One a direction and cell.
        shifts: One a direction and precision.
        gates: How each condition fared.
        cautions: What to know before trusting the figures.
        about: What was measured on what, with which versions and machine.
        wins: Queries that won their right item, the best first; none in reports of earlier versions.
        schema: The version of this form.

    Examples:
        >>> nothing = dict.fromkeys(("ratios", "slices", "flips", "curves", "histograms", "shifts", "gates", "cautions"), ())
        >>> verdict = Verdict("upgrade", "Upgrade.")
        >>> Summary(verdict, ("recall_at_1",), seed=0, asked=(), figures=(), about={}, **nothing).outcome
        'upgrade'
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
