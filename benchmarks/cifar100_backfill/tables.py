"""Tables of forward maps and of the orders in which rows are re-encoded."""

from benchmarks.rendering.maps import maps, with_answers
from benchmarks.rendering.markdown import order, result, table, unique


def backfill_orders() -> str:
    """One line a method, one column an order: the area under its curve, and whether that is above a random order's."""
    rows = [r for r in result("cifar100_backfill") if r["metric"] == "backfill_auc:cmc_at_1"]
    columns = unique(r["setting"]["order"] for r in rows)
    lines = []
    for method in order(r["method"] for r in rows):
        own = [
            r | ({"compatible": r["better_than_random"]} if "better_than_random" in r else {})
            for r in rows
            if r["method"] == method
        ]
        lines.append([f"`{method}`", *(with_answers([r for r in own if r["setting"]["order"] == c]) for c in columns)])
    return table(["", *columns], lines)


TABLES = {
    "cifar100": lambda: maps("cifar100_backfill", (("R@1", "cmc_at_1", {}), ("mAP@100", "map_at_100", {}))),
    "cifar100-orders": backfill_orders,
}
