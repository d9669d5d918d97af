"""BC-Aligner: the map back into the old space is linear and is learnt along with the new model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from embridge.adapters.base import Adapter
from embridge.adapters.linear import Linear
from embridge.backbones.embedding import unit_rows
from embridge.errors import InvalidInput
from embridge.space import Space
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified
from embridge.training.objectives.requirements import needed_embeddings, needed_old
from embridge.training.objectives.settings import Count, NotNegative, Positive, Settings

__all__ = ["BCAligner", "BCAlignerSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BCAlignerSettings(Settings):
    """Settings of `BCAligner`.

    Attributes:
        dim: Of the new embeddings; the old model's where it is left out.
        weight: λ, of the error.
        scale: s, of the logits of the new classifier.

    Examples:
        >>> BCAlignerSettings(dim=64).weight
        16.0
    """

    objective: ClassVar[str] = "bc-aligner"

    dim: Count | None = None
    weight: NotNegative = 16.0
    scale: Positive = 1.0


class BCAligner(Classified):
    """Learn a linear map back into the old space along with the new model.

    ``CE(s · W φ, y) + λ · mean ‖B φ̂ − φ̂_o‖²``, B [d_old, d_new] without a bias: the bridge. The new embeddings are free to
    turn; they have only to be such that a linear map makes the old ones of them. Prototypes are not used.

    Over several upgrades the bridges are composed, ``Composed([newest, …, first])``. With ``earlier`` the error is also counted
    as the bridges of the steps before pass it on: ``λ / k · Σ_j mean ‖(B φ̂ − φ̂_o) B_1 … B_j‖²``, the mean over all k steps.

    Source:
        Hu et al., "Learning backward compatible embeddings", KDD 2022 (arXiv 2206.03040).

    Deviation:
        Both embeddings are of length one, as an index that compares by cosine has them. The squared error is summed over the
        coordinates. A mean over them too, as in the authors' code, would fade with the dim; it is d_old times less.

    Args:
        old: The old model, with its embeddings of all training rows.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.
        earlier: The bridges of the steps before this one, newest first.

    Raises:
        InvalidInput: There is no old model, it lacks its embeddings, it is of other classes, it is longer than the new dim, or an
            earlier bridge does not follow.

    Examples:
        >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
        >>> objective = BCAligner(old, 2, BCAlignerSettings(dim=3))
        >>> objective.bridge(Space("new", "1", 3), Space("old", "1", 2)).weight.shape
        (3, 2)
    """

    paper: ClassVar[str] = "Hu et al., Learning backward compatible embeddings, KDD 2022, arXiv 2206.03040"
    row_terms = frozenset({"compatibility"})
    old_embeddings: Tensor

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        settings: BCAlignerSettings | None = None,
        *,
        earlier: Sequence[Linear] = (),
    ) -> None:
        settings = settings or BCAlignerSettings()
        old = needed_old("bc-aligner", old, classes)
        super().__init__("bc-aligner", old, classes, scale=settings.scale, dim=settings.dim)
        self.weight, self.steps = settings.weight, len(earlier) + 1
        self.backward_map = nn.Linear(self.embedding_dim, self.old_dim, bias=False)
        self.register_buffer("old_embeddings", needed_embeddings("bc-aligner", old), persistent=False)
        dim_before = self.old_dim
        for i, step in enumerate(earlier):
            if step.source.dim != dim_before or step.bias is not None:
                raise InvalidInput(f"bc-aligner: earlier[{i}] has to be linear, without a bias, from {dim_before} dims")
            self.register_buffer(f"earlier_{i}", torch.from_numpy(step.weight.copy()))
            dim_before = step.target.dim

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        error = self.backward_map(unit_rows(embeddings)) - self.old_embeddings[index]
        squared = error.square().sum(1)
        for i in range(self.steps - 1):
            error = error @ self.get_buffer(f"earlier_{i}")
            squared = squared + error.square().sum(1)
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight / self.steps * squared.mean(),
        }

    def comparable(self, embeddings: Tensor) -> Tensor:
        return unit_rows(self.backward_map(unit_rows(embeddings)))

    def bridge(self, new: Space, old: Space) -> Adapter:
        """B as a numpy adapter; its rows point where those of `comparable` do, and are not of length one."""
        weight = self.backward_map.weight.detach().float().cpu().numpy()
        return Linear(new, old, np.ascontiguousarray(weight.T))
