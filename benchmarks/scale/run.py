"""Translating a gallery by workers, and encoding it again, against one process of numpy and of the bare encoder.

Translate: an npy of 512 dimensions through a linear map to 512, read from a file and written to one. Numpy does the same with
two memory maps and a product for each 4,096 rows; it checks nothing, and writes neither ids nor checksums. Rows a second are
those of the whole call, with what the driver does before and after; rows a processor second divide by the processor time of
the driver and all workers. Backfill: a
LanceDB table of texts that gets vectors of a real small encoder, against the encoder alone in this process. Workers are
started and prepared before the clock. Of Ray, its own processes are not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.record import read_config, row, write_result
from benchmarks.scale.backfills import backfill_ways
from embridge import Embeddings, Space, Upgrade, write_vectors
from embridge.adapters import Identity, Linear, Provenance
from embridge.jobs.translate import translate_file
from embridge.scale import Engine, EngineSettings, SerialEngine, open_engine

START_SECONDS = 4.0
ENGINES = ("local", "local:1", "local:2", "ray:1", "ray:2")


@dataclass(frozen=True)
class Timed:
    """Prepares a worker that says what processor time each shard took."""

    prepare: Any

    def __call__(self) -> Callable[[Any], tuple[Any, float]]:
        function = self.prepare()

        def timed(shard: Any) -> tuple[Any, float]:
            began = time.process_time()
            return function(shard), time.process_time() - began

        return timed


class Measured:
    """An engine that adds up the processor time of its workers."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.seconds, self.workers = engine, 0.0, engine.workers

    def run(self, prepare: Any, shards: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        for shard, (result, seconds) in self.engine.run(Timed(prepare), shards):
            self.seconds += 0.0 if isinstance(self.engine, SerialEngine) else seconds  # those are this process's
            yield shard, result

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> Measured:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def opened(name: str) -> Measured:
    kind, _, count = name.partition(":")
    if kind == "ray":
        return Measured(open_engine("ray:local", EngineSettings(workers=int(count))))
    return Measured(open_engine(name))


def translations(
    config: Mapping[str, Any], repeats: int, engines: Iterable[str], folder: Path | None = None
) -> list[dict[str, Any]]:
    rows, dim = config["rows"], config["dim"]
    seconds: dict[str, list[tuple[float, float]]] = {"numpy": []}
    with TemporaryDirectory(prefix="embridge-scale-", dir=folder) as name:
        place = Path(name)
        weight = made(place, rows, dim)
        for _ in range(repeats):
            seconds["numpy"].append(by_numpy(place, weight, config["batch_rows"]))
            for way in engines:
                with opened(way) as engine:  # one at a time: two would share a cluster's processors
                    for pause in (START_SECONDS, 0.0):  # a small file may be done before the second worker is ready
                        translated(engine, place, "small")
                        time.sleep(pause)
                    seconds.setdefault(way, []).append(translated(engine, place, "old"))
    return figures("translate", rows, seconds, "numpy")


def made(folder: Path, rows: int, dim: int) -> np.ndarray:
    """The files and the upgrade; the map's matrix."""
    rng = np.random.default_rng(0)
    old, new = Space("old", "1", dim), Space("new", "1", dim)
    weight = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    bridge = Linear(old, new, weight)
    Upgrade(Identity(new, new), bridge, Provenance("benchmark"), direction="forward").save(folder / "upgrade")
    for name, count in (("small", min(rows, 70_000)), ("old", rows)):
        vectors = np.empty((count, dim), np.float32)
        for part in np.array_split(vectors, max(1, count // 50_000)):
            part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        write_vectors(Embeddings.of(vectors, old), folder / f"{name}.npy")
    return weight


def translated(engine: Measured, folder: Path, name: str) -> tuple[float, float]:
    """Seconds, and seconds of processors."""
    engine.seconds, began, used = 0.0, time.perf_counter(), time.process_time()
    translate_file(folder / f"{name}.npy", folder / "new.npy", folder / "upgrade", engine=engine)
    took = time.perf_counter() - began, time.process_time() - used + engine.seconds
    for path in folder.glob("new.npy*"):
        path.unlink()
    return took


def by_numpy(folder: Path, weight: np.ndarray, batch: int) -> tuple[float, float]:
    began, used = time.perf_counter(), time.process_time()
    vectors = np.load(folder / "old.npy", mmap_mode="r")
    target = np.lib.format.open_memmap(folder / "new.npy", "w+", np.float32, (len(vectors), weight.shape[1]))
    for start in range(0, len(vectors), batch):
        target[start : start + batch] = vectors[start : start + batch] @ weight
    target.flush()
    took = time.perf_counter() - began, time.process_time() - used
    (folder / "new.npy").unlink()
    return took


def figures(task: str, rows: int, seconds: Mapping[str, list[tuple[float, float]]], plain: str) -> list[dict[str, Any]]:
    """Rates and their ratios, each repeat against that of the same turn."""
    result = []
    for way, measured in seconds.items():
        setting: dict[str, Any] = {"setting": {"task": task, "rows": rows}}
        result.append(row(way, "rows_per_second", [rows / wall for wall, _ in measured], **setting))
        result.append(row(way, "rows_per_processor_second", [rows / used for _, used in measured], **setting))
        ratios = [base / used for (_, used), (_, base) in zip(measured, seconds[plain], strict=True)]
        result.append(row(way, "of_plain", ratios, **setting))
        one = seconds.get(way.replace("2", "1")) if way.endswith(":2") else None
        if one:
            gains = [single / wall for (wall, _), (single, _) in zip(measured, one, strict=True)]
            result.append(row(way, "of_one_worker", gains, **setting))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where the JSON goes; results/scale.json else")
    parser.add_argument("--part", choices=("translate", "backfill"), help="one part alone, printed and not written")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which of them, with commas between")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--folder", type=Path, help="where files lie; the system's folder for such files else")
    options, config = parser.parse_args(), read_config("scale")
    repeats, engines = options.repeats or config["repeats"], options.engines.split(",")
    rows: list[dict[str, Any]] = []
    with threadpool_limits(1):
        if options.part != "backfill":
            rows += translations(config["translate"], repeats, engines, options.folder)
        if options.part != "translate":
            for task, count, seconds in backfill_ways(config["backfill"], repeats, dict.fromkeys(engines, opened)):
                rows += figures(task, count, seconds, "encoder")
    for measured in rows:
        print(json.dumps(measured), file=sys.stderr)
    if options.part is None or options.out:
        write_result("scale", config, rows, path=options.out)


if __name__ == "__main__":
    main()
