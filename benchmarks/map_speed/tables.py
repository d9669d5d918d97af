"""Table of how long closed-form maps take to fit and to apply."""

from benchmarks.rendering.markdown import result, table

_UNITS = {"seconds": 1e6, "fit_seconds": 1}


def map_speed() -> str:
    """One line a task: the library, the plain way of doing the same, and the ratio."""
    rows, lines = result("map_speed"), []
    for ratio in (r for r in rows if r["metric"].startswith("speed_over_")):
        same = [r for r in rows if r["setting"] == ratio["setting"] and r["metric"] in _UNITS]
        (mine,) = (r for r in same if r["method"] == ratio["method"])
        plain = same[-1]
        scale = _UNITS[mine["metric"]]
        times = [f"{r['value'] * scale:.3g} {'s' if scale == 1 else 'µs'}" for r in (mine, plain)]
        speed = f"{ratio['value']:.2f} ({ratio['low']:.2f} … {ratio['high']:.2f})"
        task, name = ratio["setting"]["task"], mine["method"]
        if task == "whole fit":
            task, name = name, "embridge"
        task = "one query" if task == "single-map" else f"fit: {task}"
        lines.append([task, name, times[0], plain["method"], times[1], speed])
    head = ["task", "map", "takes", "plain way", "takes", "speed, ratio to the plain way"]
    return table(head, lines, words=(0, 1, 3))


TABLES = {"map-speed": map_speed}
