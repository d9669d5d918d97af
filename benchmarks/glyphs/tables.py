"""Tables of the demo's measurement: what most people look at first, and every method."""

from benchmarks.rendering.markdown import RECALLS
from benchmarks.rendering.retrieval import retrieval

_FIRST = ("old", "independent", "naive", "procrustes", "xbt-stage1")
TABLES = {
    "glyphs": lambda: retrieval("glyphs", RECALLS[::2], lambda r: r["method"] in _FIRST),
    "glyphs-all": lambda: retrieval("glyphs", RECALLS),
}
