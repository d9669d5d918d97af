"""HeldOut: items of the training's classes that it does not see, and how often the nearest one is of the right class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.adapters.base import normalized
from embridge.errors import InvalidInput
from embridge.evaluation.judged import JudgedByLabel
from embridge.evaluation.retrieve import hits_and_ties
from embridge.evaluation.ties import Searched
from embridge.shapes import Float32, Float64, Int64
from embridge.training.compatible.labelled import Labelled

__all__ = ["HeldOut", "nearest_is_right", "right_of_each"]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Items that a training is judged by; see `hold_out`.

    With old vectors the score is the mean of the self-test (new queries, new gallery) and the cross-test (new queries, old
    gallery); without, the self-test alone. No item finds itself.

    Attributes:
        data: The items.
        old: The old model's vectors of them, in their order.

    Raises:
        InvalidInput: There are fewer than two items, or not one old vector for each.

    Examples:
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> rows = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
        >>> HeldOut(LabelledVectors(rows, np.array([0, 0, 1, 1]))).score(rows, rows)
        1.0
    """

    data: Labelled
    old: Float32[np.ndarray, "m d_old"] | None = None

    def __post_init__(self) -> None:
        if len(self.data) < 2 or (self.old is not None and len(self.old) != len(self.data)):
            vectors = "none" if self.old is None else len(self.old)
            raise InvalidInput(
                f"held out: expected two items or more, and old vectors of all; came {len(self.data)}, {vectors}"
            )

    def score(self, new: Float32[np.ndarray, "m d_new"], comparable: Float32[np.ndarray, "m d_old"]) -> float:
        """Score a model by its embeddings of the items.

        Args:
            new: Its embeddings.
            comparable: The same as they meet old rows.

        Returns:
            From 0 to 1; higher is better.
        """
        own = nearest_is_right(new, new, self.data.labels)
        return own if self.old is None else (own + nearest_is_right(comparable, self.old, self.data.labels)) / 2


def nearest_is_right(
    queries: Float32[np.ndarray, "m d"], gallery: Float32[np.ndarray, "m d"], labels: Int64[np.ndarray, " m"]
) -> float:
    """Give the share of queries whose nearest gallery row has their label, by cosine and their own row aside.

    Of rows that are equally near the share counts; a query or gallery that is not finite finds nothing.

    Args:
        queries: Of the items.
        gallery: Of the same items, in their order.
        labels: Of the items.

    Returns:
        From 0 to 1.

    Examples:
        >>> rows = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
        >>> round(nearest_is_right(rows, rows, np.array([0, 0, 1])), 3)
        0.667
    """
    return float(right_of_each(queries, gallery, labels).mean())


def right_of_each(
    queries: Float32[np.ndarray, "m d"], gallery: Float32[np.ndarray, "m d"], labels: Int64[np.ndarray, " m"]
) -> Float64[np.ndarray, " m"]:
    """Say of each query whether its nearest gallery row has its label; see `nearest_is_right`, which is the mean.

    Args:
        queries: Of the items.
        gallery: Of the same items, in their order.
        labels: Of the items.

    Returns:
        From 0 to 1 for each query; between them where equally near rows differ.

    Examples:
        >>> rows = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
        >>> right_of_each(rows, rows, np.array([0, 0, 1])).tolist()
        [1.0, 1.0, 0.0]
    """
    if not np.isfinite(gallery).all():
        return np.zeros(len(queries))
    asked = np.isfinite(queries).all(axis=1)
    sides = normalized(np.where(asked[:, None], queries, 0)), normalized(gallery)
    codes, own = np.unique(labels, return_inverse=True)[1], np.arange(len(labels))
    judged = JudgedByLabel.of(codes, codes, own)
    searched = Searched(judged, own)
    found = hits_and_ties(*sides, 2, searched, metric="cosine").without_own(searched).cut(1)
    right = judged.gains(found.ranking.rows)[:, 0].astype(np.float64)
    if found.ties is not None:
        right[found.ties.queries] = found.ties.gain[:, 0]
    return right * asked
