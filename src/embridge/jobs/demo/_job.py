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
from embridge.atomic_write import atomic_folder, is_leftover
from embridge.datasets import glyph_models, glyphs
from embridge.embeddings import Embeddings
from embridge.encoders.base import Modality
from embridge.encoders.clip import ClipEncoder
from embridge.errors import InvalidInput, require
from embridge.evaluation import Relevance, Report, Scope, Side, Summary, evaluate
from embridge.evaluation.render.html import Picture, save_html
from embridge.evaluation.report_files import save_report
from embridge.jobs.demo._live import LIVE, SETTINGS, Held, Live, go_live
from embridge.jobs.demo._page import Model, Savings, pictures, write_page
from embridge.jobs.demo._searches import example_searches
from embridge.methods import Pairs, make
from embridge.progress import Progress, silent
from embridge.stores import Store, open_store

__all__ = ["DemoResult", "run_demo"]

_SCHEMA = "embridge.demo/1"
_STAGES = 7
_BATCH = 256
_PART = 8_192  # pictures before progress is told: a multiple of the batch
_REPORT = "report.json"
_MARKER = "embridge-demo.json"
_PAGES = {"searches.html", "report.html"}
_WRITTEN = {"store", "upgrade", LIVE, SETTINGS, *_PAGES, "report.parquet", _REPORT, _MARKER}
_SLICE_NAMES = 30
# A fifth of the time of the defaults, and level with them on the validation characters: Recall@10 .645 each, the mean of both
# directions. Of twelve smaller trainings it is the quickest of which that holds.
_XBT = {
    "hidden_width": 256,
    "dropout": 0.0,
    "closed_form": "procrustes",
    "neighbour_weight": 2.0,
    "neighbour_temperature": 0.05,
    "training": {"batch_size": 512, "epochs": 10, "min_steps": 150, "learning_rate": 4e-3},
}


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured and where it wrote.

    Attributes:
        summary: The report's figures and verdict.
        live: What a small live index answered on its way through the upgrade and back.
        folder: Where everything was written.
        seconds: How long it took.

    Examples:
        >>> sorted(DemoResult.__dataclass_fields__)
        ['folder', 'live', 'seconds', 'summary']
    """

    summary: Summary
    live: Live
    folder: Path
    seconds: float

    @property
    def files(self) -> dict[str, Path]:
        """The stores, the upgrade, the rollout's settings, the page of searches, and the report with its values and page."""
        names = {
            "store": "store",
            "upgrade": "upgrade",
            "live": LIVE,
            "rollout": SETTINGS,
            "searches": "searches.html",
            "report": _REPORT,
            "values": "report.parquet",
            "page": "report.html",
        }
        return {what: self.folder / name for what, name in names.items()}

    def to_dict(self) -> dict[str, Any]:
        """What ``embridge demo --json`` prints."""
        files = {what: str(path) for what, path in self.files.items()}
        live = {"live_steps": self.live.to_dict()}
        return {"schema": _SCHEMA} | self.summary.headline() | {"seconds": round(self.seconds, 1)} | files | live


def run_demo(out: Path | str, *, progress: Progress = silent) -> DemoResult:
    """Run the whole job on built-in data, into a folder that appears whole or not at all.

    It indexes 54,652 pictures with an old model, fits a bridge from 5,861 names, measures it on 1,000 held-out
    characters, takes an index of these through a rollout and back, and searches the untouched index with the new model.

    Args:
        out: The folder. One of an earlier demo is replaced.
        progress: Told the stage, ``2/7 index 54,652 pictures with the old model``, and how far it is.

    Returns:
        The figures, and where the files are.

    Raises:
        InvalidInput: The folder holds other things.
        MissingExtra: The extra ``demo`` is not installed.

    Examples:
        >>> _ = Path("notes.txt").write_text("mine")
        >>> run_demo(".")
        Traceback (most recent call last):
        embridge.errors.InvalidInput: ... holds other things (notes.txt) and is not overwritten; choose a new ...
    """
    start = perf_counter()
    out = Path(out).absolute()
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    foreign = sorted(name for name in names if name not in _WRITTEN and not is_leftover(name))
    if foreign:
        raise InvalidInput(
            f"{out} holds other things ({foreign[0]}) and is not overwritten; choose a new or an empty folder"
        )
    with _one_thread(), atomic_folder(out, marker=_MARKER, own=("store", LIVE)) as folder:
        summary, live = _run(folder, out, progress)
    return DemoResult(summary, live, out, perf_counter() - start)


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


