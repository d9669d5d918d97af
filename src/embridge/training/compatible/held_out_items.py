"""HeldOut: items of the training's classes that it does not see, and how often the nearest one is of the right class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.adapters.base import normalized
from embridge.errors import InvalidInput
from embridge.nearest import top_k
from embridge.shapes import Float32, Int64
from embridge.training.compatible.labelled import Labelled

__all__ = ["HeldOut", "nearest_is_right"]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What a training is looked at by; see `embridge.training.compatible.labelled.hold_out`.

    old [m, d_old]: the old model's vectors of the same items, in their order. With them the score is the mean of the
    self-test (new queries, new gallery) and the cross-test (new queries, old gallery); without, the self-test alone. No item
    finds itself. Raises `InvalidInput` for fewer than two items, and old vectors of another number.
    """

    data: Labelled
    old: Float32[np.ndarray, "m d_old"] | None = None

    def __post_init__(self) -> None:
        if len(self.data) < 2 or (self.old is not None and len(self.old) != len(self.data)):
            came = "none" if self.old is None else len(self.old)
            raise InvalidInput(
                f"held out: expected two items or more, and old vectors of all; came {len(self.data)}, {came}"
            )

    def score(self, new: Float32[np.ndarray, "m d_new"], comparable: Float32[np.ndarray, "m d_old"]) -> float:
        """Of these embeddings of the items, and of the same as they meet old rows."""
        own = nearest_is_right(new, new, self.data.labels)
        return own if self.old is None else (own + nearest_is_right(comparable, self.old, self.data.labels)) / 2


def nearest_is_right(
    queries: Float32[np.ndarray, "m d"], gallery: Float32[np.ndarray, "m d"], labels: Int64[np.ndarray, " m"]
) -> float:
    """The share of queries whose nearest gallery row, by cosine and their own row aside, has their label.

    >>> rows = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
    >>> round(nearest_is_right(rows, rows, np.array([0, 0, 1])), 3)
    0.667
    """
    found = top_k(normalized(queries), normalized(gallery), 2).rows
    nearest = np.where(found[:, 0] == np.arange(len(found)), found[:, 1], found[:, 0])
    return float((labels[nearest] == labels).mean())
