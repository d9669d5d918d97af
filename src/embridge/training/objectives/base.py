"""Objective: a training loss that keeps a new model comparable with an old one, usable in any loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.base import Adapter
from embridge.adapters.prefix import Prefix
from embridge.backbones.embedding import AsGiven, Embedding
from embridge.errors import InvalidInput
from embridge.space import Space

__all__ = ["Embedded", "Objective", "OldModel"]

Embedded = Callable[[], tuple[Tensor, Tensor]]
"""Embeds the whole training set with the model as it now is: embeddings [n, embedding_dim] and labels [n], row i those of
the training row that ``index`` calls i; without gradients, images not augmented. Of an objective whose ``refresh_share`` is
below 1, but above 0, it may be that share of the rows of each class, or more, in their order; i is no ``index`` then."""


@dataclass(frozen=True, slots=True, eq=False)
class OldModel:
    """All that is kept of an old model: it is asked once, before training.

    prototypes [c, d_old]: the mean unit vector of each class, see `prototypes`. known [c]: whether the
    old model was trained on that class. embeddings [n, d_old]: its unit vectors of the training rows, in their order,
    for objectives that use them one by one. classifier [c, d_old]: the weights of its classifier; rows of classes that it
    does not know are ignored. ancestors: the versions before it, the oldest first, whose vectors are at the front of its own,
    for objectives that hold a new model to all of them; of the same classes and training rows.

    Raises `InvalidInput` for other shapes, for what is not finite, and for ancestors whose dims fall.

    >>> OldModel(torch.eye(3, 2), torch.tensor([True, True, False])).dim
    2
    """

    prototypes: Tensor
    known: Tensor
    embeddings: Tensor | None = None
    classifier: Tensor | None = None
    ancestors: Sequence[OldModel] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ancestors", tuple(self.ancestors))
        classes = len(self.prototypes)
        if self.known.shape != (classes,) or self.known.dtype != torch.bool:
            raise InvalidInput(
                f"old model: {classes} prototypes need known as {classes} booleans, came {self.known.dtype} of shape "
                f"{tuple(self.known.shape)}"
            )
        if self.classifier is not None and self.classifier.shape != self.prototypes.shape:
            raise InvalidInput(
                f"old model: the classifier is of shape {tuple(self.classifier.shape)}, the prototypes of "
                f"{tuple(self.prototypes.shape)}; give one row a class"
            )
        for what in ("prototypes", "embeddings", "classifier"):
            rows = getattr(self, what)
            if rows is not None and (rows.ndim != 2 or rows.shape[1] != self.dim or not rows.isfinite().all()):
                raise InvalidInput(f"old model: {what} are finite rows [n, {self.dim}], came {tuple(rows.shape)}")
        self._check_ancestors()

    def _check_ancestors(self) -> None:
        versions = (*self.ancestors, self)
        dims = [version.dim for version in versions]
        if dims != sorted(dims):
            raise InvalidInput(
                "old model: each version's vectors are at the front of the next one's, so ancestors come oldest first and their "
                f"dims do not fall; came {dims}, the last of the old model"
            )
        classes = {len(version.prototypes) for version in versions}
        rows = {len(version.embeddings) for version in versions if version.embeddings is not None}
        for what, counts in (
            ("prototypes of the same classes", classes),
            ("embeddings of the same training rows", rows),
        ):
            if len(counts) > 1:
                raise InvalidInput(f"old model: its ancestors have {what}, came {sorted(counts)} rows")

    @property
    def dim(self) -> int:
        return self.prototypes.shape[1]


class Objective(nn.Module, ABC):
    """A loss over the features of a backbone, with whatever heads it trains beside it.

    feature_dim: how many dims the backbone has to give. embedding_dim: of what is written to the index and asked with,
    which `embed` makes. old_dim: of the old model. refresh_share: see `Embedded`.
    ``objective(features, labels, index)`` gives the terms of the loss, weighted, so that their sum is what is minimised:
    features [b, feature_dim], labels [b] in 0 … c − 1, index [b] the rows of the training set that these are.

    All tensors that are no parameters but decide the loss are buffers, so that they move with the module. What has a row
    for each class is saved with it; what has one for each training row is data (``persistent=False``), given again when the
    objective is made again. Two objectives that are made alike and hold the same state give the same loss.
    """

    paper: ClassVar[str]
    refresh_share: float = 1.0

    def __init__(self, *, feature_dim: int, embedding_dim: int, old_dim: int) -> None:
        super().__init__()
        if not 0 < old_dim <= embedding_dim:
            raise InvalidInput(f"expected 0 < old_dim <= embedding_dim, came {old_dim} and {embedding_dim}")
        self.feature_dim, self.embedding_dim, self.old_dim = feature_dim, embedding_dim, old_dim

    @abstractmethod
    def embed(self, features: Tensor) -> Tensor:
        """Features [b, feature_dim] to the embeddings of the new model [b, embedding_dim]."""

    def embedding(self) -> Embedding:
        """What `embed` does, as it now is, for a model that is saved: the features themselves, unless overridden."""
        return AsGiven()

    @abstractmethod
    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]: ...

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        """Called before each epoch, counted from 0, for what is refreshed; ``embedded`` costs a pass over ``refresh_share`` of
        the data."""

    def comparable(self, embeddings: Tensor) -> Tensor:
        """New embeddings [b, embedding_dim] to unit rows beside the old model's [b, old_dim]: the torch twin of `bridge`."""
        return F.normalize(embeddings[:, : self.old_dim], dim=1)

    def bridge(self, new: Space, old: Space) -> Adapter:
        """What makes new embeddings comparable with the old rows: their first old_dim coordinates."""
        return Prefix(new, old)
