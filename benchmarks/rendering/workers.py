"""A line for each task and way of workers."""

from benchmarks.rendering.markdown import result, table

__all__ = ["of_workers"]

_PLAIN = ("numpy", "encoder")


def of_workers(name: str) -> str:
    """One line a task and way: rates, and their ratios."""
    rows, lines = result(name), []
    ways = dict.fromkeys((r["setting"]["task"], r["method"]) for r in rows)
    for task, way in ways:
        own = {r["metric"]: r for r in rows if (r["setting"]["task"], r["method"]) == (task, way)}
        named = [f"rows_per_{unit}" for unit in ("second", "processor_second")]
        rates = [f"{own[one]['value']:,.0f}" if one in own else "" for one in named]
        ratios = [_ratio(own[name]) if name in own else "" for name in ("of_plain", "of_one_worker")]
        lines.append([task, "plain " + way if way in _PLAIN else f"`{way}`", *rates, *ratios])
    head = ["task", "who", "rows a second", "rows a processor second", "of the plain way", "of one worker"]
    return table(head, lines, words=(0, 1))


def _ratio(row: dict[str, float]) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f} … {row['high']:.2f})"
