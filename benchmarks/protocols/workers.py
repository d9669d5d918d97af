"""What benchmarks of workers share: engines whose time and memory are measured, a translation, and the figures of a way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import row
from embridge import Embeddings, Space, Upgrade, write_vectors
from embridge.adapters import Identity, Linear, Provenance
from embridge.jobs.translate import translate_file
from embridge.scale import Engine, EngineSettings, SerialEngine, open_engine

__all__ = ["ENGINES", "START_SECONDS", "Measured", "Timed", "figures", "made", "most_bytes", "opened", "translated"]

ENGINES = ("local", "local:1", "local:2", "ray:1", "ray:2")
START_SECONDS = 4.0  # a small task may be done before the second worker is ready


@dataclass(frozen=True)
class Timed:
    """Prepares a worker that says what processor time each shard took, and the most memory that it held so far."""

    prepare: Any

    def __call__(self) -> Callable[[Any], tuple[Any, float, int]]:
        function = self.prepare()

        def timed(shard: Any) -> tuple[Any, float, int]:
            began = time.process_time()
            return function(shard), time.process_time() - began, most_bytes()

        return timed


def most_bytes() -> int:
    """The most memory that this process held. Not ``ru_maxrss``: it counts what held the process before it became this one."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


class Measured:
    """An engine that adds up the processor time of its workers, and notes the most memory that one of them held."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.seconds, self.bytes, self.workers = engine, 0.0, 0, engine.workers

    def run(self, prepare: Any, shards: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        for shard, (result, seconds, held) in self.engine.run(Timed(prepare), shards):
            self.seconds += 0.0 if isinstance(self.engine, SerialEngine) else seconds  # those are this process's
            self.bytes = max(self.bytes, held)
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


def figures(task: str, rows: int, seconds: Mapping[str, list[tuple[float, float]]], plain: str) -> list[dict[str, Any]]:
    """Rates and their ratios, each repeat against that of the same turn; processor seconds may be unknown."""
    result = []
    for way, measured in seconds.items():
        setting: dict[str, Any] = {"setting": {"task": task, "rows": rows}}
        result.append(row(way, "rows_per_second", [rows / wall for wall, _ in measured], **setting))
        if all(math.isfinite(used) for _, used in measured):
            result.append(row(way, "rows_per_processor_second", [rows / used for _, used in measured], **setting))
            ratios = [base / used for (_, used), (_, base) in zip(measured, seconds[plain], strict=True)]
            result.append(row(way, "of_plain", ratios, **setting))
        one = seconds.get(way.replace("2", "1")) if way.endswith(":2") else None
        if one:
            gains = [single / wall for (wall, _), (single, _) in zip(measured, one, strict=True)]
            result.append(row(way, "of_one_worker", gains, **setting))
    return result
