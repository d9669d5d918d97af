"""Tables of real CLIPs, one for each new model."""

from benchmarks.rendering.markdown import RECALLS
from benchmarks.rendering.retrieval import retrieval

TABLES = {
    "clip-lvis-b16": lambda: retrieval("clip_lvis", RECALLS, lambda r: r["setting"]["new"] == "eva-clip-b16"),
    "clip-lvis-l14": lambda: retrieval("clip_lvis", RECALLS, lambda r: r["setting"]["new"] == "eva-clip-l14-336"),
}
