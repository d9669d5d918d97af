"""Speed and memory of mapping and search, each against the plain way of doing it.

``python -m benchmarks.speed.run`` writes results/speed.json; ``--quick`` runs small sizes and writes nothing unless
``--out`` names a file.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.protocols.turns import compared, peak_bytes, resized, setting_of, speed_options
from benchmarks.record import read_config, row, write_result
from embridge.adapters.linear import Linear
from embridge.nearest import top_k
from embridge.space import Space
from embridge.vector_files import read_chunks

Config = Mapping[str, Any]
Rows = list[dict[str, Any]]

SMALL = {"calls": 20, "repeats": 3, "rows": 2_000, "gallery": 2_000, "queries": 50, "chunk_rows": 512}
_FILE_ROWS = 65_536  # written at once where an input file is made


def single(config: Config, seed: int) -> Rows:
    """One vector at a time, as in a live query."""
    rng = np.random.default_rng(seed)
    dim, calls = config["dim"], config["calls"]
    adapter = _linear(dim, rng)
    columns = np.ascontiguousarray(adapter.weight.T)
    x = rng.standard_normal((1, dim), dtype=np.float32)

    def ours() -> None:
        for _ in range(calls):
            adapter.apply(x)

    def plain() -> None:
        for _ in range(calls):
            columns @ x[0]

    return compared("single-map", "map_per_second", calls, config, {"embridge": ours, "numpy": plain})


def bulk(config: Config, seed: int) -> Rows:
    """A file of vectors mapped into another file."""
    rng = np.random.default_rng(seed)
    rows, dim, chunk = config["rows"], config["dim"], config["chunk_rows"]
    adapter = _linear(dim, rng)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "old.npy", Path(folder) / "new.npy"
        vectors = np.lib.format.open_memmap(source, "w+", np.float32, (rows, dim))
        for start in range(0, rows, _FILE_ROWS):
            vectors[start : start + _FILE_ROWS] = rng.standard_normal(
                vectors[start : start + _FILE_ROWS].shape, np.float32
            )
        vectors.flush()

        def ours() -> None:
            out, start = np.lib.format.open_memmap(target, "w+", np.float32, (rows, dim)), 0
            for part in read_chunks(source, rows=chunk, space=adapter.source):
                out[start : start + len(part)] = adapter.apply(part.vectors)
                start += len(part)
            out.flush()

        def plain() -> None:
            x = np.load(source, mmap_mode="r")
            out = np.lib.format.open_memmap(target, "w+", np.float32, (rows, dim))
            for start in range(0, rows, chunk):
                out[start : start + chunk] = x[start : start + chunk] @ adapter.weight
            out.flush()

        return compared("bulk-map", "rows_per_second", rows, config, {"embridge": ours, "numpy": plain})


def nearest(config: Config, seed: int) -> Rows:
    """The k nearest of a gallery in memory: speed here, memory each in a process of its own."""
    queries, gallery = _unit_vectors(config, seed)
    index = faiss.IndexFlatIP(config["dim"])
    index.add(gallery)
    k, metric = config["k"], config["metric"]
    ways = {
        "embridge": lambda: top_k(queries, gallery, k, metric=metric),
        "faiss-flat": lambda: index.search(queries, k),
    }
    rows = compared("top-k", "queries_per_second", len(queries), config, ways)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for method in ways:
            used = pool.apply(extra_bytes, (method, config, seed))
            rows.append(row(method, "peak_extra_bytes", [used], seed=seed, setting=setting_of("top-k", config)))
    return rows


def extra_bytes(method: str, config: Config, seed: int) -> int:
    """The most memory a search takes beyond its two arrays, in this process."""
    queries, gallery = _unit_vectors(config, seed)
    top_k(queries[:2], gallery[:100], 1)  # loads what is loaded once
    faiss.IndexFlatIP(1).search(np.ones((1, 1), np.float32), 1)
    before = peak_bytes()
    if method == "embridge":
        top_k(queries, gallery, config["k"], metric=config["metric"])
    else:
        index = faiss.IndexFlatIP(config["dim"])
        index.add(gallery)
        index.search(queries, config["k"])
    return peak_bytes() - before


def _linear(dim: int, rng: np.random.Generator) -> Linear:
    weight = rng.standard_normal((dim, dim), dtype=np.float32) / np.float32(np.sqrt(dim))
    return Linear(Space("old", "1", dim), Space("new", "1", dim), weight)


def _unit_vectors(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    queries, gallery = (rng.standard_normal((config[n], config["dim"]), np.float32) for n in ("queries", "gallery"))
    for vectors in (queries, gallery):
        vectors /= np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    return queries, gallery


def main() -> None:
    options = speed_options(__doc__, "speed")
    config = resized(read_config("speed"), SMALL if options.quick else {})
    seed = config["seed"]
    faiss.omp_set_num_threads(config["threads"])
    with threadpool_limits(config["threads"]):
        rows = single(config["single"], seed) + bulk(config["bulk"], seed)
        for case in config["top_k"]:
            rows += nearest(case, seed)
        for measured in rows:
            print(json.dumps(measured), file=sys.stderr)
        if options.out or not options.quick:
            print(write_result("speed", config, rows, path=options.out))


if __name__ == "__main__":
    main()
