"""Tables of maps that are fitted on other pairs at each seed, while the queries stay the same."""

from __future__ import annotations

from statistics import mean

from benchmarks.rendering.markdown import Rows, label, order, result, table, unique

__all__ = ["Column", "maps", "with_answers"]

Column = tuple[str, str, dict[str, str]]  # heading, metric, setting


def maps(name: str, columns: tuple[Column, ...]) -> str:
    """One line a method: mean over seeds ± half an interval over queries, which is what a figure depends on there.

    Behind it stands whether the queries show it to be better than the status quo.
    """
    rows = result(name)
    lines = []
    for method in order(r["method"] for r in rows):
        cells = []
        for _, metric, setting in columns:
            own = [r for r in rows if (r["method"], r["metric"]) == (method, metric)]
            cells.append(with_answers([r for r in own if setting.items() <= r["setting"].items()]))
        lines.append([label(method), *cells])
    return table(["", *(heading for heading, *_ in columns)], lines)


def with_answers(rows: Rows) -> str:
    """Mean over seeds ± half an interval over queries, and in brackets the answers of all seeds."""
    if not rows:
        return ""
    half = mean((r["high"] - r["low"]) / 2 for r in rows)
    answers = [r["compatible"] for r in rows if "compatible" in r]
    each = ", ".join(a if answers.count(a) == len(answers) else f"{a} {answers.count(a)}×" for a in unique(answers))
    return f"{mean(r['value'] for r in rows):.3f} ± {half:.3f}{f' ({each})' if each else ''}"
