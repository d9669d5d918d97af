"""LCE: the new classifier stands on the old class centres, and the new classes stay within the old ones' bounds."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified, mean_over, unit
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import (
    check_settings,
    classes_taken,
    needed_embeddings,
    needed_labels,
    needed_old,
)

__all__ = ["LCE", "least_cosines"]


class LCE(Classified):
    """``CE(s · W φ, y) + a · mean_c ‖ŵ_c − p_c‖² + b · mean_i max(m_y − cos(φ_i, p_y), 0)``.

    Meng et al., "Learning compatible embeddings", ICCV 2021 (arXiv 2108.01958), without its transformation of the old
    space: w_c are the rows of the classifier, p_c the old prototypes, both of length one, and m_c the least cosine of an old
    embedding of class c to p_c, so that a class becomes no wider than it was. alignment_weight: a, 100; boundary_weight: b.

    labels [n]: the classes of the training rows, from which m_c is computed with their old embeddings. unseen: classes
    that the old model was not trained on are taken as all others (``using_old``) or left out of both terms (``null``).
    ``Deviation:`` the second mean is over all rows, as a hinge's, and in the cosine, whose gradient stays finite where an
    angle's does not. A class without training rows has no bound.

    >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
    >>> terms = LCE(old, 2, labels=torch.tensor([0, 1]))(3 * torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    >>> terms["boundary"].item(), sorted(terms)
    (0.0, ['alignment', 'boundary', 'classification'])
    """

    paper: ClassVar[str] = "Meng et al., Learning compatible embeddings, ICCV 2021, arXiv 2108.01958"

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        labels: Tensor,
        alignment_weight: float = 100.0,
        boundary_weight: float = 1.0,
        unseen: Unseen = "using_old",
        scale: float = 1.0,
    ) -> None:
        check_settings("lce", "0 or more", alignment_weight=alignment_weight, boundary_weight=boundary_weight)
        old, embeddings = needed_old("lce", old), needed_embeddings("lce", old)
        super().__init__("lce", old, classes, scale=scale)
        labels, prototypes = needed_labels("lce", old, labels), F.normalize(old.prototypes, dim=1)
        self.alignment_weight, self.boundary_weight = alignment_weight, boundary_weight
        self.taken: Tensor
        self.prototypes: Tensor
        self.least: Tensor
        self.register_buffer("taken", classes_taken("lce", old, unseen))
        self.register_buffer("prototypes", prototypes)
        self.register_buffer("least", least_cosines(embeddings, labels, prototypes))

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        distances = (unit(self.classifier.weight) - self.prototypes).square().sum(1)
        cosines = (unit(embeddings) * self.prototypes[labels]).sum(1)
        outside = (self.least[labels] - cosines).clamp_min(0)
        return {
            "classification": self.classification(embeddings, labels),
            "alignment": self.alignment_weight * mean_over(distances, self.taken),
            "boundary": self.boundary_weight * mean_over(outside, self.taken[labels]),
        }


def least_cosines(embeddings: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
    """The least cosine [c] of the unit embeddings [n, d] of each class to its unit prototype [c, d]; −1 without rows.

    >>> least_cosines(torch.eye(2)[[0, 0, 1]], torch.tensor([0, 0, 0]), torch.eye(2)).tolist()
    [0.0, -1.0]
    """
    cosines = (embeddings * prototypes[labels]).sum(1)
    least = torch.full((len(prototypes),), float("inf"), dtype=cosines.dtype, device=cosines.device)
    least = least.scatter_reduce(0, labels, cosines, "amin")
    return least.masked_fill(least.isinf(), -1)
