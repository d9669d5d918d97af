"""CIFAR-100 from one mosaic of images a class: the first images of every class."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.data.files import require_data
from benchmarks.data.labelled import Seen
from embridge.training.compatible.image_data import ImageArrays

__all__ = ["Part", "class_names", "load"]

FILE = "cifar100/cifar100_jpeg95_mosaics.npz"
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
        pack = np.load(require_data(FILE) / FILE, allow_pickle=False)
        blob, offset, columns = (pack[f"{name}_{key}"] for key in ("blob", "offset", "cols"))
        images: list[bytes] = []
        for begin, end in pairwise(offset):
            mosaic = np.asarray(Image.open(io.BytesIO(blob[begin:end].tobytes())).convert("RGB"))
            tiles = mosaic.reshape(-1, SIZE, int(columns), SIZE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, SIZE, SIZE, 3)
            images += [f"P6 {SIZE} {SIZE} 255\n".encode() + tile.tobytes() for tile in tiles[:per_class]]
        codes = np.repeat(np.arange(len(pack["classes"]), dtype=np.int64), per_class)
        return cls(name, images, codes, [str(pack["classes"][code]) for code in codes])


@cache
def class_names() -> list[str]:
    """The classes in the order of their numbers."""
    pack = np.load(require_data(FILE) / FILE, allow_pickle=False)
    return [str(name) for name in pack["classes"]]


def load(config: Mapping[str, Any], part: str) -> tuple[Seen, Seen]:
    """The first images of each class to train on; the test images, or for validation the next ones, to judge by.

    The old model and the new one see the same.
    """
    count = config["train_per_class"]
    train = _images("train", count)
    if part == "validation":
        judged = _images("train", count + config["validation_per_class"], skipped=count)
    else:
        judged = _images("test", config["test_per_class"])
    seen = Seen(train, judged)
    return seen, seen


def _images(part: str, per_class: int, *, skipped: int = 0) -> ImageArrays:
    """So many images of each class, class by class, without the first ``skipped`` of these."""
    images = Part.load(part, per_class)
    pixels = [np.frombuffer(image[-SIZE * SIZE * 3 :], np.uint8).reshape(SIZE, SIZE, 3) for image in images.images]
    kept = np.arange(len(pixels)) % per_class >= skipped
    return ImageArrays(np.stack(pixels)[kept], images.codes[kept], classes=class_names())
