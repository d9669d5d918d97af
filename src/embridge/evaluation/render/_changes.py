"""What a second report changes against a first: tables for a terminal or Markdown, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from embridge.evaluation.compare import CellChange
from embridge.evaluation.measures import measure
from embridge.evaluation.render.terminal import ReportTable, flip_text, interval_text
from embridge.evaluation.report import CEILING, DIRECTIONS, UPGRADED

__all__ = ["change_sentence", "change_tables"]


def change_tables(changes: Sequence[CellChange], names: tuple[str, str]) -> list[ReportTable]:
    """A table a direction, one row a cell and metric; names: what the two reports are called.

    The column *better* names the better one, or says that the two are identical, query by query.
    """
    columns = ["query/gallery", "metric", *names, "change", "better", "flips"]
    tables = []
    for direction in dict.fromkeys(change.direction for change in changes):
        own = sorted((c for c in changes if c.direction == direction), key=lambda change: change.cell == CEILING)
        rows = [
            [
                f"({c.cell})" if c.cell == CEILING else c.cell,
                measure(c.metric).label,
                f"{c.a:.3f}",
                f"{c.b:.3f}",
                *_what_changed(c, names),
            ]
            for c in own
        ]
        tables.append(ReportTable(f"{_title(direction)}, {own[0].queries:,} queries", columns, rows))
    return tables


def change_sentence(changes: Sequence[CellChange], names: tuple[str, str]) -> str:
    """What it shows of ``new/old``, or else of the first cell in common, by the last metric in common."""
    cell = UPGRADED if any(change.cell == UPGRADED for change in changes) else changes[0].cell
    metric = changes[-1].metric
    told = "; ".join(_told(change, names) for change in changes if (change.cell, change.metric) == (cell, metric))
    return f"{cell} by {measure(metric).label}: {told}."


def _what_changed(change: CellChange, names: tuple[str, str]) -> tuple[str, str, str]:
    if change.identical:
        return "", "identical", ""
    flips = flip_text(change.negative_flip_rate, change.positive_flip_rate)
    return interval_text(change.comparison.difference), _better(change, names), flips


def _better(change: CellChange, names: tuple[str, str]) -> str:
    return {"yes": names[1], "no": names[0], "undecided": "undecided"}[change.comparison.answer]


def _told(change: CellChange, names: tuple[str, str]) -> str:
    where, found = _title(change.direction), change.comparison.difference
    if change.identical:
        return f"{where}, the two are identical"
    interval = f"{found.value:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f}"
    if change.comparison.answer == "undecided":
        return f"{where}, neither is shown to be better ({names[1]} against {names[0]} {interval})"
    other = names[0] if change.comparison.answer == "yes" else names[1]
    return f"{where}, {_better(change, names)} is better than {other} ({names[1]} against {names[0]} {interval})"


def _title(direction: str) -> str:
    return DIRECTIONS.get(direction, direction)
