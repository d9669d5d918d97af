"""Heads alone, trained on the features of frozen MobileNets: CIFAR-100 by class, the old head of 50 classes, new ones of all.

The old head takes the features of a weak MobileNet, the new ones those of a stronger one; no backbone is trained. Judged on
test images, which are both the queries and the gallery (no image finds itself): right is what is of the same class. For
the options, see ``protocols/training.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data.cifar100 import Part, class_names
from benchmarks.data.labelled import Seen
from benchmarks.models.frozen import mobilenet
from benchmarks.protocols.training import main
from embridge.training.compatible.labelled import LabelledVectors


def load(config: Mapping[str, Any], part: str) -> tuple[Seen, Seen]:
    """Features of the first training images of each class; the test images, or for validation the next ones, to judge by."""
    old, new = (_seen(config, config[which], part) for which in ("old", "new"))
    return old, new


def _seen(config: Mapping[str, Any], model: str, part: str) -> Seen:
    count = config["train_per_class"]
    every = count + config["validation_per_class"]
    train = _features(model, "train", every)
    first = np.arange(len(train)) % every < count
    judged = _rows(train, ~first) if part == "validation" else _features(model, "test", config["test_per_class"])
    return Seen(_rows(train, first), judged)


def _features(model: str, part: str, per_class: int) -> LabelledVectors:
    cifar = Part.load(part, per_class)
    return LabelledVectors(mobilenet(model, cifar.images), cifar.codes, class_names())


def _rows(data: LabelledVectors, kept: np.ndarray) -> LabelledVectors:
    return LabelledVectors(data.vectors[kept], data.labels[kept], data.classes)


if __name__ == "__main__":
    main(Path(__file__).parent.name, load, description=__doc__)
