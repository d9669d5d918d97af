"""The curves in the results: quality by order, seed and share encoded."""

from statistics import mean

from benchmarks.rendering.markdown import result

__all__ = ["ORDERS", "at", "curve", "reached"]

ORDERS = {
    "random": "random",
    "found": "found by the bridge, as queries come",
    "found, cascade": "the same, and the query's own ten ranked by the new model",
    "opened": "opened, as it happens",
    "popularity": "opened most in an earlier log",
}
_ENOUGH = 0.95


def curve(order: str) -> dict[tuple[int, float], float]:
    """Quality over that of the full backfill, by seed and share."""
    rows = [r for r in result("backfill_on_read") if r["method"] == order and r["metric"] == "quality"]
    return {(r["seed"], r["setting"]["share"]): r["value"] for r in rows}


def at(values: dict[tuple[int, float], float], share: float) -> float:
    """The quality at a share, averaged over seeds."""
    return mean(value for (_, part), value in values.items() if part == share)


def reached(order: str) -> float:
    """The least measured share at which the average has 95 % of the full backfill's quality."""
    values = curve(order)
    return min(part for _, part in values if at(values, part) >= _ENOUGH)