def _run(folder: Path, out: Path, progress: Progress) -> tuple[Summary, Live]:
    """All stages, into a folder that is there and empty, and will be ``out``."""
    old, new = _load(progress)
    store, rows = _index(folder / "store", old, progress)
    start = perf_counter()
    upgrade, control = _fit(_names(old, new, progress), progress)
    fit_seconds = perf_counter() - start
    upgrade.save(folder / "upgrade")
    report, pictures_per_second, held = _measure((old, new), upgrade, control, progress)
    title = _stage(6, "take a live index to the new model and back")
    live = go_live(folder, out / "upgrade", held, (old, new), _titled(progress, title))
    title = _stage(7, "search before and after, and write the pages")
    progress(0, 3, title)
    examples = example_searches(report.task("t2i").query_ids, store, (old, new), upgrade)
    progress(1, 3, title)
    summary = save_report(report, folder / _REPORT)
    (folder / _MARKER).write_text(json.dumps({"schema": _SCHEMA}), encoding="utf-8")
    models = [_model(side, encoder) for side, encoder in (("old", old), ("new", new))]
    savings = Savings(rows, rows / pictures_per_second, fit_seconds)
    write_page(folder / "searches.html", summary, examples, models=models, savings=savings, live=live)
    progress(2, 3, title)
    save_html(folder / "report.html", summary, show=_shown(summary))
    progress(3, 3, title)
    return summary, live


def _stage(number: int, title: str) -> str:
    return f"{number}/{_STAGES} {title}"


def _titled(progress: Progress, title: str) -> Progress:
    """The same progress under the title of the stage, whatever the work calls itself."""

    def tell(done: int, total: int, what: str) -> None:  # noqa: ARG001
        progress(done, total, title)

    return tell


def _load(progress: Progress) -> tuple[ClipEncoder, ClipEncoder]:
    title = _stage(1, "load the old and the new model")
    progress(0, 2, title)
    old = ClipEncoder(glyph_models.folder("old"), batch_size=_BATCH)
    progress(1, 2, title)
    new = ClipEncoder(glyph_models.folder("new"), batch_size=_BATCH)
    progress(2, 2, title)
    return old, new


def _index(path: Path, old: ClipEncoder, progress: Progress) -> tuple[Store, int]:
    """Every rendering of every character, embedded by the old model, in LanceDB; and how many there are."""
    drawn = glyphs.render()
    ids, names = drawn.ids, drawn.captions
    first, same = _distinct(drawn.images)
    title = _stage(2, f"index {len(ids):,} pictures with the old model")
    vectors = np.empty((len(first), old.space.dim), np.float32)
    progress(0, len(ids), title)
    for start in range(0, len(first), _PART):
        vectors[start : start + _PART] = old.encode(drawn.images[first[start : start + _PART]], modality="image")
        progress(min(start + _PART, len(first)), len(ids), title)
    store = open_store(path, create=True)
    store.add_space(old.space)
    for start in range(0, len(ids), _PART):
        part = slice(start, start + _PART)
        rows = Embeddings.of(vectors[same[part]], old.space, ids[part])
        store.upsert(rows, {"character": names[part], "font": list(drawn.fonts[part])})
    progress(len(ids), len(ids), title)
    return store, len(ids)


