"""Translating a gallery by workers against one process of numpy.

An npy of 512 dimensions through a linear map to 512, read from a file and written to one. Numpy does the same with
two memory maps and a product for each 4,096 rows; it checks nothing, and writes neither ids nor checksums. Rows a second are
those of the whole call, with what the driver does before and after; rows a processor second divide by the processor time of
the driver and all workers. Workers are started and prepared before the clock. Of Ray, its own processes are not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.protocols.workers import ENGINES, START_SECONDS, figures, made, opened, translated
from benchmarks.record import read_config, write_result


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where the JSON goes; results/scale.json else")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which of them, with commas between")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--folder", type=Path, help="where files lie; the system's folder for such files else")
    options, config = parser.parse_args(), read_config("scale")
    repeats, engines = options.repeats or config["repeats"], options.engines.split(",")
    with threadpool_limits(1):
        rows = translations(config, repeats, engines, options.folder)
    for measured in rows:
        print(json.dumps(measured), file=sys.stderr)
    print(write_result("scale", config, rows, path=options.out))


if __name__ == "__main__":
    main()
