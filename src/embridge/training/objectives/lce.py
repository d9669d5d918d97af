"""LCE: the new classifier stands on the old class centres, and the new classes stay within the old ones' bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified, mean_over
from embridge.training.objectives.prototypes import OldUnseen, resolve_unseen
from embridge.training.objectives.requirements import needed_embeddings, needed_labels, needed_old
from embridge.training.objectives.settings import NotNegative, Positive, Settings

__all__ = ["LCE", "LCESettings", "least_cosines"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LCESettings(Settings):
    """Settings of `LCE`.

    Attributes:
        alignment_weight: a, of the squared distance between classifier and prototypes, a mean over coordinates.
        boundary_weight: b, of what lies outside the bounds.
        unseen: Classes that the old model does not know are treated as all others (``using_old``) or left out of both terms
            (``null``).
        scale: s, of the logits of the new classifier.

    Examples:
        >>> LCESettings().alignment_weight
        100.0
    """

    alignment_weight: NotNegative = 100.0
    boundary_weight: NotNegative = 1.0
    unseen: OldUnseen = "using_old"
    scale: Positive = 1.0


class LCE(Classified):
    """Put the new classifier on the old class centres, and keep classes no wider than they were.

    ``CE(s · W φ, y) + a · mean_{c,k} (ŵ_ck − p_ck)² + b · mean_i max(m_y − cos(φ_i, p_y), 0)``. w_c are the rows of the
    classifier and p_c the old prototypes, both of length one; the mean is over the classes c and the coordinates k. m_c is the
    least cosine of an old embedding of class c to p_c. A class without training rows has no bound.

    Source:
        Meng et al., "Learning compatible embeddings", ICCV 2021 (arXiv 2108.01958), without its transformation of the old space.

    Deviation:
        The second mean is over all rows, as a hinge's, and is of cosines, whose gradient stays finite where an angle's does not.

    Args:
        old: The old model, with its embeddings of all training rows.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.
        labels: The classes of the training rows [n], from which m is computed.

    Raises:
        InvalidInput: There is no old model, it lacks its embeddings, it is of other classes, or the labels do not fit.

    Examples:
        >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
        >>> objective = LCE(old, 2, labels=torch.tensor([0, 1]))
        >>> terms = objective(3 * torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
        >>> terms["boundary"].item(), sorted(terms)
        (0.0, ['alignment', 'boundary', 'classification'])
    """

    paper: ClassVar[str] = "Meng et al., Learning compatible embeddings, ICCV 2021, arXiv 2108.01958"
    usable: Tensor
    prototypes: Tensor
    least: Tensor

    def __init__(
        self, old: OldModel | None, classes: int, settings: LCESettings | None = None, *, labels: Tensor
    ) -> None:
        settings = settings or LCESettings()
        old = needed_old("lce", old, classes)
        embeddings = needed_embeddings("lce", old)
        super().__init__("lce", old, classes, scale=settings.scale)
        labels, prototypes = needed_labels("lce", old, labels), F.normalize(old.prototypes, dim=1)
        self.alignment_weight, self.boundary_weight = settings.alignment_weight, settings.boundary_weight
        self.register_buffer("usable", resolve_unseen(old.prototypes, old.known, settings.unseen)[1])
        self.register_buffer("prototypes", prototypes)
        self.register_buffer("least", least_cosines(embeddings, labels, prototypes))

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        distances = (unit_rows(self.classifier.weight) - self.prototypes).square().mean(1)
        cosines = (unit_rows(embeddings) * self.prototypes[labels]).sum(1)
        outside = (self.least[labels] - cosines).clamp_min(0)
        return {
            "classification": self.classification(embeddings, labels),
            "alignment": self.alignment_weight * mean_over(distances, self.usable),
            "boundary": self.boundary_weight * mean_over(outside, self.usable[labels]),
        }


def least_cosines(embeddings: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
    """Find how far each class reaches from its prototype.

    Args:
        embeddings: Unit rows [n, d].
        labels: Their classes [n].
        prototypes: Unit rows [c, d].

    Returns:
        The least cosine [c] of a row of each class to its prototype; −1 without rows.

    Examples:
        >>> least_cosines(torch.eye(2)[[0, 0, 1]], torch.tensor([0, 0, 0]), torch.eye(2)).tolist()
        [0.0, -1.0]
    """
    cosines = (embeddings * prototypes[labels]).sum(1)
    least = torch.full((len(prototypes),), float("inf"), dtype=cosines.dtype, device=cosines.device)
    least = least.scatter_reduce(0, labels, cosines, "amin")
    return least.masked_fill(least.isinf(), -1)