def _distinct(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of pictures that no earlier one equals, and for every picture which of them it equals: fonts share many."""
    number: dict[bytes, int] = {}
    same = np.array([number.setdefault(image.tobytes(), len(number)) for image in images])
    return np.unique(same, return_index=True)[1], same


def _names(old: ClipEncoder, new: ClipEncoder, progress: Progress) -> Pairs:
    """The names of the training characters in both spaces: no image, no held-out name."""
    names = [glyphs.caption(c) for c in glyphs.split()["train"]]
    title = _stage(3, f"encode {len(names):,} names with both models")
    texts = []
    for i, encoder in enumerate((new, old)):
        progress(i, 2, title)
        texts.append(Embeddings.of(encoder.encode(names, modality="text"), encoder.space, names))
    progress(2, 2, title)
    return Pairs(texts[0], texts[1])


def _fit(pairs: Pairs, progress: Progress) -> tuple[Upgrade, Upgrade]:
    """XBT and its closed-form control."""
    title = _stage(4, "fit the bridge from these names")
    upgrade = make("xbt", _XBT).fit(pairs, progress=_titled(progress, title))
    encoders = {side: f"clip:{glyph_models.folder(side)}" for side in ("old", "new")}
    upgrade = replace(upgrade, provenance=replace(upgrade.provenance, encoders=encoders))
    return upgrade, make("procrustes").fit(pairs)


def _measure(
    encoders: tuple[ClipEncoder, ClipEncoder], upgrade: Upgrade, control: Upgrade, progress: Progress
) -> tuple[Report, float, Held]:
    """On the 1,000 held-out characters, one rendering each; and how many pictures a second the new model encodes."""
    held_out = glyphs.render(glyphs.split()["test"], one_each=True)
    names = held_out.captions
    title = _stage(5, f"measure on {len(names):,} held-out characters")
    progress(0, len(names), title)

    def rows(encoder: ClipEncoder, items: Sequence[Any] | np.ndarray, modality: Modality) -> Embeddings:
        ids = names if modality == "text" else held_out.ids
        return Embeddings.of(encoder.encode(items, modality=modality), encoder.space, ids)

    texts = [rows(encoder, names, "text") for encoder in encoders]
    old_images = rows(encoders[0], held_out.images, "image")
    start = perf_counter()
    new_images = rows(encoders[1], held_out.images, "image")
    per_second = len(names) / (perf_counter() - start)
    report = evaluate(
        Side(texts[0], old_images),
        Side(texts[1], new_images),
        upgrade,
        Relevance.from_pairs(zip(names, held_out.ids, strict=True)),
        scope=Scope(
            cells=("fused/old", "cascade", "ceiling"),
            controls={"procrustes": control},
            orders={"random": None},
            slices={"first word": _first_words(names, held_out.ids)},
            about={"measured on": "1,000 held-out characters of DejaVu and STIX"},
        ),
        progress=_titled(progress, title),
    )
    return report, per_second, Held(held_out.images, names, (old_images, texts[0]), (new_images, texts[1]))


def _first_words(names: Sequence[str], ids: Sequence[str]) -> dict[str, str]:
    """What each name begins with, mostly its script, for the name and its rendering: ``latin``, ``arabic``, ``black``."""
    words = [name.split()[0] for name in names]
    common = {word for word, times in Counter(words).items() if times >= _SLICE_NAMES}
    labels = [word if word in common else "other" for word in words]
    return dict(zip((*names, *ids), (*labels, *labels), strict=True))


def _model(side: str, encoder: ClipEncoder) -> Model:
    parameters = sum(p.numel() for p in encoder.model.parameters())
    return Model(side, encoder.space.model, encoder.space.dim, parameters)


def _shown(summary: Summary) -> Callable[[str], Picture | str]:
    """What the report's page shows: the rendering of an id, a name as it is."""
    flips = (*summary.flips, *summary.wins)
    ids = {name for flip in flips for name in (flip.query, *flip.right, *flip.old_hits, *flip.new_hits)}
    drawn = pictures(name for name in ids if name.startswith("U+"))
    return lambda name: Picture(drawn[name], "image/png") if name in drawn else name
