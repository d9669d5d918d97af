"""The demo's page: five searches before and after, in one file that needs no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from embridge.datasets import glyphs
from embridge.errors import require
from embridge.evaluation import Summary, measure
from embridge.evaluation.render.markup import Markup
from embridge.evaluation.render.style import BASE
from embridge.evaluation.render.tables import cell_legend
from embridge.evaluation.report import CEILING

__all__ = ["Example", "pictures", "write_page"]

Hit = tuple[str, str]
_SCALE = 2
_ASIDE = " class='aside'"


@dataclass(frozen=True, slots=True)
class Example:
    """A query, why it is shown, and the (id, character name) hits of both systems."""

    query: str
    why: str
    before: list[Hit]
    after: list[Hit]


def write_page(path: Path, summary: Summary, examples: Sequence[Example]) -> None:
    """Write the page."""
    drawn = pictures(name for e in examples for name, _ in (*e.before, *e.after))
    shown = {name: _data_uri(png) for name, png in drawn.items()}
    searches = "\n".join(_search(example, shown) for example in examples)
    path.write_text(
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Embridge: the same index, before and after</title><style>{BASE}{_STYLE}</style></head><body><main>"
        f"<h1>A new model on the old index</h1><p class='verdict'>{escape(summary.verdict.sentence)}</p>"
        f"<p>Every rendering of every character was indexed once, with the old model. The upgrade was fitted from "
        f"character names alone, none of them a name below, and the index was not touched. "
        f"<span class='right'>Framed</span> hits show the character that was asked for; the top ten of all renderings "
        f"are shown.</p>{searches}<h2>Measured on 1,000 held-out characters</h2>{_table(summary)}"
        f"<p class='note'>R@k, recall: share of queries with the right item among the first k, one rendering a character. "
        f"Grey: half the 95 % interval.</p>{_legend(summary)}</main></body></html>\n",
        encoding="utf-8",
    )


def _search(example: Example, pictures: dict[str, str]) -> str:
    rows = "".join(
        f"<div class='row'><div class='who'>{who}</div><div class='hits'>{_hits(hits, example.query, pictures)}</div></div>"
        for who, hits in (("old model", example.before), ("upgraded", example.after))
    )
    return f"<section><h2>{escape(example.query)} <small>{escape(example.why)}</small></h2>{rows}</section>"


def _hits(hits: Sequence[Hit], query: str, pictures: dict[str, str]) -> str:
    return "".join(
        f"<img class='{'right' if character == query else 'other'}' src='{pictures[name]}' width='48' height='48' "
        f"alt='{escape(character, quote=True)}' title='{escape(f'{character}, {name}', quote=True)}'>"
        for name, character in hits
    )


def _table(summary: Summary) -> str:
    asked, metrics = summary.asked, summary.metrics
    names = _cells(summary)
    head = "".join(f"<th colspan='{len(metrics)}'>{one.title}</th>" for one in asked)
    labels = "".join(f"<th>{measure(metric).label}</th>" for _ in asked for metric in metrics)
    body = "".join(
        f"<tr{_ASIDE if name == CEILING else ''}><th>{escape(name)}</th>"
        f"{''.join(_value(summary, a.direction, name, m) for a in asked for m in metrics)}</tr>"
        for name in names
    )
    top = f"<thead><tr><th></th>{head}</tr><tr><th>query / gallery</th>{labels}</tr></thead>"
    return f"<div class='wide'><table>{top}<tbody>{body}</tbody></table></div>"


def _cells(summary: Summary) -> list[str]:
    return list(dict.fromkeys(name for one in summary.asked for name in one.cells))


def _legend(summary: Summary) -> Markup:
    """What the rows of the table are."""
    return cell_legend(_cells(summary))


def _value(summary: Summary, direction: str, name: str, metric: str) -> str:
    interval = summary.figure(direction, name, metric).interval
    return f"<td>{interval.value:.3f} <span class='half'>±{interval.half:.3f}</span></td>"


def pictures(ids: Iterable[str]) -> dict[str, bytes]:
    """A PNG of every rendering, by its id."""
    wanted = set(ids)
    drawn = glyphs.render({int(name.split("/")[0][2:], 16) for name in wanted})
    return {name: _png(image) for name, image in zip(drawn.ids, drawn.images, strict=True) if name in wanted}


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
.row { display: flex; gap: .75rem; align-items: center; margin: .4rem 0 }
.who { flex: 0 0 5rem }
.hits { display: grid; grid-template-columns: repeat(10, minmax(0, 3.5rem)); gap: .35rem; flex: 1 }
img { width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: .35rem; padding: .15rem }
@media (max-width: 40rem) { .row { display: block; margin: .6rem 0 } .hits { gap: .2rem } img { padding: 0 } }
tr.aside > * { color: var(--soft); font-weight: normal }
.legend { font-size: .85rem; margin: .8rem 0 } .legend > div { display: flex; gap: .75rem; margin: .15rem 0 }
.legend dt { flex: 0 0 8rem; font-weight: 600 } .legend dd { margin: 0; color: var(--soft) }
img.right { outline: 3px solid var(--right); outline-offset: -2px } span.right { color: var(--right); font-weight: 600 }
"""
