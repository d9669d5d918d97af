"""Results read, summed up over seeds and written as Markdown: what the tables of all benchmarks share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from benchmarks.record import FOLDER

__all__ = [
    "DIRECTIONS",
    "LABELS",
    "RECALLS",
    "Row",
    "Rows",
    "label",
    "named",
    "order",
    "result",
    "summary",
    "table",
    "unique",
]

Row = dict[str, Any]
Rows = list[Row]

DIRECTIONS = {"t2i": "text to image", "i2t": "image to text"}
RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")
LABELS = {
    "old": "old model, old index (status quo)",
    "naive": "new model on the old index, no bridge",
    "midpoint": "midpoint of the bridged and the old query, old index (both encoders)",
    "slerp": "SLERP of the two queries, its weight chosen on other queries (both encoders)",
    "nlerp": "NLERP of the two queries, its weight chosen on other queries (both encoders)",
    "adaptive-nlerp": "NLERP with a weight for each query, chosen on other queries (both encoders)",
    "cascade": "the bridge's best 100, re-encoded for each query",
    "ceiling": "about the most that a map into the old index can reach",
    "independent": "new model, everything re-encoded",
}
# two-sided 95 % quantile of Student's t, by degrees of freedom, for a mean over so many seeds or splits
_STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
_FUSED = ("midpoint", "slerp", "nlerp", "adaptive-nlerp")
_RANKS = {"old": -2, "naive": -1, "cascade": 2, "independent": 3, "ceiling": 4} | dict.fromkeys(_FUSED, 1)


def result(name: str) -> Rows:
    """The rows of ``results/NAME.json``."""
    return json.loads((FOLDER / "results" / f"{name}.json").read_text())["rows"]


def table(head: Sequence[str], lines: Iterable[Sequence[str]], *, words: Sequence[int] = (0,)) -> str:
    """A Markdown table. Columns of words, named by their number, are set to the left; the others, of figures, to the right."""
    rule = ["---" if number in words else "---:" for number in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def summary(rows: Rows) -> str:
    """The mean over seeds ± half its 95 % interval; of one seed its own value ± half the interval over queries."""
    if len(rows) == 1:
        return f"{rows[0]['value']:.3f} ± {(rows[0]['high'] - rows[0]['low']) / 2:.3f}"
    values = [r["value"] for r in rows]
    return f"{mean(values):.3f} ± {_STUDENT[len(values) - 1] * stdev(values) / len(values) ** 0.5:.3f}"


def order(methods: Iterable[str]) -> list[str]:
    """Each method once: the status quo first, the full backfill last."""
    return sorted(unique(methods), key=lambda method: _RANKS.get(method, 0))


def label(method: str) -> str:
    """What the first column of a table calls a method."""
    return LABELS.get(method, f"`{named(method)}`, old index")


def named(method: str) -> str:
    """What the docs call a method: files of results have earlier names, of two stages."""
    for result_name, name in (
        ("xbt-stage1", "xbt"),
        ("xbt-stage2", "finetuned"),
        ("stage 1", "xbt"),
        ("stage 2", "finetuned"),
    ):
        method = method.replace(result_name, name)
    return method


def unique(words: Iterable[str]) -> list[str]:
    """Each word once, in the order of the first."""
    return list(dict.fromkeys(words))
