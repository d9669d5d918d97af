"""Forward maps and backfill orders: CIFAR-100 by class, an index of a weak MobileNet's features, searched by a stronger one.

Frozen ImageNet MobileNets, average-pooled features of images of 32 × 32 pixels. The pairs are training images that both
models encoded; judged on test images, which are both the queries and the gallery (no image finds itself): right is what
is of the same class. The seed is the method's and the random order's; the data stay the same.

A curve is of new queries over a gallery that is re-encoded in some order. It starts at the bridge (nothing is
re-encoded) and ends at the full backfill; the area under it is its mean over even cut-offs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data.cifar100 import Part
from benchmarks.models.frozen import mobilenet
from benchmarks.protocols.cells import report_rows
from benchmarks.protocols.maps import fitted
from benchmarks.record import read_config, write_result
from embridge import Embeddings, Space, Upgrade
from embridge.evaluation import LabelRelevance, Report, Scope, Side, bootstrap_mean, compatible, evaluate
from embridge.methods import Pairs
from embridge.rollout import by_class_distance, by_cluster_distance, by_uncertainty


def encoded(part: Part, model: str) -> Embeddings:
    """The features of these images."""
    rows = mobilenet(model, part.images)
    return Embeddings.of(rows, Space(model, "", rows.shape[1]), [f"{part.name}-{i}" for i in range(len(rows))])


def orders(gallery: Embeddings, classes: Sequence[str], upgrade: Upgrade, *, seed: int) -> dict[str, Any]:
    """The orders to compare for this upgrade; none looks at the new model's rows. Backward maps get a random one alone."""
    if upgrade.direction == "backward":
        return {"random": None}
    by_name: dict[str, Any] = {
        "random": None,
        "class distance": by_class_distance(gallery, classes),
        "cluster distance": by_cluster_distance(gallery, seed=seed),
    }
    return by_name if upgrade.uncertainty is None else by_name | {"uncertainty": by_uncertainty(gallery, upgrade)}


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
    (seen_old, seen_new), (old, new) = ([encoded(part, config[m]) for m in ("old", "new")] for part in (train, test))
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
