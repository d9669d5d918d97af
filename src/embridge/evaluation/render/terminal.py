"""A report as tables, one a direction, for a terminal or Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from embridge.evaluation.report import DIRECTIONS, Report

__all__ = ["ReportTable", "report_tables"]


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A title, column names and rows of text."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def report_tables(report: Report) -> list[ReportTable]:
    """One row a cell: Recall@k with half its 95 % interval, then the comparison with ``old/old`` at the largest k.

    flips: the share of queries that lost (−) and that won (+) their right item.
    """
    depth = max(report.ks)
    columns = ["query/gallery", *(f"R@{k}" for k in report.ks), f"better@{depth}", "flips"]
    return [
        ReportTable(
            f"{DIRECTIONS.get(d, d)}, {len(report.query_ids[d]):,} queries",
            columns,
            [[name, *_row(report, d, name, depth)] for name in report.names(d)],
        )
        for d in report.directions
    ]


def _row(report: Report, direction: str, name: str, depth: int) -> list[str]:
    recalls = []
    for k in report.ks:
        interval = report.recall(direction, name, k)
        recalls.append(f"{interval.value:.3f} ±{_short((interval.high - interval.low) / 2)}")
    if name == "old/old":
        return [*recalls, "", ""]
    negative, positive = report.flips(direction, depth, name)
    return [*recalls, report.compatible(direction, depth, name).answer, f"−{_short(negative)} +{_short(positive)}"]


def _short(fraction: float) -> str:
    return f"{fraction:.3f}".removeprefix("0")
