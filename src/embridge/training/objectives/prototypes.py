"""Prototypes: what an old model says of each class, and what becomes of the classes that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.errors import InvalidInput, SettingsError

__all__ = ["ClassMeans", "OldUnseen", "Unseen", "class_means", "nearest", "resolve_unseen"]

Unseen = Literal["using_old", "null", "using_new"]
"""What stands for a class that the old model does not know: the mean of the old model's vectors of it all the same, nothing
(the compatibility loss leaves it out), or the mean of the new model's vectors."""

OldUnseen = Literal["using_old", "null"]
"""The same for bounds and graphs of old embeddings, which no mean of the new model's vectors can stand for."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassMeans:
    """The mean row of each class.

    Attributes:
        means: Float32 [c, d]; zeros for a class without rows.
        counts: How many rows each class has [c].

    Examples:
        >>> ClassMeans(torch.eye(2), torch.tensor([3, 0])).present.tolist()
        [True, False]
    """

    means: Tensor
    counts: Tensor

    @property
    def present(self) -> Tensor:
        """Which classes have rows [c]."""
        return self.counts > 0


def class_means(chunks: Iterable[tuple[Tensor, Tensor]], *, classes: int, renormalise: bool = False) -> ClassMeans:
    """The prototypes of classes: ``P_c = mean of x / ‖x‖`` over the rows of class c.

    The rows are scaled to length one. The means are not, unless ``renormalise`` says so: ‖P_c‖ < 1 says how much a class agrees
    with itself. Encode images that are not augmented. In memory are one chunk and [c, d] sums in float64, so the order of the
    chunks matters to the last digit only. A row of zeros has no direction: it adds nothing but counts.

    Source:
        BCT (Shen et al. 2020, arXiv 2003.11942) and those who follow it.

    Args:
        chunks: Embeddings [n, d] and labels [n], in any number of chunks.
        classes: c.
        renormalise: Scale the means to length one.

    Returns:
        The means, on the device of the first chunk.

    Raises:
        InvalidInput: There are no chunks, they do not fit together, labels are no integers in 0 … classes − 1, or there is NaN or
            infinity.

    Examples:
        >>> found = class_means([(torch.eye(2), torch.tensor([0, 0])), (3 * torch.eye(2)[:1], torch.tensor([2]))], classes=3)
        >>> found.means.tolist(), found.counts.tolist(), found.present.tolist()
        ([[0.5, 0.5], [0.0, 0.0], [1.0, 0.0]], [2, 0, 1], [True, False, True])
    """
    sums: Tensor | None = None
    counts = torch.zeros(classes, dtype=torch.long)
    for embeddings, labels in chunks:
        if sums is None:
            sums = embeddings.new_zeros((classes, embeddings.shape[-1]), dtype=torch.float64)
            counts = counts.to(sums.device)
        _check_chunk(embeddings, labels, sums)
        sums.index_add_(0, labels, F.normalize(embeddings.detach().double(), dim=1))
        counts += torch.bincount(labels, minlength=classes)
    if sums is None:
        raise InvalidInput("class means: expected at least one chunk of embeddings and labels, came none")
    means = sums / counts.clamp(min=1)[:, None]
    return ClassMeans((F.normalize(means, dim=1) if renormalise else means).float(), counts)


def _check_chunk(embeddings: Tensor, labels: Tensor, sums: Tensor) -> None:
    classes, dim = sums.shape
    if embeddings.ndim != 2 or embeddings.shape[1] != dim or labels.shape != embeddings.shape[:1]:
        raise InvalidInput(
            f"class means: expected embeddings [n, {dim}] with labels [n], came {list(embeddings.shape)} with "
            f"{list(labels.shape)}"
        )
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise InvalidInput(f"class means: labels are integers, came {labels.dtype}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InvalidInput(
            f"class means: expected labels in 0 … {classes - 1}, came {int(labels.min())} … {int(labels.max())}"
        )
    if not embeddings.isfinite().all():
        raise InvalidInput("class means: the embeddings hold NaN or infinity")


def resolve_unseen(
    prototypes: Tensor, known: Tensor, unseen: Unseen, new: ClassMeans | None = None
) -> tuple[Tensor, Tensor]:
    """Apply the policy for classes that the old model does not know.

    A prototype of zeros, which is a class without rows, is never used.

    Args:
        prototypes: Of the old model [c, d].
        known: The classes that it was trained on [c].
        unseen: The policy.
        new: Class means of the new model, comparable with the old ones, for ``using_new``. While there are none, as at the start
            of a training, and for classes without rows, ``using_new`` is ``null``.

    Returns:
        Prototypes [c, d] as a loss uses them, and which of them it uses [c].

    Raises:
        SettingsError: There is no such policy.

    Examples:
        >>> p, known = torch.eye(2), torch.tensor([True, False])
        >>> resolve_unseen(p, known, "null")[1].tolist(), resolve_unseen(p, known, "using_old")[1].tolist()
        ([True, False], [True, True])
        >>> resolve_unseen(p, known, "using_new", ClassMeans(-p, torch.ones(2)))[0].tolist()
        [[1.0, 0.0], [-0.0, -1.0]]
    """
    if unseen not in ("using_old", "null", "using_new"):
        raise SettingsError(f"classes that the old model does not know: using_old, null or using_new, came {unseen!r}")
    usable = torch.ones_like(known) if unseen == "using_old" else known
    if unseen == "using_new" and new is not None:
        prototypes = torch.where(known[:, None], prototypes, new.means.to(prototypes))
        usable = known | new.present.to(known.device)
    return prototypes, usable & (prototypes != 0).any(dim=1)


def nearest(
    queries: Tensor, gallery: Tensor, k: int, *, allowed: Tensor, own: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the k nearest gallery rows of each query, by dot product.

    Args:
        queries: Rows [q, d].
        gallery: Rows [c, d].
        k: How many; lowered to c.
        allowed: Which gallery rows may be neighbours [c].
        own: The gallery row that each query is itself [q], which is left out.

    Returns:
        Dot products and rows [q, k]. Where a query has fewer neighbours, those left over have the dot product 0.

    Examples:
        >>> rows = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> scores, found = nearest(rows, rows, 1, allowed=torch.ones(3, dtype=torch.bool), own=torch.arange(3))
        >>> found[:, 0].tolist(), [round(s, 6) for s in scores[:, 0].tolist()]
        ([1, 0, 1], [0.8, 0.8, 0.6])
    """
    scores = (queries @ gallery.T).masked_fill(~allowed, float("-inf"))
    if own is not None:
        scores = scores.scatter(1, own[:, None], float("-inf"))
    best, rows = scores.topk(min(k, len(gallery)), dim=1)
    return best.masked_fill(best == float("-inf"), 0.0), rows
