"""How much of a photo the old captions of Flickr8k let anyone find: what bounds image queries there.

Models, captions and measured photos are those of ``flickr8k``. A query looks for one caption of its photo; the photo's
other four are taken out of the gallery. ``siblings`` is the mean vector of these four, which knows what four people said of
the photo: on old rows as the old model sees them and as the bridge of captions alone maps them, and on new rows. Beside it
stand image queries, on rows of the old model, of the new one, and on the new captions as the bridge maps them, which are the
rows that a map without any loss would find in the old index.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.data.flickr8k import CAPTIONS_EACH, encode, load, unit
from benchmarks.protocols.finetuning import finetuned
from benchmarks.record import read_config, write_result
from embridge.evaluation import bootstrap_mean
from embridge.methods import make

Queries = np.ndarray  # [photos, captions of each, dim]: a query for each caption


def shares_found(queries: Queries, captions: np.ndarray, depth: int) -> np.ndarray:
    """The share of each photo's captions [photos] that are among the first so many, where its others are left out."""
    photos = len(queries)
    rows = np.arange(photos)
    right = []
    for wanted in range(CAPTIONS_EACH):
        scores = unit(queries[:, wanted]) @ captions.T
        own = scores.reshape(photos, photos, CAPTIONS_EACH)[rows, rows]
        ahead = (scores > own[:, [wanted]]).sum(1) - (own > own[:, [wanted]]).sum(1)
        right.append(ahead < depth)
    return np.mean(right, axis=0)


def siblings(captions: np.ndarray) -> Queries:
    """For each caption the mean of its photo's others."""
    each = captions.reshape(-1, CAPTIONS_EACH, captions.shape[1])
    return (each.sum(1, keepdims=True) - each) / (CAPTIONS_EACH - 1)


def of_images(images: np.ndarray) -> Queries:
    """The image itself, whichever caption is wanted."""
    return np.repeat(images[:, None], CAPTIONS_EACH, axis=1)


def measured(data: dict[str, Any], config: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    pairs, sides = encode(data, seed)
    old, new = sides["measured"]
    first = make("xbt").fit(pairs, seed=seed)
    second = finetuned(pairs, sides["train"][1], first, {"photos": config["photos"], "captions": True}, seed=seed)
    bridged = unit(first.bridge.apply(new.queries.vectors))
    images = {
        "old": old.gallery.vectors,
        "stage 1": first.bridge.apply(new.gallery.vectors),
        "stage 2": second.image.to_index_space(new.gallery).vectors,
        "new": new.gallery.vectors,
    }
    cases: dict[tuple[str, str], tuple[Queries, np.ndarray]] = {
        ("old siblings", "old"): (siblings(old.queries.vectors), old.queries.vectors),
        ("bridged siblings", "old"): (siblings(bridged), old.queries.vectors),
        ("new siblings", "new"): (siblings(new.queries.vectors), new.queries.vectors),
        **{(f"image, {n}", "old"): (of_images(images[n]), old.queries.vectors) for n in ("old", "stage 1", "stage 2")},
        ("image, stage 1", "bridged"): (of_images(images["stage 1"]), bridged),
        ("image, new", "new"): (of_images(images["new"]), new.queries.vectors),
    }
    rows = []
    for (queries, gallery), vectors in cases.items():
        interval = bootstrap_mean(shares_found(*vectors, config["depth"]), seed=seed)
        row = {"method": queries, "seed": seed, "setting": {"gallery": gallery}, "cell": "", "direction": "i2t"}
        figure = {"value": interval.value, "low": interval.low, "high": interval.high}
        rows.append(row | {"metric": f"one_caption_recall_at_{config['depth']}"} | figure)
    return rows


def main() -> None:
    torch.set_num_threads(1)
    config, data, rows = read_config(Path(__file__).parent.name), load("dev"), []
    for seed in range(config["seeds"]):
        began = perf_counter()
        rows += measured(data, config, seed)
        print(f"seed {seed}: {perf_counter() - began:.0f} s")
    write_result("flickr8k_ceiling", config, rows)


if __name__ == "__main__":
    main()
