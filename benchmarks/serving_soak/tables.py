"""Table of an hour of serving: answers, failures, and the server's memory at the hour's thirds."""

from benchmarks.rendering.markdown import result, table

_MEGABYTE = 2**20


def serving_soak() -> str:
    """One line for what was asked, one for the memory."""
    rows = result("serving_soak")
    counts = {row["method"]: int(row["value"]) for row in rows if row["metric"] == "answers"}
    failed, moves = counts.pop("failed"), counts.pop("move")
    memory = [row["value"] / _MEGABYTE for row in rows if row["metric"] == "bytes"]
    thirds = [f"{memory[len(memory) * third // 3 - 1]:.0f} MB" for third in (1, 2, 3)]
    return table(
        ["answers", "failed", "moves of the rollout", "memory after a third, two thirds, all"],
        [[f"{sum(counts.values()):,}", str(failed), str(moves), " · ".join(thirds)]],
    )


TABLES = {"serving_soak": serving_soak}
