"""Table of what an objective adds to the time of training."""

from benchmarks.rendering.markdown import Row, result, table


def overhead() -> str:
    """One line an objective: its time over that of the independent training."""
    by_method: dict[str, dict[str, Row]] = {}
    for row in result("training_overhead"):
        by_method.setdefault(row["method"], {})[row["metric"]] = row
    lines = [[f"`{method}`", *(_spread(own[m]) for m in ("step_ratio", "ratio"))] for method, own in by_method.items()]
    return table(["", "a step", "with what is refreshed"], lines)


def _spread(row: Row) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f} … {row['high']:.2f})"


TABLES = {"training-overhead": overhead}
