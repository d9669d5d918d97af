"""Compatible training on CIFAR-100: an old model of 50 classes, new ones of all 100, trained from images with one recipe.

A small ResNet at 32 × 32 pixels. Judged on test images of all classes, which are both the queries and the gallery (no image
finds itself): right is what is of the same class. Each run is one method and seed with a JSON of its own under
``results/cifar100_training``; runs that are there already are skipped, and one that was stopped goes on. ``--part
validation`` measures on other training images instead, and writes under the cache: settings are chosen there. ``--only
NAME`` runs one method; ``--quick`` is a smoke of about a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from cells import report_rows
from cifar100_backfill import IMAGES, SIZE, Part
from data import require_data
from record import read_config, write_result

from embridge import Embeddings, Upgrade
from embridge.adapters import Identity, Prefix, Provenance
from embridge.backbones.resnet import SmallResNet
from embridge.encoders.trained import TrainedEncoder
from embridge.evaluation import LabelRelevance, Scope, Side, evaluate
from embridge.training.image_data import ImageArrays
from embridge.training.objectives.advbct import AdvBCT
from embridge.training.objectives.bc_aligner import BCAligner
from embridge.training.objectives.bct import BCT
from embridge.training.objectives.bt2 import BT2
from embridge.training.objectives.hoc import HOC
from embridge.training.objectives.independent import Independent
from embridge.training.objectives.l2 import L2
from embridge.training.objectives.lce import LCE
from embridge.training.objectives.mixbct import MixBCT
from embridge.training.objectives.ndpp import NDPP
from embridge.training.objectives.oca import OCA
from embridge.training.objectives.odpp import ODPP
from embridge.training.objectives.ract import RACT
from embridge.training.objectives.unibct import UniBCT
from embridge.training.old_models import old_model
from embridge.training.trainer import CompatibleTraining

OBJECTIVES: dict[str, Any] = {
    "bct": BCT,
    "oca": OCA,
    "bt2": BT2,
    "ndpp": NDPP,
    "odpp": ODPP,
    "l2": L2,
    "ract": RACT,
    "lce": LCE,
    "unibct": UniBCT,
    "advbct": AdvBCT,
    "mixbct": MixBCT,
    "hoc": HOC,
    "bc-aligner": BCAligner,
}
NEEDS_LABELS = ("lce", "advbct", "mixbct")
FOLDER = Path(__file__).parent / "results" / "cifar100_training"
CACHE = Path(os.environ.get("EMBRIDGE_CACHE") or Path.home() / ".cache" / "embridge-benchmarks") / "cifar100_training"


@dataclass(frozen=True)
class Bench:
    """The images to train on and to judge by, and where runs are kept."""

    config: Mapping[str, Any]
    train: ImageArrays
    judged: ImageArrays
    results: Path
    kept: Path

    @property
    def known(self) -> list[str]:
        return list(self.train.classes)[: self.config["old_classes"]]

    def training(self, name: str) -> CompatibleTraining:
        return CompatibleTraining(**self.config["training"], name=name)

    def model(self, name: str, seed: int) -> TrainedEncoder:
        """The old model or the independent one, trained when it is first asked for."""
        folder = self.kept / f"{name}-{seed}"
        if not (folder / "config.json").exists():
            data = self.old_part() if name == "old" else self.train
            torch.manual_seed(seed)
            objective = Independent(None, len(data.classes), dim=self.config["dim"], **self.config["independent"])
            backbone = SmallResNet(objective.feature_dim, **self.config["backbone"], seed=seed)
            began = perf_counter()
            made = self.training(name).fit(
                data, backbone, objective, seed=seed, folder=self.kept / f"{name}-{seed}.run"
            )
            made.save(folder)
            (folder.parent / f"{name}-{seed}.seconds").write_text(str(perf_counter() - began))
        return TrainedEncoder(folder, device="cpu")

    def seconds(self, name: str, seed: int) -> float:
        return float((self.kept / f"{name}-{seed}.seconds").read_text())

    def old_part(self) -> ImageArrays:
        rows = np.flatnonzero(self.train.labels < self.config["old_classes"])
        return ImageArrays(self.train.images[rows], self.train.labels[rows], classes=self.known)

    def side(self, encoder: TrainedEncoder) -> Side:
        vectors = encoder.encode(self.judged.images, modality="image")
        rows = Embeddings.of(vectors, encoder.space, [f"image {i}" for i in range(len(vectors))])
        return Side(rows, rows)


def load(config: Mapping[str, Any], part: str, kept: Path) -> Bench:
    """The first images of each class to train on; the test images, or for validation the next ones, to judge by."""
    names, count = class_names(), config["train_per_class"]
    more = count + config["validation_per_class"]
    train, rows = images_of("train", more), np.arange(len(names) * more).reshape(len(names), more)
    codes = np.repeat(np.arange(len(names)), more)
    own, others = rows[:, :count].ravel(), rows[:, count:].ravel()
    made = ImageArrays(train[own], codes[own], classes=names)
    if part == "validation":
        judged = ImageArrays(train[others], codes[others], classes=names)
        return Bench(config, made, judged, kept / "validation", kept)
    per_class = config["test_per_class"]
    judged = ImageArrays(images_of("test", per_class), np.repeat(np.arange(len(names)), per_class), classes=names)
    return Bench(config, made, judged, FOLDER, kept)


@cache
def class_names() -> list[str]:
    pack = np.load(require_data(IMAGES) / IMAGES, allow_pickle=False)
    return [str(name) for name in pack["classes"]]


def images_of(part: str, per_class: int) -> np.ndarray:
    """uint8 [n, 32, 32, 3], class by class."""
    raw = Part.load(part, per_class).images
    return np.stack([np.frombuffer(image[-SIZE * SIZE * 3 :], np.uint8).reshape(SIZE, SIZE, 3) for image in raw])


def made_objective(bench: Bench, method: Mapping[str, Any], seed: int) -> Any:
    old = old_model(bench.train, bench.model("old", seed), known=bench.known)
    given: dict[str, Any] = dict(method.get("settings", {}))
    if method["make"] == "bt2":
        paragon = bench.model("independent", seed).encode(bench.train.images, modality="image")
        given |= {"dim": bench.config["dim"], "paragon": torch.from_numpy(paragon)}
    if method["make"] in NEEDS_LABELS:
        given["labels"] = torch.from_numpy(np.asarray(bench.train.labels))
    torch.manual_seed(seed)
    return OBJECTIVES[method["make"]](old, len(bench.train.classes), **given)


def run(bench: Bench, method: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Train, then measure against the old model."""
    old, make = bench.model("old", seed), method["make"]
    if make == "independent":
        encoder = bench.model("independent", seed)
        seconds, bridge = bench.seconds("independent", seed), None
    else:
        objective = made_objective(bench, method, seed)
        backbone = SmallResNet(objective.feature_dim, **bench.config["backbone"], seed=seed)
        began = perf_counter()
        folder = bench.kept / f"{method['name']}-{seed}.run"
        made = bench.training(method["name"]).fit(bench.train, backbone, objective, seed=seed, folder=folder)
        seconds = perf_counter() - began
        encoder, bridge = made.encoder(device="cpu"), made.upgrade(old.space)
    return measured(bench, old, encoder, bridge, method, seed=seed, seconds=seconds)


