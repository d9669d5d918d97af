"""Table of text search with human judgements."""

from benchmarks.rendering.maps import maps

_METRICS = {"nDCG@10": "ndcg_at_10", "R@100": "recall_share_at_100"}
_COLUMNS = tuple(
    (f"{data.title()} {label}", metric, {"data": data})
    for data in ("cranfield", "vaswani")
    for label, metric in _METRICS.items()
)
TABLES = {"text-ir": lambda: maps("text_ir", _COLUMNS)}
