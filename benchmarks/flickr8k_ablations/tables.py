"""Tables of one setting at a time, and of the number of captions."""

from benchmarks.rendering.markdown import DIRECTIONS, named, result, summary, table, unique
from benchmarks.rendering.retrieval import gap_closed, shares_of_gap


def captions_curve() -> str:
    """The share of the gap to a full backfill that is closed at Recall@10, by number of captions of the other set."""
    rows = [r for r in result("flickr8k_ablations") if r["metric"] == "recall_at_10"]
    curve = [r for r in rows if r["cell"] == "new/old" and r["setting"].get("captions") == "other"]
    columns = [(d, count) for d in DIRECTIONS for count in sorted({r["setting"]["count"] for r in curve})]
    lines = []
    for method in unique(r["method"] for r in curve):
        own = [r for r in curve if r["method"] == method]
        cells = [[r for r in own if (r["direction"], r["setting"]["count"]) == column] for column in columns]
        lines.append([f"`{named(method)}`", *(summary(shares_of_gap(cell, rows)) for cell in cells)])
    return table(["", *(f"{DIRECTIONS[d]}, {count:,}" for d, count in columns)], lines)


TABLES = {
    "flickr8k-ablations": lambda: gap_closed("flickr8k_ablations", lambda r: r["setting"].get("captions") != "other"),
    "flickr8k-captions": captions_curve,
}
