"""The demo's page: five searches before and after, in one file that needs no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embridge.datasets import glyphs
from embridge.errors import require
from embridge.evaluation import Summary, measure
from embridge.evaluation.render._markup import Markup, element, joined, style_sheet
from embridge.evaluation.render._style import BASE, CHART
from embridge.evaluation.render._tables import cell_legend, wide
from embridge.evaluation.report import CEILING
from embridge.jobs.demo._live import Live
from embridge.jobs.demo._live_section import live_section
from embridge.jobs.demo._searches import Example, Hit

__all__ = ["Model", "Savings", "pictures", "write_page"]

_SCALE = 2
_REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class Model:
    """One of the two models: its side (old or new), name, dims and number of parameters."""

    side: str
    name: str
    dim: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Savings:
    """What the upgrade saves: rows that are not re-encoded, the seconds that would take, and what the fit took instead."""

    rows: int
    encode_seconds: float
    fit_seconds: float


def write_page(
    path: Path, summary: Summary, examples: Sequence[Example], *, models: Sequence[Model], savings: Savings, live: Live
) -> None:
    """Write the page; the report's page is expected beside it."""
    drawn = pictures(name for e in examples for name, _ in (*e.before, *e.after, *e.right))
    uris = {name: _data_uri(png) for name, png in drawn.items()}
    main = element(
        "main",
        element("h1", "A new model on the old index"),
        element("p", summary.verdict.sentence, class_="verdict"),
        _models(models),
        _saved(savings),
        element(
            "p",
            "Every picture was indexed once, with the old model. The bridge was fitted from names alone, none of them a "
            "name below, and the index was not touched. Of all pictures the first ten are shown; ",
            element("span", "framed", class_="right"),
            " ones show the character of the query.",
        ),
        *(_search(example, uris) for example in examples),
        live_section(live),
        element("h2", "Measured on 1,000 held-out characters"),
        _table(summary),
        element(
            "p",
            "R@k, recall: share of queries with the right item among the first k, one picture a character. Grey: half the "
            "95 % interval. ",
            _report_link("The report"),
            " has every figure, and the queries that were lost and won.",
            class_="note",
        ),
        cell_legend(_cells(summary)),
    )
    page = element("html", _head(), element("body", main), lang="en")
    path.write_text(f"<!doctype html>\n{page}\n", encoding="utf-8")


def _head() -> Markup:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "Embridge: the same index, before and after"),
        style_sheet(BASE + CHART + _STYLE),
    )


def _models(models: Sequence[Model]) -> Markup:
    entries = [
        element(
            "div",
            element("dt", f"{model.side} model"),
            element("dd", f"{model.name}: {model.dim} dims, {model.parameters:,} parameters"),
        )
        for model in models
    ]
    return element("dl", *entries, class_="facts")


def _saved(savings: Savings) -> Markup:
    return element(
        "p",
        element("strong", f"{savings.rows:,} pictures were not re-encoded. "),
        f"The new model would have taken about {_time(savings.encode_seconds)} for them on this machine, and takes longer "
        f"the larger the index. The fit took {_time(savings.fit_seconds)}, however large it is. ",
        _report_link("Read the report"),
        ".",
    )


def _report_link(text: str) -> Markup:
    return element("a", text, href=_REPORT)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _search(example: Example, drawn: dict[str, str]) -> Markup:
    """Both rows; where both are wrong, what would have been right."""
    rows = [_row("old model", example.before, example, drawn), _row("upgraded", example.after, example, drawn)]
    if not any(example.found):
        rows.append(_row("right answer", example.right, example, drawn))
    heading = element("h2", example.query, " ", element("small", example.why))
    return element("section", heading, *rows)


def _row(who: str, hits: Sequence[Hit], example: Example, drawn: dict[str, str]) -> Markup:
    images = [
        element(
            "img",
            class_="right" if character == example.query else "other",
            src=drawn[name],
            width=48,
            height=48,
            alt=character,
            title=f"{character}, {name}",
        )
        for name, character in hits
    ]
    return element("div", element("div", who, class_="who"), element("div", *images, class_="hits"), class_="row")


def _table(summary: Summary) -> Markup:
    directions, metrics = summary.asked, summary.metrics
    top = element("tr", element("th", ""), *(element("th", one.title, colspan=len(metrics)) for one in directions))
    labels = [element("th", measure(metric).label) for _ in directions for metric in metrics]
    rows = [
        element(
            "tr",
            element("th", name),
            *(_value(summary, one.direction, name, metric) for one in directions for metric in metrics),
            class_="aside" if name == CEILING else None,
        )
        for name in _cells(summary)
    ]
    head = element("thead", top, element("tr", element("th", "query / gallery"), *labels))
    return wide(element("table", head, element("tbody", *rows)), "cells")


def _cells(summary: Summary) -> list[str]:
    return list(dict.fromkeys(name for one in summary.asked for name in one.cells))


def _value(summary: Summary, direction: str, name: str, metric: str) -> Markup:
    interval = summary.figure(direction, name, metric).interval
    return element("td", joined([f"{interval.value:.3f} ", element("span", f"±{interval.half:.3f}", class_="half")]))


def pictures(ids: Iterable[str]) -> dict[str, bytes]:
    """A PNG of every rendering, by its id."""
    names = set(ids)
    drawn = glyphs.render({int(name.split("/")[0][2:], 16) for name in names})
    return {name: _png(image) for name, image in zip(drawn.ids, drawn.images, strict=True) if name in names}


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _png(image: np.ndarray) -> bytes:
    pil = require("PIL.Image", extra="demo")
    side = glyphs.IMAGE_SIZE * _SCALE
    drawn = pil.fromarray(255 - image).resize((side, side), pil.Resampling.LANCZOS)
    stream = io.BytesIO()
    drawn.save(stream, "PNG", optimize=True)
    return stream.getvalue()


_STYLE = """
a { color: var(--series-0) }
.facts { display: flex; flex-wrap: wrap; gap: .2rem 2rem; margin: .8rem 0 } .facts > div { display: flex; gap: .6rem }
.facts dt { font-weight: 600; white-space: nowrap } .facts dd { margin: 0; color: var(--soft) }
.row { display: flex; gap: .75rem; align-items: center; margin: .4rem 0 }
.who { flex: 0 0 5.5rem }
.hits { display: grid; grid-template-columns: repeat(10, minmax(0, 3.5rem)); gap: .35rem; flex: 1 }
img { width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: .35rem; padding: .15rem }
@media (max-width: 40rem) { .row { display: block; margin: .6rem 0 } .hits { gap: .2rem } img { padding: 0 } }
tr.aside > * { color: var(--soft); font-weight: normal }
.legend { font-size: .85rem; margin: .8rem 0 } .legend > div { display: flex; gap: .75rem; margin: .15rem 0 }
.legend dt { flex: 0 0 8rem; font-weight: 600 } .legend dd { margin: 0; color: var(--soft) }
.live { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); align-items: start }
.live figure { margin: .5rem 0 1rem } .live figcaption { font-size: .85rem; color: var(--soft) } td.words { text-align: left }
@media (max-width: 40rem) { .live th, .live td { padding: .3rem .4rem } .live .half { display: none } }
img.right { outline: 3px solid var(--right); outline-offset: -2px } span.right { color: var(--right); font-weight: 600 }
"""
