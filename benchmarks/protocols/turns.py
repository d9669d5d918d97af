"""Time the library and its baseline by turns, in one process: what benchmarks of speed share."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import row

__all__ = [
    "Ways",
    "compared",
    "median_calls_by_turns",
    "peak_bytes",
    "resized",
    "setting_of",
    "speed_options",
    "timed_by_turns",
]


Ways = Mapping[str, Callable[[], object]]


def timed_by_turns(
    ways: Ways, repeats: int, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """The seconds of each way in each turn; every other turn goes backwards."""

    def once(function: Callable[[], object]) -> float:
        start = clock()
        function()
        return clock() - start

    return _by_turns(ways, repeats, once)


def median_calls_by_turns(ways: Ways, repeats: int, *, calls: int) -> dict[str, list[float]]:
    """The median seconds of one of so many calls of each way in each turn."""

    def once(function: Callable[[], object]) -> float:
        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    return _by_turns(ways, repeats, once)


def _by_turns(ways: Ways, repeats: int, once: Callable[[Callable[[], object]], float]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for function in ways.values():
        function()  # warms caches, and the disk's where there is a file
    for turn in range(repeats):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            seconds[name].append(once(ways[name]))
    return seconds


def compared(
    task: str,
    metric: str,
    units: float,
    config: Mapping[str, Any],
    ways: Ways,
    *,
    timed: Callable[[Ways, int], dict[str, list[float]]] = timed_by_turns,
) -> list[dict[str, Any]]:
    """The rate of each way (the last is the baseline), and the ratio of the two in each turn.

    ``units`` is what one call does; a metric that ends in ``seconds`` is the time of one unit, any other their rate.
    """
    seconds, setting, rows = timed(ways, config["repeats"]), setting_of(task, config), []
    for name, times in seconds.items():
        values = [s / units if metric.endswith("seconds") else units / s for s in times]
        rows.append(row(name, metric, values, setting=setting, seconds=statistics.median(times)))
    *others, baseline = ways
    for name in others:
        ratios = [b / o for o, b in zip(seconds[name], seconds[baseline], strict=True)]
        rows.append(row(name, f"speed_over_{baseline}".replace("-", "_"), ratios, setting=setting))
    return rows


def setting_of(task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says of its task: the configuration without how often it was repeated."""
    return {"task": task} | {key: value for key, value in config.items() if key not in ("repeats", "calls")}


def peak_bytes() -> int:
    """This process's highest resident memory; getrusage would start at what the parent process held."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def speed_options(description: str | None, name: str) -> argparse.Namespace:
    """``--quick``, and ``--out`` for where the JSON goes; a quick run writes none unless ``--out`` names it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--out", type=Path, help=f"where the JSON goes; results/{name}.json where not --quick")
    return parser.parse_args()


def resized(config: Any, sizes: Mapping[str, float]) -> Any:
    """The same settings with other sizes, wherever these stand."""
    if isinstance(config, list):
        return [resized(part, sizes) for part in config]
    if isinstance(config, dict):
        return {key: sizes.get(key, resized(value, sizes)) for key, value in config.items()}
    return config
