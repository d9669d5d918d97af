"""Tables of XBT's finetuning by number of photos, and of maps that are fitted to the same photos directly."""

from benchmarks.rendering.markdown import RECALLS, Row
from benchmarks.rendering.retrieval import gap_closed, retrieval


def _direct(row: Row) -> bool:
    return row["method"].startswith("direct ")


TABLES = {
    "flickr8k-pairs": lambda: gap_closed("flickr8k_pairs", lambda r: not _direct(r)),
    "flickr8k-direct": lambda: retrieval(
        "flickr8k_pairs", RECALLS[2:], lambda r: _direct(r) and r["direction"] == "i2t"
    ),
}
