"""When a backfill is as good as its end, by the order in which items are encoded again."""

from benchmarks.rendering.backfill import ORDERS, at, curve, reached
from benchmarks.rendering.markdown import result, summary, table


def orders() -> str:
    """One line an order: the quality at some shares, and the share from which on it is enough."""
    lines = []
    for order, label in ORDERS.items():
        values = curve(order)
        cells = [f"{at(values, share):.2f}" for share in (0.05, 0.1, 0.25, 0.5)]
        own = [r for r in result("backfill_on_read") if r["method"] == order and r["metric"] == "share"]
        lines.append([label, *cells, f"{reached(order):.2f}", summary(own)])
    head = ["order", "at 5 %", "at 10 %", "at 25 %", "at 50 %", "95 % reached at", "mean of single seeds"]
    return table(head, lines)


TABLES = {"backfill-on-read": orders}
