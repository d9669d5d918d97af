"""Items with a class each, as the benchmarks of compatible training take them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from embridge.training.compatible.image_data import ImageArrays
from embridge.training.compatible.labelled import LabelledVectors

__all__ = ["Items", "Seen", "first_classes"]

Items = ImageArrays | LabelledVectors


@dataclass(frozen=True)
class Seen:
    """What a model sees: the items to train on, and those to judge by."""

    train: Items
    judged: Items


def first_classes(data: Items, count: int) -> Items:
    """The items of the first classes, and no other class."""
    rows = np.flatnonzero(data.labels < count)
    content = {"images" if isinstance(data, ImageArrays) else "vectors": data.items(rows)}
    return replace(data, **content, labels=data.labels[rows], classes=list(data.classes)[:count])
