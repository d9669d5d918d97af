"""Tables of searches in an old index: recall by method, and the share of the gap to a full backfill that is closed."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.rendering.markdown import DIRECTIONS, Row, Rows, label, order, result, summary, table, unique

__all__ = ["gap_closed", "retrieval", "shares_of_gap"]

_SHOWN = ("old/old", "naive", "new/old", "fused/old", "new/new")
_ENDS = ("old", "naive", "independent")


def _all(_: Row) -> bool:
    return True


def retrieval(name: str, metrics: tuple[str, ...], keep: Callable[[Row], bool] = _all) -> str:
    """One line a method, one column a direction and metric."""
    rows = [r for r in result(name) if r["metric"] in metrics and keep(r)]
    columns = [(direction, metric) for direction in unique(r["direction"] for r in rows) for metric in metrics]
    lines = []
    for method in order(r["method"] for r in rows):
        own = [r for r in rows if r["method"] == method]
        cells = [summary([r for r in own if (r["direction"], r["metric"]) == column]) for column in columns]
        lines.append([label(method), *cells])
    return table(["", *(f"{DIRECTIONS[d]} R@{metric.rpartition('_')[2]}" for d, metric in columns)], lines)


def gap_closed(name: str, keep: Callable[[Row], bool] = _all) -> str:
    """One line a method: Recall@10 each way, and the share of the gap to a full backfill that is closed, over seeds."""
    rows = [r for r in result(name) if r["metric"] == "recall_at_10" and keep(r)]
    shown = [r for r in rows if r["cell"] in _SHOWN]
    lines = []
    for method in order(r["method"] for r in shown):
        cells = []
        for direction in DIRECTIONS:
            own = [r for r in shown if (r["method"], r["direction"]) == (method, direction)]
            shares = shares_of_gap(own, rows) if method not in _ENDS else []
            cells += [summary(own) if own else "", summary(shares) if shares else ""]
        lines.append([label(method), *cells])
    head = ["", *(f"{DIRECTIONS[d]} {figure}" for d in DIRECTIONS for figure in ("R@10", "gap closed"))]
    return table(head, lines)


def shares_of_gap(own: Rows, rows: Rows) -> Rows:
    """The same rows with (value − old/old) / (new/new − old/old) in place of the value, of each direction and seed."""
    ends = {(r["direction"], r["seed"], r["cell"]): r["value"] for r in rows if r["cell"] in ("old/old", "new/new")}
    shares = []
    for r in own:
        old, new = (ends[r["direction"], r["seed"], cell] for cell in ("old/old", "new/new"))
        shares.append(r | {"value": (r["value"] - old) / (new - old)})
    return shares
