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
"""Embeds the training set with the model as it now is. It gives embeddings [n, embedding_dim] and labels [n], row i those of
training row i, without gradients, from images that are not augmented. For an objective whose ``refresh_share`` is below 1 it
may give that share of the rows of each class, or more, in their order; row i is not training row i then."""


@dataclass(frozen=True, slots=True, eq=False)
class OldModel:
    """What a training uses of an old model, which runs once, before it.

    Attributes:
        prototypes: The mean unit vector of each class [c, d_old]; see `class_means`.
        known: Whether the old model was trained on each class [c].
        embeddings: Its unit vectors of the training rows [n, d_old], in their order, for objectives that use them one by one.
        classifier: The weights of its classifier [c, d_old]; rows of classes that it does not know are ignored.
        ancestors: The versions before it, the oldest first, whose vectors are at the front of its own, for objectives that hold a
            new model to all of them. They are of the same classes and training rows.

    Raises:
        InvalidInput: Shapes do not fit together, something is not finite, or the ancestors' dims fall.

    Examples:
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
        """d_old."""
        return self.prototypes.shape[1]


class Objective(nn.Module, ABC):
    """A loss over the features of a backbone, with the heads that it trains beside it.

    ``objective(features, labels, index)`` gives the terms of the loss by name, weighted: their sum is what is minimised. features
    are [b, feature_dim], labels [b] in 0 … c − 1, and index [b] says which training rows these are.

    Tensors that are no parameters but decide the loss are buffers, so that they move with the module. What has a row for each
    class is saved with it. What has one for each training row is data (``persistent=False``), given again when the objective is
    made again. Two objectives that are made alike and hold the same state give the same loss.

    Every objective of this package is made in one way: ``Name(old, classes, NameSettings(...))``, with what it needs of the data
    behind (``labels=``, ``paragon=``). `embridge.testing.check_objective` checks one of your own.

    Attributes:
        feature_dim: How many dims the backbone has to give.
        embedding_dim: Of what `embed` makes: it is written to the index and queried with.
        old_dim: Of the old model.
        refresh_share: How much of the training set `begin_epoch` embeds; see `Embedded`.
        task_terms: Names of the terms that a model without an old one has too; all others are for compatibility.
        row_terms: Names of the terms that hold each item to its own old vector.
        paper: Where the loss comes from.

    Raises:
        InvalidInput: The old dim is not in 1 … embedding_dim.

    Examples:
        >>> class Plain(Objective):
        ...     paper = "none"
        ...     def embed(self, features):
        ...         return features
        ...     def forward(self, features, labels, index):
        ...         return {"length": features.square().sum(1).mean()}
        >>> objective = Plain(feature_dim=3, embedding_dim=3, old_dim=2)
        >>> objective.comparable(torch.tensor([[3.0, 4.0, 7.0]])).mul(10).round().tolist()
        [[6.0, 8.0]]
    """

    paper: ClassVar[str]
    refresh_share: float = 1.0
    task_terms: frozenset[str] = frozenset({"classification"})
    row_terms: frozenset[str] = frozenset()

    def __init__(self, *, feature_dim: int, embedding_dim: int, old_dim: int) -> None:
        super().__init__()
        if not 0 < old_dim <= embedding_dim:
            raise InvalidInput(f"expected 0 < old_dim <= embedding_dim, came {old_dim} and {embedding_dim}")
        self.feature_dim, self.embedding_dim, self.old_dim = feature_dim, embedding_dim, old_dim

    @abstractmethod
    def embed(self, features: Tensor) -> Tensor:
        """Features [b, feature_dim] to the embeddings of the new model [b, embedding_dim]."""

    def embedding(self) -> Embedding:
        """What `embed` does, as it now is, for a model that is saved. By default, the features themselves."""
        return AsGiven()

    @abstractmethod
    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]: ...

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        """Refresh what has to be, before each epoch, counted from 0.

        Args:
            epoch: The epoch that begins.
            epochs: How many there are.
            embedded: Costs a pass over ``refresh_share`` of the data.
        """

    def comparable(self, embeddings: Tensor) -> Tensor:
        """New embeddings [b, embedding_dim] to unit rows beside the old model's [b, old_dim]: the torch twin of `bridge`."""
        return F.normalize(embeddings[:, : self.old_dim], dim=1)

    def bridge(self, new: Space, old: Space) -> Adapter:
        """What makes new embeddings comparable with the old rows: their first old_dim coordinates."""
        return Prefix(new, old)
