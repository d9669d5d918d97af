"""The page of a shadow: how far both ways to ask agree, in one file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from embridge.atomic_write import atomic_file, refuse_foreign_file
from embridge.evaluation.gates import GateResult
from embridge.evaluation.render._markup import Markup, element, joined, style_sheet
from embridge.evaluation.render._style import BASE, REPORT
from embridge.evaluation.render._tables import gate_table, wide
from embridge.rollout.gates import RolloutGate
from embridge.rollout.shadow_figures import ShadowFigures

__all__ = ["require_free_page", "write_shadow_page"]

_MARKS = (b"<title>Shadow",)
_SIZE = (340, 150)
_NOTE = (
    "Each query was asked both ways: by the old model, whose answer people saw, and by the new one through the bridge, in the "
    "same rows. Agreement says how much changes for people; that the change is for the better, only judged queries can show."
)


def require_free_page(path: Path | str) -> None:
    """Refuse a name under which something else than such a page is; best before the work."""
    refuse_foreign_file(path, marks=_MARKS, what="a shadow's page")


def write_shadow_page(
    path: Path | str, store: str, figures: Sequence[ShadowFigures], gates: Sequence[RolloutGate]
) -> None:
    """Write the page, whole or not at all."""
    require_free_page(path)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"Shadow: {store}"),
        style_sheet(BASE + REPORT),
    )
    parts = [element("h1", "The new model in the shadow"), element("p", store, class_="note"), _gates(gates)]
    parts += [element("p", _NOTE, class_="note")] if figures else [element("p", "No query was compared yet.")]
    body = element("body", element("main", *parts, *map(_section, figures)))
    with atomic_file(path) as temporary:
        page = element("html", head, body, lang="en")
        temporary.write_text(f"<!doctype html>\n{page}\n", encoding="utf-8")


def _gates(gates: Sequence[RolloutGate]) -> Markup:
    if not gates:
        return Markup("")
    failed = sum(not gate.passed for gate in gates)
    title = f"Gates: {failed} of {len(gates)} not met" if failed else f"Gates: all {len(gates)} met"
    results = [
        GateResult(one.gate, one.where, np.nan if one.value is None else one.value, one.bound, one.passed)
        for one in gates
    ]
    return element("section", element("h2", title), gate_table(results))


def _section(figures: ShadowFigures) -> Markup:
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value, class_="words"))
        for name, value in figures.rows()
    ]
    title = figures.title.capitalize()
    table = wide(element("table", element("tbody", *rows)), title)
    return element("section", element("h2", title), table, _charts(figures))


def _charts(figures: ShadowFigures) -> Markup:
    overlap, _, _, old, bridged, *_ = np.array([astuple(sample) for sample in figures.log.samples]).T
    scores = np.histogram_bin_edges(np.concatenate([old, bridged]), 30)
    shares = np.linspace(0, 1, 12)
    drawn = [
        _bars("hits that both find", overlap, shares),
        _bars("best score, old", old, scores),
        _bars("best score, bridged", bridged, scores),
    ]
    return element("figure", element("div", *drawn, class_="panels"))


def _bars(title: str, values: np.ndarray, edges: np.ndarray) -> Markup:
    width, height = _SIZE
    counts = np.histogram(values, edges)[0]
    step, reach = width / len(counts), height - 50
    bars = [
        element(
            "rect",
            x=i * step,
            y=20 + reach * (1 - c / counts.max()),
            width=step * 0.85,
            height=reach * c / counts.max(),
        )
        for i, c in enumerate(counts.tolist())
    ]
    told = f"{len(values):,} queries, from {edges[0]:.3g} to {edges[-1]:.3g}, mean {values.mean():.3g}"
    ends = [
        element("text", f"{edges[0]:.3g}", x=0, y=height - 12),
        element("text", f"{edges[-1]:.3g}", x=width, y=height - 12, class_="end"),
    ]
    name = element("text", title, x=0, y=13, class_="name")
    around = [
        element("title", title),
        element("desc", told),
        name,
        element("g", joined(bars), class_="bars right"),
        *ends,
    ]
    return element("svg", *around, viewBox=f"0 0 {width} {height}", role="img", class_="chart")
