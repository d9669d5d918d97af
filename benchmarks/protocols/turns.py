"""Time the library and its baseline by turns, in one process: what benchmarks of speed share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.record import row

__all__ = ["compared", "setting_of"]


def compared(
    task: str, metric: str, units: float, config: Mapping[str, Any], ways: Mapping[str, Callable[[], object]]
) -> list[dict[str, Any]]:
    """The rate of each way (the last is the baseline), and the ratio of the two in each turn.

    ``units`` is what one call does; a metric that ends in ``seconds`` is the time of one unit, any other their rate.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for function in ways.values():
        function()  # warms caches, and the disk's where there is a file
    for turn in range(config["repeats"]):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    setting = setting_of(task, config)
    rows = []
    for name, taken in seconds.items():
        values = [s / units if metric.endswith("seconds") else units / s for s in taken]
        rows.append(row(name, metric, values, setting=setting, seconds=statistics.median(taken)))
    *others, baseline = ways
    for name in others:
        ratios = [b / o for o, b in zip(seconds[name], seconds[baseline], strict=True)]
        rows.append(row(name, f"speed_over_{baseline}".replace("-", "_"), ratios, setting=setting))
    return rows


def setting_of(task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says of its task: the configuration without how often it was repeated."""
    return {"task": task} | {key: value for key, value in config.items() if key not in ("repeats", "calls")}
