"""Recall of a whole image-text set by exact search, both directions, against faiss: time, memory and the same answer.

``python -m benchmarks.full_size.run`` writes results/full_size.json; ``--quick`` runs small sizes and writes nothing unless
``--out`` names a file.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.protocols.turns import peak_bytes, resized, speed_options
from benchmarks.record import read_config, row, write_result
from embridge.evaluation import Relevance, recall_at_k
from embridge.evaluation.judged import Judged
from embridge.nearest import top_k

Config = Mapping[str, Any]
Measured = dict[str, float]

METHODS = ("embridge", "faiss-flat")
DIRECTIONS = ("t2i", "i2t")


def planted(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Random unit vectors of images, and of captions: each its image and noise. Those of image i are 5i to 5i + 4."""
    rng = np.random.default_rng(config["seed"])
    count, each, dim = config["images"], config["captions_per_image"], config["dim"]
    images = rng.standard_normal((count, dim), np.float32)
    captions = rng.standard_normal((count * each, dim), np.float32)
    images /= np.sqrt(np.einsum("nd,nd->n", images, images))[:, None]
    captions *= np.float32(config["noise"] / np.sqrt(dim))
    captions.reshape(count, each, dim)[:] += images[:, None]
    captions /= np.sqrt(np.einsum("nd,nd->n", captions, captions))[:, None]
    return images, captions


def measure(method: str, direction: str, config: Config) -> Measured:
    """One search of one method: seconds, recall, and the peak memory of this process, both arrays included."""
    faiss.omp_set_num_threads(config["threads"])
    images, captions = planted(config)
    queries, gallery = (captions, images) if direction == "t2i" else (images, captions)
    judged = judge(direction, config)
    with threadpool_limits(config["threads"]):
        if method == "embridge":
            start = time.perf_counter()
            rows = top_k(queries, gallery, config["k"]).rows
            recall = recalls(judged, rows)  # ours is timed up to the figures, faiss without them
            seconds = time.perf_counter() - start
        else:
            index = faiss.IndexFlatIP(config["dim"])
            index.add(gallery)
            start = time.perf_counter()
            _, rows = index.search(queries, config["k"])
            seconds = time.perf_counter() - start
            recall = recalls(judged, rows)
    return {"seconds": seconds, "peak_bytes": peak_bytes(), **recall}


def judge(direction: str, config: Config) -> Judged:
    """Which captions are of which image, as `evaluate` judges."""
    each = config["captions_per_image"]
    captions = [f"caption {i}" for i in range(config["images"] * each)]
    photos = [f"photo {i}" for i in range(config["images"])]
    relevance = Relevance.from_pairs((caption, photos[i // each]) for i, caption in enumerate(captions))
    return relevance.judge(captions, photos) if direction == "t2i" else relevance.inverted().judge(photos, captions)


def recalls(judged: Judged, rows: np.ndarray) -> Measured:
    gains = judged.gains(rows)
    return {
        f"recall_at_{k}": float(recall_at_k(gains, k, relevant=judged.relevant, rule="any", empty="error").mean())
        for k in (1, 5, 10)
    }


def compared(direction: str, config: Config) -> list[dict[str, Any]]:
    """Both methods by turns; their figures, and the ratio of their speeds of each turn."""
    turns: dict[str, list[Measured]] = {method: [] for method in METHODS}
    for turn in range(config["repeats"]):
        for method in METHODS[:: 1 if turn % 2 else -1]:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                turns[method].append(pool.apply(measure, (method, direction, config)))
            print(direction, method, json.dumps(turns[method][-1]), file=sys.stderr)
    rest = {"seed": config["seed"], "direction": direction}
    rows = [
        row(method, metric, [turn[metric] for turn in results], **rest)
        for method, results in turns.items()
        for metric in results[0]
    ]
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(*turns.values(), strict=True)]
    return [*rows, row(METHODS[0], "speed_over_faiss_flat", ratios, **rest)]


def main() -> None:
    options = speed_options(__doc__, "full_size")
    config = resized(read_config("full_size"), {"images": 500} if options.quick else {})
    rows = [measured for direction in DIRECTIONS for measured in compared(direction, config)]
    if options.out or not options.quick:
        with threadpool_limits(config["threads"]):
            print(write_result("full_size", config, rows, path=options.out))


if __name__ == "__main__":
    main()
