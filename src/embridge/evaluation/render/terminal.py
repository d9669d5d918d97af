"""A report as a table's columns and rows, for a terminal or Markdown."""

from __future__ import annotations

from embridge.evaluation.report import Report

__all__ = ["report_table"]

_MEANING = {
    "old/old": "old model, old index",
    "new/old": "upgrade, old index",
    "new/new": "new model, all re-encoded",
    "naive": "new model on the old index, no bridge",
}


def report_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """One row a cell; for every direction and k the recall and half its 95 % interval, then whether it is compatible.

    The last columns compare with ``old/old`` at the largest k: compatible, negative and positive flip rate.
    """
    depth = max(report.ks)
    columns = ["cell"]
    for d in report.directions:
        label = d or "search"
        columns += [f"{label} R@{k}" for k in report.ks] + [f"{label} compatible", "flips − / +"]
    names = dict.fromkeys(name for d in report.directions for name in report.names(d))
    rows = [
        [f"{name}  {_MEANING.get(name, 'control, old index')}", *(v for d in report.directions for v in _row(report, d, name, depth))]
        for name in names
    ]
    return columns, rows


def _row(report: Report, direction: str, name: str, depth: int) -> list[str]:
    recalls = []
    for k in report.ks:
        interval = report.recall(direction, name, k)
        recalls.append(f"{interval.value:.3f} ±{(interval.high - interval.low) / 2:.3f}")
    if name in ("old/old", "new/new"):
        return [*recalls, "", ""]
    negative, positive = report.flips(direction, depth, name)
    return [*recalls, report.compatible(direction, depth, name).answer, f"{negative:.3f} / {positive:.3f}"]
