"""What compatible training reads: items with a class each, a batch at a time, and parts of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from embridge.errors import InvalidInput
from embridge.shapes import Float32, Int64

__all__ = ["Labelled", "LabelledVectors", "Rows", "hold_out"]


@runtime_checkable
class Labelled(Protocol):
    """Items, each of a class: images, or vectors of a frozen model.

    The same rows give the same batch, whichever process asks.

    Examples:
        >>> isinstance(LabelledVectors(np.eye(2, dtype=np.float32), np.array([0, 1])), Labelled)
        True
    """

    @property
    def classes(self) -> Sequence[str]:
        """Their names."""
        ...

    @property
    def labels(self) -> Int64[np.ndarray, " n"]:
        """Which of the classes each item is of."""
        ...

    @property
    def side(self) -> int | None:
        """Of the square images of `batch`, in pixels; None for vectors."""
        ...

    def fingerprint(self) -> str:
        """A hash of what is trained on."""
        ...

    def __len__(self) -> int: ...

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Tensor:
        """These items, not augmented: uint8 [b, 3, side, side], or float32 [b, d]. Raises `InvalidInput` naming what cannot
        be read."""
        ...

    def items(self, rows: Int64[np.ndarray, " b"]) -> Sequence[Any] | np.ndarray:
        """The same as they came: what an `Encoder` takes."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVectors:
    """Vectors of a frozen model, each of a class, for training a head on them alone.

    Attributes:
        vectors: One for each item.
        labels: Of each item, 0 … c − 1.
        classes: Names of the labels, numbers by default.

    Raises:
        InvalidInput: The vectors are not finite, or the labels and names do not fit.

    Examples:
        >>> LabelledVectors(np.eye(2, dtype=np.float32), np.array([0, 1])).classes
        ('0', '1')
    """

    vectors: Float32[np.ndarray, "n d"]
    labels: Int64[np.ndarray, " n"]
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32 or not np.isfinite(self.vectors).all():
            raise InvalidInput(
                f"labelled vectors: expected finite float32 rows, came {self.vectors.dtype} {list(self.vectors.shape)}"
            )
        object.__setattr__(self, "labels", checked_labels(self.labels, len(self.vectors)))
        object.__setattr__(self, "classes", class_names(self.labels, self.classes))

    @property
    def side(self) -> int | None:
        return None

    def fingerprint(self) -> str:
        return fingerprint_of(self, [np.ascontiguousarray(self.vectors).data])

    def __len__(self) -> int:
        return len(self.vectors)

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Tensor:
        return torch.from_numpy(self.vectors[rows])

    def items(self, rows: Int64[np.ndarray, " b"]) -> np.ndarray:
        return self.vectors[rows]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some rows of labelled items, with the classes of all.

    Attributes:
        of: All items.
        rows: Which of them, in this order.

    Examples:
        >>> every = LabelledVectors(np.eye(3, dtype=np.float32), np.array([0, 1, 1]))
        >>> Rows(every, np.array([2])).labels.tolist(), len(Rows(every, np.array([2])).classes)
        ([1], 2)
    """

    of: Labelled
    rows: Int64[np.ndarray, " n"]

    @property
    def classes(self) -> Sequence[str]:
        return self.of.classes

    @property
    def labels(self) -> Int64[np.ndarray, " n"]:
        return self.of.labels[self.rows]

    @property
    def side(self) -> int | None:
        return self.of.side

    def fingerprint(self) -> str:
        return hashlib.sha256(self.of.fingerprint().encode() + np.ascontiguousarray(self.rows).data).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Tensor:
        return self.of.batch(self.rows[rows])

    def items(self, rows: Int64[np.ndarray, " b"]) -> Sequence[Any] | np.ndarray:
        return self.of.items(self.rows[rows])


def hold_out(data: Labelled, fraction: float, *, seed: int = 0) -> tuple[Rows, Rows]:
    """Split items into a part to train on and a part to judge by, which share their classes.

    Make the old model and the objective of the first part alone.

    Args:
        data: All items.
        fraction: Of each class that is held out, rounded, but never all of a class.
        seed: Of the choice.

    Returns:
        The part to train on, and the part held out.

    Raises:
        InvalidInput: The fraction is outside (0, 1), or nothing would be held out.

    Examples:
        >>> every = LabelledVectors(np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]))
        >>> train, held_out = hold_out(every, 0.5)
        >>> train.labels.tolist(), held_out.labels.tolist()
        ([0, 1], [0, 1])
    """
    if not 0 < fraction < 1:
        raise InvalidInput(f"hold_out: expected a fraction in (0, 1), came {fraction}")
    generator, held_out = np.random.default_rng(seed), np.zeros(len(data), bool)
    for c in range(len(data.classes)):
        own = generator.permutation(np.flatnonzero(data.labels == c))
        held_out[own[: min(round(fraction * len(own)), len(own) - 1)]] = True
    if not held_out.any():
        raise InvalidInput(
            f"hold_out: {fraction} of the {len(data)} items holds none out; ask for more, or give more items"
        )
    return Rows(data, np.flatnonzero(~held_out)), Rows(data, np.flatnonzero(held_out))


def checked_labels(labels: np.ndarray, rows: int) -> Int64[np.ndarray, " n"]:
    """int64 labels, or `InvalidInput` unless there is a whole number of at least 0 for each of one or more rows."""
    labels = np.asarray(labels)
    if not rows or labels.shape != (rows,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InvalidInput(
            f"labels: expected a whole number of at least 0 for each of {rows} items, and at least one item; came "
            f"{labels.dtype} of shape {list(labels.shape)}"
        )
    return labels.astype(np.int64)


def class_names(labels: np.ndarray, classes: Sequence[str]) -> tuple[str, ...]:
    """These names, or numbers; `InvalidInput` unless there is one for each label, and no two are equal."""
    names = tuple(map(str, classes)) or tuple(map(str, range(int(labels.max()) + 1)))
    if len(names) <= labels.max() or len(set(names)) != len(names):
        raise InvalidInput(
            f"classes: expected a name of its own for each of 0 … {labels.max()}, came {len(names)} names"
        )
    return names


def fingerprint_of(data: Labelled, content: Sequence[Any]) -> str:
    """A hash of classes and labels, and of what is said of the items themselves."""
    digest = hashlib.sha256("\0".join(data.classes).encode())
    digest.update(np.ascontiguousarray(data.labels).data)
    for part in content:
        digest.update(part)
    return digest.hexdigest()[:16]
