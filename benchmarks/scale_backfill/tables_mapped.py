"""A LanceDB table whose vectors are mapped into another space: by numpy alone, by workers, and by lance-ray."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from benchmarks.protocols.workers import START_SECONDS
from benchmarks.scale_backfill.columns import vectors_added
from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Linear, Provenance
from embridge.jobs.translate import translate_store
from embridge.stores import open_store

__all__ = ["mapping_ways"]

_WRITTEN = 50_000
Seconds = dict[str, list[tuple[float, float]]]


def mapping_ways(
    config: Mapping[str, Any], repeats: int, engines: Mapping[str, Callable[[str], Any]], others: Mapping[str, int]
) -> tuple[str, int, Seconds]:
    """The name of the task, its rows, and the seconds and processor seconds of each way."""
    rows, dim, batch = config["rows"], config["dim"], config["batch_rows"]
    rng = np.random.default_rng(0)
    weight = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    vectors = rng.standard_normal((rows, dim), dtype=np.float32)
    seconds: Seconds = {"numpy": []}
    with TemporaryDirectory(prefix="embridge-scale-") as name:
        folder, (old, new) = Path(name), (Space(model, "1", dim) for model in ("old", "new"))
        upgrade = Upgrade(Identity(new, new), Linear(old, new, weight), Provenance("benchmark"), direction="forward")
        upgrade.save(folder / "upgrade")
        for _ in range(repeats):
            _stored(folder, old, vectors)
            seconds["numpy"].append(_by_numpy(folder, weight, batch))
            shutil.rmtree(folder / "shop")
            for way, opened in engines.items():
                with opened(way) as engine:
                    _stored(folder, old, vectors[: 4 * batch])
                    _translated(folder, engine, new, pause=2 * START_SECONDS)
                    _stored(folder, old, vectors)
                    seconds.setdefault(way, []).append(_translated(folder, engine, new))
                    shutil.rmtree(folder / "shop")
            for way, workers in others.items():
                seconds.setdefault(way, []).append(vectors_added(folder, vectors, weight, workers, batch))
    return "translate a LanceDB table", rows, seconds


def _stored(folder: Path, space: Space, vectors: np.ndarray) -> None:
    with closing(open_store(_url(folder), create=True)) as store:
        store.add_space(space)
        for start in range(0, len(vectors), _WRITTEN):
            part = vectors[start : start + _WRITTEN]
            names = tuple(f"item {number:07d}" for number in range(start, start + len(part)))
            store.upsert(Embeddings(names, part, space))


def _translated(folder: Path, engine: Any, new: Space, pause: float = 0.0) -> tuple[float, float]:
    engine.seconds, began, used = 0.0, time.perf_counter(), time.process_time()
    done = translate_store(_url(folder), folder / "upgrade", space="old", engine=engine)
    took = time.perf_counter() - began, time.process_time() - used + engine.seconds
    time.sleep(pause)  # the first rows may be done before the second worker is ready
    with closing(open_store(_url(folder))) as store:
        assert store.count(new) == done.rows
        store.drop_space(new)
    return took


def _url(folder: Path) -> str:
    return f"lancedb:{folder / 'shop'}"


def _by_numpy(folder: Path, weight: np.ndarray, batch: int) -> tuple[float, float]:
    """Read a table from its beginning to its end, and append the products to another one; nothing is checked or noted."""
    database = lancedb.connect(str(folder / "shop"))
    name = next(name for name in database.table_names() if name.startswith("space_"))
    began, used, made = time.perf_counter(), time.process_time(), None
    for part in database.open_table(name).search().select(["id", "vector"]).to_batches(batch):
        mapped = part.column("vector").flatten().to_numpy().reshape(len(part), -1) @ weight
        held = pa.FixedSizeListArray.from_arrays(pa.array(mapped.reshape(-1)), mapped.shape[1])
        table = pa.table([part.column("id"), held], ["id", "vector"])
        made = database.create_table("by_numpy", table) if made is None else (made.add(table), made)[1]
    took = time.perf_counter() - began, time.process_time() - used
    database.drop_table("by_numpy")
    return took
