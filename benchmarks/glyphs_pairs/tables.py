"""Tables of finetuning with a LoRA: what the old index gains, and what the new model itself keeps."""

from benchmarks.rendering.markdown import DIRECTIONS, named, result, summary, table, unique
from benchmarks.rendering.retrieval import gap_closed

_CELLS = {"added": "bridged rows", "self": "new model alone"}


def kept_by_lora() -> str:
    """Recall at 10 of the new model alone and of what the bridge writes, before and after finetuning."""
    rows = [r for r in result("glyphs_pairs") if r["metric"] == "recall_at_10"]
    columns = [(cell, direction) for cell in _CELLS for direction in DIRECTIONS]
    lines = []
    for method in unique(r["method"] for r in rows if r["cell"] == "added"):
        own = [r for r in rows if r["method"] == method]
        cells = [summary([r for r in own if (r["cell"], r["direction"]) == column]) for column in columns]
        lines.append([f"`{named(method)}`", *cells])
    return table(["", *(f"{_CELLS[cell]}, {DIRECTIONS[d]}" for cell, d in columns)], lines)


TABLES = {"glyphs-pairs": lambda: gap_closed("glyphs_pairs"), "glyphs-kept": kept_by_lora}
