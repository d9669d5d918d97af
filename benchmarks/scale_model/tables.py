"""The table of the cost model of exact search by workers."""

from __future__ import annotations

from benchmarks.rendering.markdown import result, table

__all__ = ["TABLES"]


def cost_model() -> str:
    """What was predicted and measured."""
    parts = ("start", "ids", "read", "search", "seconds", "predicted_seconds")
    lines = [
        [f"{rows:,}", str(workers), *(f"{one[part]:.1f}" for part in parts)] for (rows, workers), one in _of("search")
    ]
    head = ["start, s", "ids, s", "read, s", "search, s", "whole, s", "by the model, s"]
    return table(["rows", "workers", *head], lines)


def memory() -> str:
    """The most memory that a worker and the process that started it held."""
    lines = [
        [task, f"{rows:,}", str(workers), *(f"{one[f'{who}_bytes'] / 1e6:,.0f}" for who in ("worker", "driver"))]
        for task in ("search", "translate")
        for (rows, workers), one in _of(task)
    ]
    return table(["task", "rows", "workers", "a worker, MB", "this process, MB"], lines, words=(0,))


def _of(task: str) -> list[tuple[tuple[int, int], dict[str, float]]]:
    found: dict[tuple[int, int], dict[str, float]] = {}
    for line in result("scale_model"):
        if line["method"] == task:
            setting = line["setting"]
            found.setdefault((setting["rows"], setting["workers"]), {})[line["metric"]] = line["value"]
    return sorted(found.items())


TABLES = {"scale-model": cost_model, "scale-memory": memory}
