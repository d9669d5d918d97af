"""Pseudo-labels: for items without classes, the clusters into which an old model's vectors of them fall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embridge.adapters.base import normalized
from embridge.embeddings import require_vectors
from embridge.errors import InvalidInput
from embridge.shapes import Float32, Int64
from embridge.training.compatible.labelled import Labelled, checked_labels, class_names, fingerprint_of
from embridge.training.objectives.prototypes import class_means

__all__ = ["Relabelled", "cluster_names", "pseudo_labels"]

_ROUNDS, _CHUNK_ROWS = 20, 8_192
_SAME = 1e-6  # two directions less than this apart, by 1 − cos, are one


def pseudo_labels(
    vectors: Float32[np.ndarray, "n d"], clusters: int, *, seed: int = 0, rows_per_cluster: int = 256
) -> Int64[np.ndarray, " n"]:
    """Find the cluster of each vector of an old model, by spherical k-means; no cluster is empty.

    Objectives that ask for classes take the clusters in their place. They then keep how the old model groups the items, right
    or wrong, and scores against the clusters favour it. Take real labels where there are some, and judge by real ones in any
    case. This is a variant of ours, in no paper.

    The centres start far apart (k-means++) and are found on a sample of the rows; then each row goes to the nearest centre. A
    cluster that loses its rows starts again at the row that is served worst. The same seed gives the same clusters.

    Args:
        vectors: Of the old model, of all items; they need not be of length one.
        clusters: How many; 2 to n.
        seed: Of the sample and of the first centres.
        rows_per_cluster: The centres are found on at most ``clusters · rows_per_cluster`` rows.

    Returns:
        The number of each row's cluster, 0 … clusters − 1.

    Raises:
        InvalidInput: There are fewer than two clusters, more than rows, or more than different directions among the rows
            looked at; or a row is all zeros.

    Examples:
        >>> rows = np.array([[1, 0.1], [0.1, 1], [1, 0.2], [0.2, 1]], np.float32)
        >>> labels = pseudo_labels(rows, 2)
        >>> bool(labels[0] == labels[2] != labels[1] == labels[3])
        True
    """
    require_vectors(vectors, dim=None, what="pseudo-labels")
    if not 2 <= clusters <= len(vectors) or rows_per_cluster < 1:
        raise InvalidInput(
            f"pseudo-labels: expected 2 to {len(vectors)} clusters for {len(vectors)} rows, of 1 or more rows each to look at; "
            f"came {clusters} clusters of {rows_per_cluster} rows"
        )
    generator, every = np.random.default_rng(seed), normalized(vectors)
    if not every.any(axis=1).all():
        raise InvalidInput(f"pseudo-labels: row {int(every.any(axis=1).argmin())} is all zeros, which is of no cluster")
    sample, most = every, clusters * rows_per_cluster
    if most < len(every):
        sample = every[np.sort(generator.choice(len(every), most, replace=False))]
    centres = _far_apart(sample, clusters, generator)
    for _ in range(_ROUNDS):
        centres = _moved(sample, centres)
    return _nearest_of_all(every, centres)


@dataclass(frozen=True, slots=True, eq=False)
class Relabelled:
    """The items of another set with other labels, such as `pseudo_labels`; what they were before is not looked at.

    Attributes:
        of: The items.
        labels: Of each item, 0 … c − 1.
        classes: Names of the labels, numbers by default.

    Raises:
        InvalidInput: There is not one label for each item, or not one name for each label.

    Examples:
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> unlabelled = LabelledVectors(np.eye(3, dtype=np.float32), np.zeros(3, np.int64))
        >>> Relabelled(unlabelled, np.array([1, 0, 1])).classes
        ('0', '1')
    """

    of: Labelled
    labels: Int64[np.ndarray, " n"]
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", checked_labels(self.labels, len(self.of)))
        object.__setattr__(self, "classes", class_names(self.labels, self.classes))

    @property
    def side(self) -> int | None:
        return self.of.side

    def fingerprint(self) -> str:
        return fingerprint_of(self, [self.of.fingerprint().encode()])

    def __len__(self) -> int:
        return len(self.of)

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Tensor:
        return self.of.batch(rows)

    def items(self, rows: Int64[np.ndarray, " b"]) -> Sequence[Any] | np.ndarray:
        return self.of.items(rows)


def cluster_names(clusters: int) -> tuple[str, ...]:
    """Name clusters, as classes.

    Args:
        clusters: How many.

    Returns:
        A name for each.

    Examples:
        >>> cluster_names(2)
        ('cluster 0', 'cluster 1')
    """
    return tuple(f"cluster {number}" for number in range(clusters))


def _far_apart(x: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """The first centres [count, d]: rows, each drawn by how far it is from those before; `InvalidInput` where none is apart."""
    rows, distance = [int(generator.integers(len(x)))], np.full(len(x), np.inf)
    while len(rows) < count:
        distance = np.minimum(distance, 1 - x @ x[rows[-1]])
        apart = np.where(distance > _SAME, distance, 0.0).astype(np.float64)
        if not apart.any():
            raise InvalidInput(
                f"pseudo-labels: {count} clusters were asked for, and there are only {len(rows)} different directions among the "
                f"{len(x)} rows looked at; ask for fewer clusters"
            )
        rows.append(int(generator.choice(len(x), p=apart / apart.sum())))
    return x[rows]


def _nearest(x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre of each row [n], and the cosine with it [n]; a part of the rows at a time."""
    parts = []
    for start in range(0, len(x), _CHUNK_ROWS):
        scores = x[start : start + _CHUNK_ROWS] @ centres.T
        parts.append((scores.argmax(axis=1), scores.max(axis=1)))
    codes, cosines = zip(*parts, strict=True)
    return np.concatenate(codes), np.concatenate(cosines)


def _moved(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Each centre at the mean of the rows that are nearest to it; one without rows at a row that is served worst."""
    codes, cosines = _nearest(x, centres)
    chunk = torch.from_numpy(x), torch.from_numpy(codes)
    means = class_means([chunk], classes=len(centres), renormalise=True)
    centres, empty = means.means.numpy(), np.flatnonzero(~means.present.numpy())
    centres[empty] = x[cosines.argsort(kind="stable")[: len(empty)]]
    return centres


def _nearest_of_all(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The nearest centre of each row, once every centre has rows.

    An empty one is put on the row that is served worst. It then keeps that row, since no two centres are put on one direction;
    so each is put once at most.
    """
    centres = centres.copy()
    while True:
        codes, cosines = _nearest(x, centres)
        empty = np.flatnonzero(np.bincount(codes, minlength=len(centres)) == 0)
        if not len(empty):
            return codes
        worst = int(cosines.argmin())
        if 1 - cosines[worst] <= _SAME:
            raise InvalidInput(
                f"pseudo-labels: {len(centres)} clusters were asked for, and {len(empty)} of them find no direction of their "
                "own; ask for fewer clusters"
            )
        centres[empty[0]] = x[worst]
