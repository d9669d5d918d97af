"""Table of an hour of serving: answers, failures, and the server's memory once its caches are full."""

from benchmarks.rendering.markdown import result, table

_MEGABYTE = 2**20


def serving_soak() -> str:
    """One line for what was asked, one for the memory."""
    rows = result("serving_soak")
    counts = {row["method"]: int(row["value"]) for row in rows if row["metric"] == "answers"}
    failed, moves = counts.pop("failed"), counts.pop("move")
    memory = next(row for row in rows if row["metric"] == "bytes_after_warm_up")
    mean, low, high = (memory[name] / _MEGABYTE for name in ("value", "low", "high"))
    far = f"{100 * memory['furthest_from_mean']:.1f} %"
    return table(
        [
            "answers",
            "failed",
            "moves of the rollout",
            "memory after ten minutes, mean",
            "lowest … highest",
            "furthest from the mean",
        ],
        [[f"{sum(counts.values()):,}", str(failed), str(moves), f"{mean:.0f} MB", f"{low:.0f} … {high:.0f} MB", far]],
    )


TABLES = {"serving_soak": serving_soak}