def measured(
    bench: Bench,
    old: TrainedEncoder,
    new: TrainedEncoder,
    bridge: Upgrade | None,
    method: Mapping[str, Any],
    *,
    seed: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Self-test, cross-test and status quo; how many numbers were learnt, and how long that took."""
    sides = bench.side(old), bench.side(new)
    labels = [bench.judged.classes[label] for label in bench.judged.labels]
    named = dict(zip(sides[0].queries.ids, labels, strict=True))
    truth = LabelRelevance(named, named)
    given = bridge or Upgrade(Identity(new.space, new.space), Prefix(new.space, old.space), Provenance("independent"))
    scope = Scope(metrics=bench.config["metrics"], directions=[""], seed=seed)
    report = evaluate(*sides, given, truth, scope=scope)
    rows = report_rows(report, {"name": method["name"]}, seed=seed, seconds=seconds, controls=True)
    kept = [row | ({"method": method["name"]} if row["cell"] == "new/new" else {}) for row in rows]
    learnt = sum(p.numel() for p in new.model.parameters())
    more = {"parameters": learnt, "training_seconds": seconds}
    about = {"method": method["name"], "seed": seed, "setting": {}, "cell": "", "direction": ""}
    return kept + [about | {"metric": what, "value": v, "low": v, "high": v} for what, v in more.items()]


def quick(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same with few images and epochs."""
    small = {"train_per_class": 8, "validation_per_class": 4, "test_per_class": 4, "seeds": 1}
    methods = [m | {"seeds": 1} for m in config["methods"] if m["make"] in ("independent", "bct", "oca", "bt2")]
    training = config["training"] | {"epochs": 1, "batch_size": 32}
    return dict(config) | small | {"training": training, "methods": methods}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    parser.add_argument("--only", help="the name of one method")
    parser.add_argument("--seeds", type=int)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that it runs; writes to the cache alone"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = read_config(Path(__file__).stem)
    config = quick(config) if options.quick else config
    bench = load(config, options.part, CACHE / ("quick" if options.quick else "full"))
    results = bench.kept / "quick" if options.quick else bench.results
    for seed in range(options.seeds or config["seeds"]):
        for method in config["methods"]:
            path = results / f"{method['name']}-{seed}.json"
            wanted = options.only in (None, method["name"]) and seed < method.get("seeds", config["seeds"])
            if not wanted or path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = run(bench, method, seed)
            write_result("cifar100_training", config | {"method": method, "part": options.part}, rows, path=path)
            found = {
                (r["cell"], r["metric"]): round(r["value"], 4) for r in rows if r["cell"] in ("new/old", "new/new")
            }
            print(path.stem, json.dumps({" ".join(key): value for key, value in found.items()}), file=sys.stderr)


if __name__ == "__main__":
    main()
