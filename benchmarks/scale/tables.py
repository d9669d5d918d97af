"""Table of what workers cost and gain over one plain process."""

from benchmarks.rendering.markdown import result, table

_PLAIN = ("numpy", "encoder")


def scale() -> str:
    """One line a task and way: rates, and their ratios."""
    rows, lines = result("scale"), []
    ways = dict.fromkeys((r["setting"]["task"], r["method"]) for r in rows)
    for task, way in ways:
        own = {r["metric"]: r for r in rows if (r["setting"]["task"], r["method"]) == (task, way)}
        rates = [f"{own[f'rows_per_{unit}']['value']:,.0f}" for unit in ("second", "processor_second")]
        ratios = [_ratio(own[name]) if name in own else "" for name in ("of_plain", "of_one_worker")]
        lines.append([task, "plain " + way if way in _PLAIN else f"`{way}`", *rates, *ratios])
    head = ["task", "who", "rows a second", "rows a processor second", "of the plain way", "of one worker"]
    return table(head, lines, words=(0, 1))


def _ratio(row: dict[str, float]) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f} … {row['high']:.2f})"


TABLES = {"scale": scale}
