"""L2: every new embedding is drawn to the old one of the same image."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified, unit
from embridge.training.objectives.requirements import check_settings, needed_embeddings

__all__ = ["L2"]


class L2(Classified):
    """``CE(s · W φ, y) + weight · mean ‖φ̂ − φ̂_o‖²``.

    The plainest rival, in the comparisons of Shen et al., CVPR 2020 (arXiv 2003.11942), and of those after it: it takes
    over what the old model mistakes along with what it knows. Needs the old embeddings of all training rows, whether the
    old model knows their classes or not; asks for no prototype and no label in its second term. ``Deviation:`` both rows
    are of length one, so that the term is 2 − 2 cos: an index that compares by cosine keeps no lengths.

    >>> import torch
    >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
    >>> terms = L2(old, 2)(3 * torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    >>> terms["compatibility"].item()
    0.0
    """

    paper: ClassVar[str] = (
        "Shen et al., Towards backward-compatible representation learning, CVPR 2020, arXiv 2003.11942"
    )

    def __init__(self, old: OldModel | None, classes: int, *, weight: float = 1.0, scale: float = 1.0) -> None:
        check_settings("l2", "0 or more", weight=weight)
        embeddings = needed_embeddings("l2", old)
        super().__init__("l2", old, classes, scale=scale)
        self.weight = weight
        self.old_embeddings: Tensor
        self.register_buffer("old_embeddings", embeddings, persistent=False)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        distances = (unit(embeddings) - self.old_embeddings[index]).square().sum(1)
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * distances.mean(),
        }
