"""Settings of the objectives for CIFAR-100, chosen on validation images with heads on a frozen backbone.

A run from images takes minutes; a head takes seconds. So each try trains a linear head alone, on the pooled features of the
independent model of ``cifar100_training`` (seed 0), beside the same old model, and is judged on the same validation images:
training images that no model of it learns from. The try with the highest P_1 of CMC@1 is the one that the benchmarks of
training run with. Every method has as many tries. Old and independent models are trained where the cache has none.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data.cifar100 import load
from benchmarks.data.labelled import Items, Seen
from benchmarks.protocols.training import Bench, digest, kept_of, quick_sized, rows_of
from benchmarks.record import read_config, row, write_result
from embridge.backbones.base import Backbone
from embridge.backbones.saved import TrainedModel
from embridge.backbones.vectors import VectorHead
from embridge.evaluation import p_1
from embridge.training.compatible.labelled import LabelledVectors
from embridge.training.objectives import OBJECTIVES
from embridge.training.objectives.base import OldModel

METRIC = "cmc_at_1"


@dataclass(frozen=True)
class Heads(Bench):
    """Heads on features, beside the old models of ``images``."""

    images: Bench
    known_old: dict[tuple[str, bool], OldModel] = field(default_factory=dict)

    def model(self, how: Mapping[str, Any], seed: int) -> TrainedModel:
        return super().model(how, seed) if how["name"] == "independent" else self.images.model(how, seed)

    def old_model(self, method: Mapping[str, Any], seed: int) -> OldModel:
        key = (self.old_of(method)["name"], "old classifier" in OBJECTIVES[method["make"]].needs)
        if key not in self.known_old:
            self.known_old[key] = self.images.old_model(method, seed)
        return self.known_old[key]

    def backbone(self, data: Items, feature_dim: int, seed: int, *, old: bool = False) -> Backbone:
        assert isinstance(data, LabelledVectors)
        return VectorHead(data.vectors.shape[1], feature_dim, seed=seed)


def main() -> None:
    torch.set_num_threads(1)
    config, quick = read_config(Path(__file__).parent.name), _options().quick
    shared, seed = read_config(config["of"]), config["seed"]
    kept = kept_of(config["of"], shared, quick=quick)
    if quick:
        shutil.rmtree(kept, ignore_errors=True)
        shared = quick_sized(shared)
        last = {name: tries[-1:] for name, tries in config["tries"].items()}
        config |= {"training": config["training"] | shared["training"], "tries": last}
    images_seen, _ = load(shared, "validation")
    images = Bench(shared, images_seen, images_seen, kept)
    features = _features(images.independent(seed), images_seen)
    recipe = {**shared, "training": config["training"], "metrics": [METRIC]}
    heads = Heads(recipe, images_seen, features, kept / f"heads-{digest(config)}", images)
    rows = _measured(heads, config["tries"], seed)
    write_result("training_choice", config, rows, path=heads.kept / "training_choice.json" if quick else None)


def _measured(heads: Heads, tries: Mapping[str, Sequence[Mapping[str, Any]]], seed: int) -> list[dict[str, Any]]:
    """The searches of every try, and their P_1."""
    methods = {method["name"]: method for method in heads.config["methods"]}
    paragon = _figures(heads.run(methods["independent"], seed))["new/new"]
    rows = [row("independent", METRIC, [paragon], cell="new/new")]
    for name, each in tries.items():
        for number, settings in enumerate(each):
            method = methods[name] | {"name": f"{name} {number}", "settings": settings}
            figures = _figures(heads.run(method, seed))
            cells = {cell: figures[cell] for cell in ("old/old", "new/new", "new/old")}
            rows += [row(name, METRIC, [value], cell=cell, setting=settings) for cell, value in cells.items()]
            score = p_1([figures["new/new"]], [figures["new/old"]], [figures["old/old"]], [paragon])
            rows.append(row(name, "p_1", [score], setting=settings))
            print(name, settings, *(f"{c} {v:.4f}" for c, v in cells.items()), f"P_1 {score:.4f}", file=sys.stderr)
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes and one try each; writes to the cache alone")
    return parser.parse_args()


def _figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {r["cell"]: r["value"] for r in rows if r["metric"] == METRIC}


def _features(model: TrainedModel, seen: Seen) -> Seen:
    """What goes into the last layer, of the same images, each dimension with mean 0 and variance 1 over the training ones."""
    train, judged = (_pooled(model, part) for part in (seen.train, seen.judged))
    mean, spread = train.mean(0), train.std(0)
    parts = [(train, seen.train), (judged, seen.judged)]
    return Seen(*(LabelledVectors((x - mean) / spread, part.labels, part.classes) for x, part in parts))


def _pooled(model: TrainedModel, data: Items) -> np.ndarray:
    pooled: list[torch.Tensor] = []
    hook = model.backbone.get_submodule("last").register_forward_pre_hook(
        lambda _, inputs: pooled.append(inputs[0].float())
    )
    rows_of(model, data)
    hook.remove()
    return torch.cat(pooled).numpy()


if __name__ == "__main__":
    main()
