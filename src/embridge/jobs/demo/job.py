"""Index with the old model, fit from names alone, measure, and search the untouched index with the new model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.atomic_write import atomic_folder
from embridge.datasets import glyph_models, glyphs
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder, load
from embridge.errors import InvalidInput, require
from embridge.evaluation import Relevance, Report, Scope, Side, Summary, evaluate
from embridge.evaluation.render.html import Picture, save_html
from embridge.evaluation.report_files import save_report
from embridge.jobs.demo.page import Example, pictures, write_page
from embridge.methods import Pairs, make
from embridge.progress import Progress, silent
from embridge.stores import Store, open_store

__all__ = ["DemoResult", "run_demo"]

SCHEMA = "embridge.demo/1"
_INSERT_ROWS = 8_192
_HITS = 10
_REPORT = "report.json"
_MARKER = "embridge-demo.json"
_WRITTEN = {"store", "upgrade", "searches.html", "report.html", "report.parquet", _REPORT, _MARKER}
_FIXED, _BROKEN = "found only after the upgrade", "found only before the upgrade"
_WANTED = {_FIXED: 2, _BROKEN: 1}
_TRIED = 200
_SLICE_NAMES = 30


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured and where it wrote."""

    summary: Summary
    folder: Path
    seconds: float

    @property
    def files(self) -> dict[str, Path]:
        """The store, the upgrade, the page of searches, and the report with the values of every query and its page."""
        names = {
            "store": "store",
            "upgrade": "upgrade",
            "searches": "searches.html",
            "report": _REPORT,
            "values": "report.parquet",
            "page": "report.html",
        }
        return {what: self.folder / name for what, name in names.items()}

    def to_dict(self) -> dict[str, Any]:
        """What ``embridge demo --json`` prints."""
        files = {what: str(path) for what, path in self.files.items()}
        return {"schema": SCHEMA} | self.summary.headline() | {"seconds": round(self.seconds, 1)} | files


