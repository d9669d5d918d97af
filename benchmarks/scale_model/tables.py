"""The table of the cost model of exact search by workers."""

from __future__ import annotations

from benchmarks.rendering.markdown import result, table

__all__ = ["TABLES"]


def cost_model() -> str:
    """What was predicted and measured."""
    found: dict[tuple[int, int], dict[str, float]] = {}
    for line in result("scale_model"):
        found.setdefault((line["setting"]["rows"], line["setting"]["workers"]), {})[line["metric"]] = line["value"]
    lines = [
        [
            f"{rows:,}",
            str(workers),
            *(f"{one[part]:.1f}" for part in ("start", "ids", "read", "search", "seconds", "predicted_seconds")),
            f"{one['driver_bytes'] / 1e6:,.0f}",
        ]
        for (rows, workers), one in sorted(found.items())
    ]
    parts = ["start, s", "ids, s", "read, s", "search, s", "whole, s", "by the model, s"]
    return table(["rows", "workers", *parts, "this process, MB"], lines)


TABLES = {"scale-model": cost_model}
