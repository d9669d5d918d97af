"""What an objective adds to the time of training: to a step, and by what it refreshes before each epoch.

Backbone, batch, image size and settings are those of ``cifar100_training``; images, old vectors and classes are random,
which takes as long. A step is forward, backward and the optimiser's, on one thread. In each turn a method's step stands
between two steps of the independent training in the same process, and a ratio is of these; seconds are the processor's, so
that what else the machine does counts little. A refresh is what an objective does before all epochs, with the passes over
the training images that it asks for, shared out over the steps. ``--only NAME`` and ``--turns N`` print and write nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.record import read_config, row, write_result
from embridge.backbones.resnet import SmallResNet
from embridge.training.compatible.image_data import ImageArrays
from embridge.training.compatible.settings import CompatibleSettings
from embridge.training.compatible.start import Start
from embridge.training.compatible.task import CompatibleTask
from embridge.training.objectives import OBJECTIVES, make_objective
from embridge.training.objectives.base import Objective, OldModel

SIDE, CLASSES = 32, 100
_PASSED_ROWS = 512


@dataclass(frozen=True)
class Runner:
    """One training, and what is refreshed in it: seconds of all refreshes together, and how many passes they ask for."""

    task: CompatibleTask
    optimizer: torch.optim.Optimizer
    data: ImageArrays
    own_seconds: float
    passes: float

    def step(self, turn: int) -> None:
        """Of the first epoch, but not its first step, at which the objective would be refreshed."""
        self.optimizer.zero_grad()
        number = 1 + turn % (self.task.steps_per_epoch - 1)
        self.task.step(self.task.batch(number), lambda loss: loss.backward())
        self.optimizer.step()

    def embed(self) -> None:
        """A part of a pass over the training images, as the task makes it for an objective."""
        rows = np.arange(_PASSED_ROWS)
        with torch.no_grad():
            for _ in self.task.embeddings(self.data, rows, exact=False):
                pass


def runner(config: Mapping[str, Any], method: Mapping[str, Any], data: ImageArrays) -> Runner:
    objective, how = objective_of(config, method, data), dict(config["training"])
    own_seconds, passes = refreshed(objective, data, how["epochs"])
    backbone = SmallResNet(objective.feature_dim, **config["backbone"])
    names = ("optimizer", "learning_rate", "weight_decay", "batch_size", "epochs", "precision")
    settings = CompatibleSettings(**{name: how[name] for name in names})
    task = CompatibleTask(Start(data, backbone, objective, None, 0), settings, "cpu")
    return Runner(task, task.optimizer(), data, own_seconds, passes)


def objective_of(config: Mapping[str, Any], method: Mapping[str, Any], data: ImageArrays) -> Objective:
    """With an old model of random vectors."""
    name, labels = method["make"], torch.from_numpy(data.labels)
    settings = dict(method.get("settings", {}))
    if name == "independent":
        return make_objective(name, None, CLASSES, {"dim": config["dim"], **settings})
    dim = method.get("old", {}).get("settings", {}).get("dim", config["dim"])
    vectors, prototypes, classifier = (torch.randn(n, dim) for n in (len(data), CLASSES, CLASSES))
    known = torch.arange(CLASSES) < config["old_classes"]
    old = OldModel(F.normalize(prototypes, dim=1), known, F.normalize(vectors, dim=1), classifier)
    extra: dict[str, Any] = {"labels": labels}
    if "paragon" in OBJECTIVES[name].needs:
        extra["paragon"] = F.normalize(torch.randn(len(data), config["dim"]), dim=1)
    return make_objective(name, old, CLASSES, settings, **extra)


def refreshed(objective: Objective, data: ImageArrays, epochs: int) -> tuple[float, float]:
    """Seconds of an objective's refreshes before all epochs, the passes over the images aside, and how many of these."""
    rows, labels, passes = torch.randn(len(data), objective.embedding_dim), torch.from_numpy(data.labels), 0

    def embedded() -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal passes
        passes += 1
        return rows, labels

    seconds = timed(lambda: [objective.begin_epoch(epoch, epochs, embedded) for epoch in range(epochs)])
    return seconds, passes * objective.refresh_share


def timed(what: Callable[[], object]) -> float:
    began = process_time()
    what()
    return process_time() - began


def measured(name: str, mine: Runner, alone: Runner, config: Mapping[str, Any], turns: int) -> list[dict[str, Any]]:
    """Ratios to the independent training: of a step, and of a step with its share of what is refreshed."""
    steps = config["training"]["epochs"] * mine.task.steps_per_epoch
    per_row = mine.passes * len(mine.data) / _PASSED_ROWS
    figures: dict[str, list[float]] = {"step_seconds": [], "refresh_seconds": [], "step_ratio": [], "ratio": []}
    for turn in range(turns):
        before = timed(lambda: alone.step(turn))  # noqa: B023 - called at once
        own = timed(lambda: mine.step(turn))  # noqa: B023
        passed = timed(mine.embed) if mine.passes else 0.0
        base = (before + timed(lambda: alone.step(turn))) / 2  # noqa: B023
        refresh = (mine.own_seconds + per_row * passed) / steps
        values = own, refresh, own / base, (own + refresh) / base
        for kept, value in zip(figures.values(), values, strict=True):
            kept.append(value)
    return [row(name, metric, values) for metric, values in figures.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only")
    parser.add_argument("--turns", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    own, config = read_config(Path(__file__).parent.name), read_config("cifar100_training")
    count = CLASSES * config["train_per_class"]
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    data = ImageArrays(pixels, np.repeat(np.arange(CLASSES), config["train_per_class"]))
    first, *methods = (method for method in config["methods"] if method["name"] == method["make"])
    alone, rows = runner(config, first, data), []
    for turn in range(own["warm_turns"]):
        alone.step(turn)
    for method in methods:
        if options.only in (None, method["name"]):
            mine = runner(config, method, data)
            mine.step(0)
            rows += measured(method["name"], mine, alone, config, options.turns or own["turns"])
            shown = {r["metric"]: f"{r['value']:.3f} ({r['low']:.3f} … {r['high']:.3f})" for r in rows[-4:]}
            print(method["name"], json.dumps(shown, ensure_ascii=False), file=sys.stderr)
    if options.only is None and options.turns is None:
        kept = {key: config[key] for key in ("dim", "train_per_class", "backbone", "training", "methods")}
        write_result("training_overhead", own | kept, rows)


if __name__ == "__main__":
    main()
