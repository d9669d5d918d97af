"""What is kept of an old model, made from its encoder or from its vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embridge.adapters.base import normalized
from embridge.encoders.base import Encoder
from embridge.errors import InvalidInput
from embridge.progress import Progress, silent
from embridge.training.compatible.labelled import Labelled
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.prototypes import class_means

__all__ = ["old_model", "old_vectors"]

_CHUNK_ROWS = 1_024


def old_model(
    data: Labelled,
    old: Encoder | np.ndarray,
    *,
    known: Collection[str] | None = None,
    classifier: np.ndarray | None = None,
    renormalise: bool = False,
    ancestors: Sequence[OldModel] = (),
) -> OldModel:
    """Make all that objectives keep of an old model: prototypes and unit vectors of the items, not augmented.

    Args:
        data: The items that are trained on.
        old: The encoder; or its vectors [n, d_old] of the items, in their order, such as `old_vectors` gives.
        known: Names of the classes that it was trained on; None for all of them.
        classifier: The weights [c, d_old] of its classifier, where they are at hand.
        renormalise: The prototypes; see `class_means`.
        ancestors: The versions before it, made of the same data; see `OldModel`.

    Returns:
        The old model, as an objective takes it.

    Raises:
        InvalidInput: The vectors are of another number or not finite, or a name is no class.

    Examples:
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> rows = np.eye(3, dtype=np.float32)
        >>> old_model(LabelledVectors(rows, np.array([0, 1, 1]), ["cat", "dog"]), rows, known=["cat"]).known.tolist()
        [True, False]
    """
    vectors = old_vectors(data, old)
    labels = torch.from_numpy(data.labels)
    means = class_means(_chunks(vectors, labels), classes=len(data.classes), renormalise=renormalise).means
    weights = None if classifier is None else torch.from_numpy(np.asarray(classifier, np.float32))
    return OldModel(means, _known(data.classes, known), torch.from_numpy(vectors), weights, ancestors)


def old_vectors(data: Labelled, old: Encoder | np.ndarray, *, progress: Progress = silent) -> np.ndarray:
    """Give an old model's unit vectors of the items, not augmented, a part at a time.

    Args:
        data: The items that are trained on.
        old: The encoder; or its vectors [n, d_old] of the items, in their order.
        progress: Called after each part that is encoded.

    Returns:
        Unit rows [n, d_old].

    Raises:
        InvalidInput: The vectors are of another number, or not finite.

    Examples:
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> data = LabelledVectors(np.eye(2, dtype=np.float32), np.array([0, 1]))
        >>> old_vectors(data, np.array([[0, 2], [3, 0]], np.float32)).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    if not isinstance(old, np.ndarray):
        return np.concatenate(list(_encoded(data, old, progress)))
    if old.ndim != 2 or len(old) != len(data) or not np.isfinite(old).all():
        raise InvalidInput(
            f"old model: expected a finite vector for each of the {len(data)} training items, came {list(old.shape)}"
        )
    return normalized(np.ascontiguousarray(old, np.float32))


def _encoded(data: Labelled, old: Any, progress: Progress) -> Iterator[np.ndarray]:
    for start in range(0, len(data), _CHUNK_ROWS):
        rows = np.arange(start, min(start + _CHUNK_ROWS, len(data)))
        yield normalized(old.encode(data.items(rows), modality="image"))
        progress(int(rows[-1]) + 1, len(data), f"{old.space.model}: training items")


def _chunks(vectors: np.ndarray, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(vectors), _CHUNK_ROWS):
        yield torch.from_numpy(vectors[start : start + _CHUNK_ROWS]), labels[start : start + _CHUNK_ROWS]


def _known(classes: Any, known: Collection[str] | None) -> Tensor:
    strange = sorted(set(known or ()) - set(classes))
    if strange:
        raise InvalidInput(
            f"old model: {strange[0]!r} is no class of the training items; these are {list(classes)[:8]} …"
        )
    return torch.tensor([known is None or name in known for name in classes])
