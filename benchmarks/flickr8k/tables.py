"""Tables of Flickr8k: what most people look at first, and every method in either direction."""

from benchmarks.rendering.markdown import RECALLS
from benchmarks.rendering.retrieval import retrieval

_FIRST = ("old", "independent", "naive", "procrustes", "xbt-stage1")
TABLES = {
    "flickr8k": lambda: retrieval("flickr8k", RECALLS[2:], lambda r: r["method"] in _FIRST),
    "flickr8k-t2i": lambda: retrieval("flickr8k", RECALLS, lambda r: r["direction"] == "t2i"),
    "flickr8k-i2t": lambda: retrieval("flickr8k", RECALLS, lambda r: r["direction"] == "i2t"),
}
