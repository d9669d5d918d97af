"""Table of speed and memory of mapping and search."""

from benchmarks.rendering.markdown import result, table

_RATIOS = {
    "speed_over_numpy": "speed, ratio to numpy's",
    "speed_over_faiss_flat": "speed, ratio to faiss-flat's",
    "peak_extra_bytes": "memory beyond the arrays, MB",
}
_TASKS = {
    "single-map": "map one query, {dim} → {dim}",
    "bulk-map": "map {rows:,} vectors from disk to disk, {dim} → {dim}",
    "top-k": "top {k} of {gallery:,} × {dim}, {queries:,} queries",
}


def speed() -> str:
    """One line a task and figure."""
    lines = []
    for row in result("speed"):
        if row["metric"] not in _RATIOS:
            continue
        task = _TASKS[row["setting"]["task"]].format(**row["setting"])
        unit = 1e6 if row["metric"].endswith("bytes") else 1
        value, low, high = (f"{row[part] / unit:.3g}" for part in ("value", "low", "high"))
        lines.append([task, f"{row['method']}: {_RATIOS[row['metric']]}", value, f"{low} … {high}"])
    return table(["task", "measured", "value", "lowest … highest"], lines, words=(0, 1))


TABLES = {"speed": speed}
