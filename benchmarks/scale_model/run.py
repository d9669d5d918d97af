"""Exact search by workers: its time by a cost model, and as it was.

The model: seconds = start + rows / ids_rate + (rows / read_rate + rows · queries / pair_rate) / (workers · efficiency).
``start`` is the time until workers are ready; this process reads ids, and workers read and search rows. Rates are those of one
worker at the first number of rows; the efficiency of more workers is measured there, too, and is 1 of one. The most memory that
a worker held and that this process held is noted beside, and of a translation at two numbers of rows.

``python -m benchmarks.scale_model.run`` writes results/scale_model.json; ``--quick`` runs small sizes and writes nothing
unless ``--out`` names a file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.protocols import workers as scale
from benchmarks.protocols.turns import speed_options
from benchmarks.record import read_config, row, write_result
from embridge.embeddings import Embeddings
from embridge.scale import open_engine
from embridge.scale.gallery import spreading
from embridge.space import Space
from embridge.vector_files._ranges import divided

Config = Mapping[str, Any]
Figures = dict[str, float]

SMALL = {"rows": [40_000, 20_000, 80_000], "translate_rows": [10_000, 40_000]}
_WRITTEN = 500_000


def measured(file: Path, workers: int, config: Config) -> Figures:
    """The seconds of each part of a search, and the most memory that this process held."""
    space = Space("drawn", "1", config["dim"])
    queries = Embeddings.of(drawn(config["seed"] + 1, config["queries"], config["dim"]), space)
    few = Embeddings.of(queries.vectors[:1], space)
    with scale.Measured(open_engine(f"local:{workers}")) as engine, spreading(engine, file.with_name("work")) as made:
        times = [time.perf_counter()]
        made.held(few).search(few, 1)
        times.append(time.perf_counter())
        divided(file, space=space)
        times.append(time.perf_counter())
        gallery = made.file(file, space=space)
        times.append(time.perf_counter())
        gallery.search(queries, config["k"])
        times.append(time.perf_counter())
    start, ids, read, search = np.diff(times).tolist()
    seconds = {"start": start, "ids": ids, "ids_and_read": read, "search": search}
    return seconds | {"worker_bytes": engine.bytes, "driver_bytes": scale.most_bytes()}


def translated(folder: Path) -> Figures:
    """The memory of a translation."""
    with scale.Measured(open_engine("local:2")) as engine:
        scale.translated(engine, folder, "old")
        return {"worker_bytes": engine.bytes, "driver_bytes": scale.most_bytes()}


def drawn(seed: int, rows: int, dim: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim), np.float32)


def written(folder: Path, rows: int, config: Config) -> Path:
    """A gallery on disk, never in memory."""
    file = folder / f"{rows}.npy"
    held = np.lib.format.open_memmap(file, "w+", np.float32, (rows, config["dim"]))
    for start in range(0, rows, _WRITTEN):
        held[start : start + _WRITTEN] = drawn(start, min(_WRITTEN, rows - start), config["dim"])
    return file


def predicted(at: Mapping[int, Figures], share: float, workers: int) -> float:
    """The model, from what one worker took for other rows, and from what more of them gained there."""
    one, some = at[1], at[workers]
    efficiency = (one["read"] + one["search"]) / (some["read"] + some["search"]) / workers
    return some["start"] + share * (one["ids"] + (one["read"] + one["search"]) / (workers * efficiency))


def cases(config: Config) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    at: dict[int, Figures] = {}
    for rows in config["rows"]:
        with tempfile.TemporaryDirectory() as folder:
            file = written(Path(folder), rows, config)
            for workers, figures in least(file, config).items():
                at.setdefault(workers, figures)
                took = sum(figures[part] for part in ("start", "ids", "read", "search"))
                share = rows / config["rows"][0]
                figures |= {"seconds": took, "predicted_seconds": predicted(at, share, workers)}
                lines += _lines("search", figures, config, rows=rows, workers=workers)
    wide = dict(config) | {"dim": config["translate_dim"]}
    for rows in config["translate_rows"]:
        with tempfile.TemporaryDirectory() as folder:
            scale.made(Path(folder), rows, wide["dim"])
            lines += _lines("translate", _apart("translate", folder, 2, wide), wide, rows=rows, workers=2)
    return lines


def least(file: Path, config: Config) -> dict[int, Figures]:
    """By workers, the least seconds of each part over the turns, since what else runs only adds to them; of bytes the most."""
    turns: dict[int, list[Figures]] = {workers: [] for workers in config["workers"]}
    for _ in range(config["repeats"]):
        for workers, measures in turns.items():
            measures.append(_apart("search", str(file), workers, config))
    figures = {}
    for workers, measures in turns.items():
        figures[workers] = {
            name: (max if name.endswith("bytes") else min)(one[name] for one in measures) for name in measures[0]
        }
        figures[workers]["read"] = max(0.0, figures[workers].pop("ids_and_read") - figures[workers]["ids"])
    return figures


def _lines(task: str, figures: Figures, config: Config, **setting: int) -> list[dict[str, Any]]:
    setting |= {key: config[key] for key in ("dim", *(("queries", "k") if task == "search" else ()))}
    return [row(task, name, [value], seed=config["seed"], setting=setting) for name, value in figures.items()]


def _apart(task: str, what: str, workers: int, config: Config) -> Figures:
    """In a process of its own, whose memory is its own."""
    case = ["--case", task, what, str(workers), json.dumps(config)]
    command = [sys.executable, "-m", "benchmarks.scale_model.run", *case]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def main() -> None:
    if sys.argv[1:2] == ["--case"]:
        task, what, workers, text = sys.argv[2:]
        config = json.loads(text)
        figures = measured(Path(what), int(workers), config) if task == "search" else translated(Path(what))
        print(json.dumps(figures))
        return
    options = speed_options(__doc__, "scale_model")
    config = read_config("scale_model") | (SMALL if options.quick else {})
    rows = cases(config)
    for line in rows:
        print(json.dumps(line), file=sys.stderr)
    if options.out or not options.quick:
        print(write_result("scale_model", config, rows, path=options.out))


if __name__ == "__main__":
    main()
