"""A report's cells as rows of a benchmark result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embridge.evaluation import Report

__all__ = ["report_rows"]

_CONTROLS = {
    "old/old": "old",
    "fused/old": "midpoint",
    "cascade": "cascade",
    "ceiling": "ceiling",
    "new/new": "independent",
    "naive": "naive",
}


def report_rows(
    report: Report, method: Mapping[str, Any], *, seed: int, seconds: float, controls: bool
) -> list[dict[str, Any]]:
    """One row a cell, direction and metric; cells that do not depend on the method only where ``controls`` is set.

    A cell ``NAME/old`` of a named control is that control's ``new/old``. ``difference`` is to ``old/old``, query by query.
    """
    rows = []
    for direction in report.directions:
        for cell in report.names(direction):
            own = cell == "new/old"
            if not own and not controls:
                continue
            name = method["name"] if own else _CONTROLS.get(cell, cell.removesuffix("/old"))
            setting = dict(method.get("settings", {})) if own else {}
            for metric in report.metrics:
                interval = report.interval(direction, cell, metric)
                row = {"method": name, "seed": seed, "setting": setting}
                row |= {"cell": cell if cell in _CONTROLS else "new/old", "direction": direction}
                row |= {"metric": metric, "value": interval.value, "low": interval.low, "high": interval.high}
                if cell != "old/old":
                    compared = report.compatible(direction, metric, cell)
                    row |= {"compatible": compared.answer, "difference": compared.difference.value}
                    row |= {"difference_low": compared.difference.low, "difference_high": compared.difference.high}
                rows.append(row | ({"seconds": round(seconds, 2)} if own else {}))
    return rows
