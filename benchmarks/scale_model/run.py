"""Exact search by workers: its time by a cost model, and as it was.

The model: seconds = start + rows / ids_rate + rows / (read_rate · workers) + rows · queries / (pair_rate · workers).
``start`` is the time until workers are ready; this process reads ids, and workers read and search rows.

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

from benchmarks.protocols.turns import resized, speed_options
from benchmarks.record import read_config, row, write_result
from embridge.embeddings import Embeddings
from embridge.scale import open_engine
from embridge.scale.gallery import spreading
from embridge.space import Space
from embridge.vector_files._ranges import divided

Config = Mapping[str, Any]
Figures = dict[str, float]

SMALL = {"rows": [40_000, 20_000, 80_000]}
_WRITTEN = 500_000


def measured(file: Path, workers: int, config: Config) -> Figures:
    """The seconds of each part of a search, and the most memory that this process held."""
    space = Space("drawn", "1", config["dim"])
    queries = Embeddings.of(drawn(config["seed"] + 1, config["queries"], config["dim"]), space)
    few = Embeddings.of(queries.vectors[:1], space)
    with open_engine(f"local:{workers}") as engine, spreading(engine, file.with_name("work")) as made:
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
    return {"start": start, "ids": ids, "read": read - ids, "search": search, "driver_bytes": most_bytes()}


def most_bytes() -> int:
    """The most memory that this process held. Not ``ru_maxrss``: it counts what held the process before it became this one."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def drawn(seed: int, rows: int, dim: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim), np.float32)


def written(folder: Path, rows: int, config: Config) -> Path:
    """A gallery on disk, never in memory."""
    file = folder / f"{rows}.npy"
    held = np.lib.format.open_memmap(file, "w+", np.float32, (rows, config["dim"]))
    for start in range(0, rows, _WRITTEN):
        held[start : start + _WRITTEN] = drawn(start, min(_WRITTEN, rows - start), config["dim"])
    return file


def predicted(at: Figures, measured_rows: int, rows: int, workers: int) -> float:
    """The model, from what one worker took for other rows."""
    share = rows / measured_rows
    return at["start"] + share * (at["ids"] + (at["read"] + at["search"]) / workers)


def cases(config: Config) -> list[dict[str, Any]]:
    lines, at = [], None
    for rows in config["rows"]:
        with tempfile.TemporaryDirectory() as folder:
            file = written(Path(folder), rows, config)
            for workers in config["workers"]:
                figures = _apart(file, workers, config)
                at = at or figures
                setting = {"rows": rows, "workers": workers} | {k: config[k] for k in ("dim", "queries", "k")}
                took = sum(figures[part] for part in ("start", "ids", "read", "search"))
                figures |= {"seconds": took, "predicted_seconds": predicted(at, config["rows"][0], rows, workers)}
                lines += [
                    row("workers", name, [value], seed=config["seed"], setting=setting)
                    for name, value in figures.items()
                ]
    return lines


def _apart(file: Path, workers: int, config: Config) -> Figures:
    """In a process of its own, whose memory is its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.scale_model.run",
        "--case",
        str(file),
        str(workers),
        json.dumps(config),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def main() -> None:
    if sys.argv[1:2] == ["--case"]:
        file, workers, config = sys.argv[2:]
        print(json.dumps(measured(Path(file), int(workers), json.loads(config))))
        return
    options = speed_options(__doc__, "scale_model")
    config = resized(read_config("scale_model"), SMALL if options.quick else {})
    rows = cases(config)
    for line in rows:
        print(json.dumps(line), file=sys.stderr)
    if options.out or not options.quick:
        print(write_result("scale_model", config, rows, path=options.out))


if __name__ == "__main__":
    main()
