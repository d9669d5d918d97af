"""Forward maps and backfill orders: CIFAR-100 by class, an index of a weak MobileNet's features, searched by a stronger one.

Frozen ImageNet MobileNets, average-pooled features of images of 32 × 32 pixels. The pairs are training images that both
models encoded; judged on test images, which are both the queries and the gallery (no image finds itself): right is what
is of the same class. The seed is the method's and the random order's; the data stay the same.

A curve is of new queries over a gallery that is re-encoded in some order. It starts at the bridge (nothing is
re-encoded) and ends at the full backfill; the area under it is its mean over even cut-offs.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.data.files import require_data
from benchmarks.models.frozen import mobilenet
from benchmarks.protocols.cells import report_rows
from benchmarks.protocols.maps import fitted
from benchmarks.record import read_config, write_result
from embridge import Embeddings, Space, Upgrade
from embridge.evaluation import LabelRelevance, Report, Scope, Side, bootstrap_mean, compatible, evaluate
from embridge.methods import Pairs
from embridge.rollout import by_class_distance, by_cluster_distance, by_uncertainty

IMAGES = "cifar100/cifar100_jpeg95_mosaics.npz"
SIZE = 32


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The first images of every class of a part of CIFAR-100."""

    name: str
    images: list[bytes]
    codes: np.ndarray
    classes: list[str]

    @classmethod
    def load(cls, name: str, per_class: int) -> Part:
        """From one mosaic a class; each image as a PPM file, which loses nothing and is the same everywhere."""
        pack = np.load(require_data(IMAGES) / IMAGES, allow_pickle=False)
        blob, offset, columns = (pack[f"{name}_{what}"] for what in ("blob", "offset", "cols"))
        images: list[bytes] = []
        for begin, end in pairwise(offset):
            mosaic = np.asarray(Image.open(io.BytesIO(blob[begin:end].tobytes())).convert("RGB"))
            tiles = mosaic.reshape(-1, SIZE, int(columns), SIZE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, SIZE, SIZE, 3)
            images += [f"P6 {SIZE} {SIZE} 255\n".encode() + tile.tobytes() for tile in tiles[:per_class]]
        codes = np.repeat(np.arange(len(pack["classes"]), dtype=np.int64), per_class)
        return cls(name, images, codes, [str(pack["classes"][code]) for code in codes])

    def encoded(self, model: str) -> Embeddings:
        """The features of these images."""
        rows = mobilenet(model, self.images)
        return Embeddings.of(rows, Space(model, "", rows.shape[1]), [f"{self.name}-{i}" for i in range(len(rows))])


def orders(gallery: Embeddings, classes: Sequence[str], upgrade: Upgrade, *, seed: int) -> dict[str, Any]:
    """The orders to compare for this upgrade; none looks at the new model's rows. Backward maps get a random one alone."""
    if upgrade.direction == "backward":
        return {"random": None}
    made: dict[str, Any] = {
        "random": None,
        "class distance": by_class_distance(gallery, classes),
        "cluster distance": by_cluster_distance(gallery, seed=seed),
    }
    return made if upgrade.uncertainty is None else made | {"uncertainty": by_uncertainty(gallery, upgrade)}


def curve_rows(report: Report, method: Mapping[str, Any], *, seed: int) -> list[dict[str, Any]]:
    """One row an order and metric: the area under the curve, which is the mean over queries of each one's own area."""
    rows = []
    for metric in report.metrics:
        areas = {
            order: np.mean([report.values("", cell, metric) for _, cell in cells], axis=0)
            for order, cells in report.curves("").items()
        }
        for order, area in areas.items():
            interval = bootstrap_mean(area, seed=seed)
            row = {
                "method": method["name"],
                "seed": seed,
                "setting": {"order": order},
                "cell": "mixed",
                "direction": "",
            }
            row |= {"metric": f"backfill_auc:{metric}"}
            row |= {"value": interval.value, "low": interval.low, "high": interval.high}
            if order != "random":
                row["better_than_random"] = compatible(area, areas["random"], seed=seed).answer
            rows.append(row)
    return rows


def main() -> None:
    torch.set_num_threads(1)
    config, rows = read_config(Path(__file__).parent.name), []
    train, test = (Part.load(name, config[f"{name}_per_class"]) for name in ("train", "test"))
    (seen_old, seen_new), (old, new) = ([part.encoded(config[m]) for m in ("old", "new")] for part in (train, test))
    labels = dict(zip(old.ids, test.classes, strict=True))
    for seed in range(config["seeds"]):
        for number, method in enumerate(config["methods"]):
            pairs = Pairs(seen_new, seen_old, labels=train.codes if method.get("labels") else None)
            for _, upgrade, seconds in fitted([method], pairs, seed=seed):
                scope = Scope(
                    metrics=config["metrics"],
                    directions=[""],
                    orders=orders(old, test.classes, upgrade, seed=seed),
                    seed=seed,
                )
                report = evaluate(Side(old, old), Side(new, new), upgrade, LabelRelevance(labels, labels), scope=scope)
                rows += report_rows(report, method, seed=seed, seconds=seconds, controls=number == 0)
                rows += curve_rows(report, method, seed=seed)
    write_result("cifar100_backfill", config, rows)


if __name__ == "__main__":
    main()
