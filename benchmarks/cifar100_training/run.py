"""Compatible training on CIFAR-100: an old model of 50 classes, new ones of all 100, trained from images with one recipe.

A small ResNet at 32 × 32 pixels. Judged on test images of all classes, which are both the queries and the gallery (no image
finds itself): right is what is of the same class. For the options, see ``protocols/training.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cifar100_backfill.run import IMAGES, SIZE, Part
from benchmarks.data.files import require_data
from benchmarks.protocols.training import Seen, main
from embridge.training.compatible.image_data import ImageArrays

__all__ = ["class_names", "images_of", "load"]


def load(config: Mapping[str, Any], part: str) -> tuple[Seen, Seen]:
    """The first images of each class to train on; the test images, or for validation the next ones, to judge by."""
    count = config["train_per_class"]
    train = images_of("train", count)
    if part == "validation":
        judged = images_of("train", count + config["validation_per_class"], skipped=count)
    else:
        judged = images_of("test", config["test_per_class"])
    seen = Seen(train, judged)
    return seen, seen


@cache
def class_names() -> list[str]:
    pack = np.load(require_data(IMAGES) / IMAGES, allow_pickle=False)
    return [str(name) for name in pack["classes"]]


def images_of(part: str, per_class: int, *, skipped: int = 0) -> ImageArrays:
    """So many images of each class, class by class, without the first ``skipped`` of these."""
    found = Part.load(part, per_class)
    pixels = [np.frombuffer(image[-SIZE * SIZE * 3 :], np.uint8).reshape(SIZE, SIZE, 3) for image in found.images]
    kept = np.arange(len(pixels)) % per_class >= skipped
    return ImageArrays(np.stack(pixels)[kept], found.codes[kept], classes=class_names())


if __name__ == "__main__":
    main(Path(__file__).parent.name, load, said=__doc__)
