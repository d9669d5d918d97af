"""Crossing: how far new queries are ahead of old ones in the old index, on a few items that are not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.adapters.base import normalized
from embridge.shapes import Float32, Float64, Int64
from embridge.training.compatible.held_out_items import right_of_each

__all__ = ["Crossing", "left_out_classes", "watched_rows"]

_LEAST_ROWS, _MOST_ROWS, _LARGEST_SHARE, _LEAST_OF_A_CLASS = 40, 1_000, 0.1, 2
_LEFT_OUT_SHARE, _LEAST_CLASSES = 0.1, 5


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """Items with their old vectors, some of classes that the compatibility terms do not see at first.

    Attributes:
        labels: The class of each item [m].
        old: The old model's vectors of them.
        classes_left_out: Classes that the compatibility terms do not see at first.

    Examples:
        >>> labels, old = np.array([0, 0, 1, 1]), np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], np.float32)
        >>> crossing = Crossing(labels, old, np.array([1]))
        >>> crossing.ahead(np.array([[0, 1], [1, 0], [1, 0], [0, 1]], np.float32)).round(2).tolist()
        [0.67, 0.0]
    """

    labels: Int64[np.ndarray, " m"]
    old: Float32[np.ndarray, "m d_old"]
    classes_left_out: Int64[np.ndarray, " k"]

    def ahead(self, comparable: Float32[np.ndarray, "m d_old"]) -> Float64[np.ndarray, " 2"]:
        """Compare new queries with old ones: by the nearest row, and by average precision, whichever is worse.

        Args:
            comparable: The new vectors of the items as they meet old rows.

        Returns:
            The mean difference over items of classes that the compatibility terms see, and over the others; the same twice where
            there is no other.
        """
        nearest = right_of_each(comparable, self.old, self.labels) - right_of_each(self.old, self.old, self.labels)
        precision = _precision(comparable, self.old, self.labels) - _precision(self.old, self.old, self.labels)
        unseen = np.isin(self.labels, self.classes_left_out)
        parts = (~unseen, unseen if unseen.any() else ~unseen)
        return np.array([min(nearest[part].mean(), precision[part].mean()) for part in parts])


def watched_rows(labels: Int64[np.ndarray, " n"], *, seed: int) -> Int64[np.ndarray, " k"]:
    """Choose items that are not trained on, so that compatibility can be looked at while training.

    40 to 1,000 of them and at most a tenth, two or more of a class; where there are many classes, of some.

    Args:
        labels: The classes of all items.
        seed: Of the choice.

    Returns:
        Their numbers, rising; none where there are too few items, or too few of each class.

    Examples:
        >>> len(watched_rows(np.arange(800) % 4, seed=0)), len(watched_rows(np.arange(800), seed=0))
        (80, 0)
    """
    generator = np.random.default_rng((seed, len(labels)))
    most = min(_MOST_ROWS, int(_LARGEST_SHARE * len(labels)))
    classes = np.unique(labels)
    of_each = max(_LEAST_OF_A_CLASS, most // max(1, len(classes)))
    chosen: list[np.ndarray] = []
    for c in generator.permutation(classes):
        own = np.flatnonzero(labels == c)
        count = min(of_each, len(own) // 4, most - sum(map(len, chosen)))
        if count >= _LEAST_OF_A_CLASS:
            chosen.append(generator.permutation(own)[:count])
    enough = sum(map(len, chosen)) >= _LEAST_ROWS
    return np.sort(np.concatenate(chosen)) if enough else np.zeros(0, np.int64)


def left_out_classes(labels: Int64[np.ndarray, " m"], *, seed: int) -> Int64[np.ndarray, " k"]:
    """Choose a tenth of the classes, which stand for classes that nobody trains on.

    Args:
        labels: Of the items that are watched.
        seed: Of the choice.

    Returns:
        The classes, rising; none where there are fewer than five.

    Examples:
        >>> len(left_out_classes(np.arange(40) % 20, seed=0)), len(left_out_classes(np.arange(8) % 4, seed=0))
        (2, 0)
    """
    classes = np.unique(labels)
    if len(classes) < _LEAST_CLASSES:
        return classes[:0]
    count = max(1, round(_LEFT_OUT_SHARE * len(classes)))
    return np.sort(np.random.default_rng((seed, len(classes))).permutation(classes)[:count])


def _precision(
    queries: Float32[np.ndarray, "m d"], gallery: Float32[np.ndarray, "m d"], labels: Int64[np.ndarray, " m"]
) -> Float64[np.ndarray, " m"]:
    """The average precision of each query, its own row aside; 0 for one that is not finite or has nothing to find."""
    finite = np.isfinite(queries).all(axis=1)
    scores = normalized(np.where(finite[:, None], queries, 0)) @ normalized(gallery).T
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :-1]
    right = labels[order] == labels[:, None]
    ranks = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    precision: np.ndarray = (ranks * right).sum(axis=1) / np.maximum(right.sum(axis=1), 1)
    return precision * finite