def run_demo(out: Path | str, *, progress: Progress = silent) -> DemoResult:
    """Run the demo into a folder, which appears whole or, if it is interrupted, not at all.

    A folder of an earlier demo is replaced; one that holds other things is refused with `InvalidInput`.
    """
    began = perf_counter()
    out = Path(out).absolute()
    foreign = sorted({path.name for path in out.iterdir()} - _WRITTEN) if out.is_dir() else []
    if foreign:
        raise InvalidInput(
            f"{out} holds other things ({foreign[0]}) and is not overwritten; choose a new or an empty folder"
        )
    old, new = (load(f"clip:{glyph_models.folder(side)}", batch_size=256, progress=progress) for side in ("old", "new"))
    with _one_thread(), atomic_folder(out, marker=_MARKER) as folder:
        store = _index(folder / "store", old, progress)
        upgrade, control = _fit(old, new, progress)
        upgrade.save(folder / "upgrade")
        report = _measure(old, new, upgrade, control, progress)
        summary = save_report(report, folder / _REPORT)
        (folder / _MARKER).write_text(json.dumps({"schema": SCHEMA}), encoding="utf-8")
        examples = _examples(report, store, (old, new), upgrade)
        write_page(folder / "searches.html", summary, examples)
        save_html(folder / "report.html", summary, show=_shown(summary))
    return DemoResult(summary, out, perf_counter() - began)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Models this small gain nothing from several threads, which crawl when anything else is running."""
    torch = require("torch", extra="demo")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _index(path: Path, old: Encoder, progress: Progress) -> Store:
    """Every rendering of every character, embedded by the old model, in LanceDB."""
    drawn = glyphs.render()
    vectors = old.encode(drawn.images, modality="image")
    rows = Embeddings.of(vectors, old.space, drawn.ids)
    names = drawn.captions
    store = open_store(path, create=True)
    store.add_space(old.space)
    start = 0
    for part in rows.chunks(_INSERT_ROWS):
        own = slice(start, start + len(part))
        store.upsert(part, {"character": names[own], "font": list(drawn.fonts[own])})
        start += len(part)
        progress(start, len(rows), "lancedb: insert")
    return store


def _fit(old: Encoder, new: Encoder, progress: Progress) -> tuple[Upgrade, Upgrade]:
    """XBT and its closed-form control, from the names of training characters: no image, no held-out name."""
    names = [glyphs.caption(c) for c in glyphs.split()["train"]]
    texts = [Embeddings.of(e.encode(names, modality="text"), e.space, names) for e in (new, old)]
    pairs = Pairs(texts[0], texts[1])
    upgrade = make("xbt").fit(pairs, progress=progress)
    encoders = {side: f"clip:{glyph_models.folder(side)}" for side in ("old", "new")}
    upgrade = replace(upgrade, provenance=replace(upgrade.provenance, encoders=encoders))
    return upgrade, make("procrustes").fit(pairs)


def _measure(old: Encoder, new: Encoder, upgrade: Upgrade, control: Upgrade, progress: Progress) -> Report:
    """On the 1,000 held-out characters, one rendering each."""
    held_out = glyphs.render(glyphs.split()["test"], one_each=True)
    names = held_out.captions

    def side(encoder: Encoder) -> Side:
        texts, images = encoder.encode(names, modality="text"), encoder.encode(held_out.images, modality="image")
        return Side(Embeddings.of(texts, encoder.space, names), Embeddings.of(images, encoder.space, held_out.ids))

    return evaluate(
        side(old),
        side(new),
        upgrade,
        Relevance.from_pairs(zip(names, held_out.ids, strict=True)),
        controls={"procrustes": control},
        scope=Scope(
            cells=("fused/old", "cascade", "ceiling"),
            orders={"random": None},
            slices={"first word": _first_words(names, held_out.ids)},
            about={"measured on": "1,000 held-out characters of DejaVu and STIX"},
        ),
        progress=progress,
    )


def _first_words(names: Sequence[str], ids: Sequence[str]) -> dict[str, str]:
    """What each name begins with, mostly its script, for the name and its rendering: ``latin``, ``arabic``, ``black``."""
    words = [name.split()[0] for name in names]
    common = {word for word, times in Counter(words).items() if times >= _SLICE_NAMES}
    labels = [word if word in common else "other" for word in words]
    return dict(zip((*names, *ids), (*labels, *labels), strict=True))


def _shown(summary: Summary) -> Callable[[str], Picture | str]:
    """What the report's page shows: the rendering of an id, a name as it is."""
    ids = {name for flip in summary.flips for name in (flip.query, *flip.right, *flip.old_hits, *flip.new_hits)}
    drawn = pictures(name for name in ids if name.startswith("U+"))
    return lambda name: Picture(drawn[name], "image/png") if name in drawn else name


def _examples(report: Report, store: Store, encoders: tuple[Encoder, Encoder], upgrade: Upgrade) -> list[Example]:
    """Held-out queries against the whole store: two that the upgrade fixed, one it broke, and two as they came.

    What is said of a query is true of the hits shown; a kind that no query of the first so many is of is left out.
    """
    order = _shuffled(report.task("t2i").query_ids)[:_TRIED]
    old, new = (_queries(encoder, order) for encoder in encoders)
    bridged = upgrade.to_index_space(new)

    def example(row: int) -> Example:
        return Example(order[row], "drawn at random", _hits(store, old.take([row])), _hits(store, bridged.take([row])))

    drawn = [example(row) for row in range(2)]
    found: dict[str, list[Example]] = {kind: [] for kind in _WANTED}
    for row in range(2, len(order)):
        tried = example(row)
        if (kind := _kind(tried)) in found and len(found[kind]) < _WANTED[kind]:
            found[kind].append(replace(tried, why=kind))
        if all(len(found[kind]) == wanted for kind, wanted in _WANTED.items()):
            break
    return [*(example for kind in found.values() for example in kind), *drawn]


def _queries(encoder: Encoder, names: list[str]) -> Embeddings:
    return Embeddings.of(encoder.encode(names, modality="text", role="query"), encoder.space, names)


def _kind(example: Example) -> str:
    before, after = (any(c == example.query for _, c in hits) for hits in (example.before, example.after))
    return "" if before == after else _FIXED if after else _BROKEN


def _shuffled(names: Sequence[str]) -> list[str]:
    return [names[i] for i in np.random.default_rng(0).permutation(len(names))]


def _hits(store: Store, query: Embeddings) -> list[tuple[str, str]]:
    ids = store.search(query, _HITS).ids[0]
    return list(zip(ids, store.payload(query.space, ids)["character"], strict=True))
