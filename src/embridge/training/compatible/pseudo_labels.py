"""Pseudo-labels: for items without classes, the cells into which an old model's vectors of them fall."""

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

__all__ = ["Relabelled", "cell_names", "pseudo_labels"]

_ROUNDS, _CHUNK_ROWS = 20, 8_192
_SAME = 1e-6  # two directions less than this apart, by 1 − cos, are one


def pseudo_labels(
    vectors: Float32[np.ndarray, "n d"], cells: int, *, seed: int = 0, rows_per_cell: int = 256
) -> Int64[np.ndarray, " n"]:
    """The cell of each of these vectors of the old model, 0 … cells − 1, found by spherical k-means; no cell is empty.

    A variant of ours, in no paper: objectives that ask for classes take the cells in their place. What they then keep is how the
    old model groups the items, right or wrong, and scores against the cells favour it. Where real labels can be had, take
    them; judge by real ones in any case.

    The centres start far apart (k-means++), and are found on at most ``cells · rows_per_cell`` rows, drawn by the seed; then each
    row goes to the nearest. A cell that loses its rows starts again at the row that is served worst. The same seed gives the
    same cells. Raises `InvalidInput` for fewer than two cells, for more cells than rows, for more than there are different
    directions among the rows looked at, and for a row of zeros.

    >>> rows = np.array([[1, 0.1], [0.1, 1], [1, 0.2], [0.2, 1]], np.float32)
    >>> labels = pseudo_labels(rows, 2)
    >>> bool(labels[0] == labels[2] != labels[1] == labels[3])
    True
    """
    require_vectors(vectors, dim=None, what="pseudo-labels")
    if not 2 <= cells <= len(vectors) or rows_per_cell < 1:
        raise InvalidInput(
            f"pseudo-labels: expected 2 to {len(vectors)} cells for {len(vectors)} rows, of 1 or more rows each to look at; came "
            f"{cells} cells of {rows_per_cell} rows"
        )
    generator, every = np.random.default_rng(seed), normalized(vectors)
    if not every.any(axis=1).all():
        raise InvalidInput(f"pseudo-labels: row {int(every.any(axis=1).argmin())} is all zeros, which is of no cell")
    looked_at, most = every, cells * rows_per_cell
    if most < len(every):
        looked_at = every[np.sort(generator.choice(len(every), most, replace=False))]
    centres = _far_apart(looked_at, cells, generator)
    for _ in range(_ROUNDS):
        centres = _moved(looked_at, centres)
    return _all_held(every, centres)


@dataclass(frozen=True, slots=True, eq=False)
class Relabelled:
    """The items of another set with other labels [n], such as `pseudo_labels`; what they were before is not looked at.

    classes: names of the labels, numbers by default. Raises `InvalidInput` for labels that do not fit.

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


def cell_names(cells: int) -> tuple[str, ...]:
    """What cells are called as classes.

    >>> cell_names(2)
    ('cell 0', 'cell 1')
    """
    return tuple(f"cell {number}" for number in range(cells))


def _far_apart(x: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """The first centres [count, d]: rows, each drawn by how far it is from those before; `InvalidInput` where none is apart."""
    rows, distance = [int(generator.integers(len(x)))], np.full(len(x), np.inf)
    while len(rows) < count:
        distance = np.minimum(distance, 1 - x @ x[rows[-1]])
        apart = np.where(distance > _SAME, distance, 0.0).astype(np.float64)
        if not apart.any():
            raise InvalidInput(
                f"pseudo-labels: {count} cells were asked for, and there are only {len(rows)} different directions among the "
                f"{len(x)} rows looked at; ask for fewer cells"
            )
        rows.append(int(generator.choice(len(x), p=apart / apart.sum())))
    return x[rows]


def _nearest(x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre of each row [n], and the cosine with it [n]; a part of the rows at a time."""
    found = []
    for start in range(0, len(x), _CHUNK_ROWS):
        scores = x[start : start + _CHUNK_ROWS] @ centres.T
        found.append((scores.argmax(axis=1), scores.max(axis=1)))
    codes, cosines = zip(*found, strict=True)
    return np.concatenate(codes), np.concatenate(cosines)


def _moved(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Each centre at the mean of the rows that are nearest to it; one without rows at a row that is served worst."""
    codes, cosines = _nearest(x, centres)
    chunk = torch.from_numpy(x), torch.from_numpy(codes)
    found = class_means([chunk], classes=len(centres), renormalise=True)
    moved, empty = found.means.numpy(), np.flatnonzero(~found.present.numpy())
    moved[empty] = x[cosines.argsort(kind="stable")[: len(empty)]]
    return moved


def _all_held(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
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
                f"pseudo-labels: {len(centres)} cells were asked for, and {len(empty)} of them find no direction of their own; "
                "ask for fewer cells"
            )
        centres[empty[0]] = x[worst]
