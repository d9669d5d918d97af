"""BC-Aligner: the map back into the old space is linear and is learnt along with the new model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from embridge.adapters.base import Adapter
from embridge.adapters.linear import Linear
from embridge.errors import InvalidInput
from embridge.space import Space
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified, unit
from embridge.training.objectives.requirements import check_settings, needed_embeddings

__all__ = ["BCAligner"]


class BCAligner(Classified):
    """``CE(s · W φ, y) + λ · mean ‖B φ̂ − φ̂_o‖²``, B [d_old, d_new] without a bias: the bridge.

    Hu et al., "Learning backward compatible embeddings", KDD 2022 (arXiv 2206.03040). The new embeddings are free to turn;
    they have only to be such that a linear map makes the old ones of them. Over several upgrades the bridges are composed,
    ``Composed([newest, …, first])``; with ``earlier``, the bridges of the steps before this one, newest first, the error is
    also counted as they pass it on, the mean over all steps: ``λ / k · Σ_j mean ‖(B φ̂ − φ̂_o) B_1 … B_j‖²``.

    dim: of the new embeddings, the old model's by default. weight: λ, 16. Needs the old embeddings of all training rows;
    asks nothing of prototypes. ``Deviation:`` both embeddings are of length one, as an index that compares by cosine has
    them, and the squared error is summed over the coordinates, not averaged, which would fade with the dim.

    >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
    >>> objective = BCAligner(old, 2, dim=3)
    >>> objective.bridge(Space("new", "1", 3), Space("old", "1", 2)).weight.shape
    (3, 2)
    """

    paper: ClassVar[str] = "Hu et al., Learning backward compatible embeddings, KDD 2022, arXiv 2206.03040"

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        dim: int | None = None,
        weight: float = 16.0,
        earlier: Sequence[Linear] = (),
        scale: float = 1.0,
    ) -> None:
        check_settings("bc-aligner", "0 or more", weight=weight)
        embeddings = needed_embeddings("bc-aligner", old)
        super().__init__("bc-aligner", old, classes, scale=scale, dim=dim)
        self.weight, self.steps = weight, len(earlier) + 1
        self.backward_map = nn.Linear(self.embedding_dim, self.old_dim, bias=False)
        self.old_embeddings: Tensor
        self.register_buffer("old_embeddings", embeddings, persistent=False)
        dim_before = self.old_dim
        for i, step in enumerate(earlier):
            if step.source.dim != dim_before or step.bias is not None:
                raise InvalidInput(f"bc-aligner: earlier[{i}] has to be linear, without a bias, from {dim_before} dims")
            self.register_buffer(f"earlier_{i}", torch.from_numpy(step.weight.copy()))
            dim_before = step.target.dim

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        error = self.backward_map(unit(embeddings)) - self.old_embeddings[index]
        squared = error.square().sum(1)
        for i in range(self.steps - 1):
            error = error @ self.get_buffer(f"earlier_{i}")
            squared = squared + error.square().sum(1)
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight / self.steps * squared.mean(),
        }

    def comparable(self, embeddings: Tensor) -> Tensor:
        return unit(self.backward_map(unit(embeddings)))

    def bridge(self, new: Space, old: Space) -> Adapter:
        """B as a numpy adapter; its rows point where those of `comparable` do, and are not of length one."""
        weight = self.backward_map.weight.detach().float().cpu().numpy()
        return Linear(new, old, np.ascontiguousarray(weight.T))
