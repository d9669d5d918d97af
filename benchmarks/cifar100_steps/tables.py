"""Tables of versions in a row: in sum, each on those before it, and queries apart by who was trained on their class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.record import FOLDER
from benchmarks.rendering.markdown import Rows, summary, table, unique
from benchmarks.rendering.training import (
    answers,
    method_label,
    metric_label,
    metrics_of,
    of_cell,
    over_seeds,
    runs,
    with_answer,
)

_SUMS = ("average compatibility", "average accuracy")
_LAST = {"last version": "new/new", "last on first": "new/old"}
_FIRST_ITSELF = "the first version itself"


def steps(name: str, folder: Path = FOLDER) -> str:
    """One line a method: what sums up its matrix of tests, and the last version on its own rows and on the first one's."""
    by_method = runs(name, folder)
    metrics = [metrics_of(by_method)[place] for place in (0, -1)]
    sums = {f"{words} {metric_label(m)}": f"{words.replace(' ', '_')}:{m}" for words in _SUMS for m in metrics}
    tests = [(words, cell, metric) for words, cell in _LAST.items() for metric in metrics]
    lines = []
    for method, rows in by_method.items():
        figures = [over_seeds([r["value"] for r in rows if r["metric"] == metric]) for metric in sums.values()]
        versions = max(r["setting"].get("queries", 0) for r in rows)
        for _, cell, metric in tests:
            setting = {"queries": versions, "gallery": versions if cell == "new/new" else 1}
            figures.append(with_answer([r for r in of_cell(rows, cell, metric) if r["setting"] == setting]))
        dims = [r["value"] for r in rows if r["metric"] == "dim" and r["setting"] == {"queries": versions}]
        lines.append([method_label(method), *figures, f"{dims[0]}"])
    head = [*sums, *(f"{words} {metric_label(metric)}" for words, _, metric in tests), "dimensions"]
    return table(["", *head], lines)


def pairs(name: str, folder: Path = FOLDER) -> str:
    """One line a method: each version's queries on each older version's vectors, over that version's own, by the first metric."""
    by_method = {method: rows for method, rows in runs(name, folder).items() if method != "independent"}
    first = metrics_of(by_method)[0]
    whole = {method: [r for r in rows if "classes" not in r["setting"]] for method, rows in by_method.items()}
    columns = list(dict.fromkeys(_pair(r) for r in of_cell(next(iter(whole.values())), "new/old", first)))
    lines = []
    for method, rows in whole.items():
        cells = []
        for t, s in columns:
            crossed = [r for r in of_cell(rows, "new/old", first) if _pair(r) == (t, s)]
            own = mean(r["value"] for r in of_cell(rows, "new/new", first) if _pair(r) == (s, s))
            cells.append(f"{mean(r['value'] for r in crossed):.3f} / {own:.3f} ({answers(crossed)})")
        lines.append([method_label(method), *cells])
    return table(["", *(f"{t} on {s}" for t, s in columns)], lines)


def _pair(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["setting"]["queries"], row["setting"]["gallery"]


def strangers(name: str, folder: Path = FOLDER) -> str:
    """One line a method: the second version's queries on the first one's vectors, by who was trained on the query's class."""
    by_label: dict[str, Rows] = {_FIRST_ITSELF: []}
    second_on_first = {"queries": 2, "gallery": 1}.items()
    for method, rows in runs(name, folder).items():
        own = [r for r in rows if "classes" in r["setting"] and second_on_first <= r["setting"].items()]
        if own:
            by_label[_FIRST_ITSELF] = [r for r in own if r["cell"] == "old/old"]
            by_label[method_label(method)] = [r for r in own if r["cell"] == "new/old"]
    groups = unique(r["setting"]["classes"] for rows in by_label.values() for r in rows)
    lines = [
        [label, *(summary([r for r in rows if r["setting"]["classes"] == group]) for group in groups)]
        for label, rows in by_label.items()
    ]
    return table(["", *groups], lines)


TABLES = {
    "cifar100-steps": lambda: steps("cifar100_steps"),
    "cifar100-steps-pairs": lambda: pairs("cifar100_steps"),
    "cifar100-steps-strangers": lambda: strangers("cifar100_steps"),
}
