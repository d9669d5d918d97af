"""RACT (Hot-refresh): each new embedding finds its old one among the nearest wrong ones, old and new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified
from embridge.training.objectives.requirements import needed_embeddings, needed_old
from embridge.training.objectives.settings import Count, NotNegative, Positive, Settings

__all__ = ["RACT", "RACTSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RACTSettings(Settings):
    """Settings of `RACT`.

    Attributes:
        temperature: τ.
        negatives: How many of the nearest rows of other classes each sum is over, or as many as there are.
        weight: Of the second term.
        scale: s, of the logits of the new classifier.

    Examples:
        >>> RACTSettings().negatives
        10
    """

    temperature: Positive = 0.01
    negatives: Count = 10
    weight: NotNegative = 1.0
    scale: Positive = 1.0


class RACT(Classified):
    """Let each new embedding find its old one among the nearest wrong ones.

    ``CE(s · W φ, y) + weight · mean_i log(1 + Σ_j e^{⟨n_i, o_j − o_i⟩/τ} + Σ_j e^{⟨n_i, n_j − o_i⟩/τ})``. n and o are the new and
    the old embeddings of the batch, unit rows. Each sum is over the rows j of other classes that are nearest to n_i. The new
    ones among them keep a hot refresh of the gallery from making answers worse on its way. In a batch of one class the second
    term is zero.

    Source:
        Zhang et al., "Hot-refresh model upgrades with regression-alleviating compatible training in image retrieval", ICLR
        2022 (arXiv 2201.09724).

    Args:
        old: The old model, with its embeddings of all training rows, of known classes or not.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.

    Raises:
        InvalidInput: There is no old model, it lacks its embeddings, or it is of other classes.

    Examples:
        >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
        >>> terms = RACT(old, 2)(3 * torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
        >>> bool(terms["compatibility"] < 1e-6)
        True
    """

    paper: ClassVar[str] = (
        "Zhang et al., Hot-refresh model upgrades with regression-alleviating compatible training in image retrieval, "
        "ICLR 2022, arXiv 2201.09724"
    )
    row_terms = frozenset({"compatibility"})
    old_embeddings: Tensor

    def __init__(self, old: OldModel | None, classes: int, settings: RACTSettings | None = None) -> None:
        settings = settings or RACTSettings()
        old = needed_old("ract", old, classes)
        super().__init__("ract", old, classes, scale=settings.scale)
        self.temperature, self.negatives, self.weight = settings.temperature, settings.negatives, settings.weight
        self.register_buffer("old_embeddings", needed_embeddings("ract", old), persistent=False)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        new, old = unit_rows(embeddings), self.old_embeddings[index]
        same = labels[:, None] == labels[None, :]
        logits = torch.cat(
            [(new * old).sum(1, keepdim=True), self._nearest(new, old, same), self._nearest(new, new, same)], 1
        )
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * F.cross_entropy(logits / self.temperature, torch.zeros_like(labels)),
        }

    def _nearest(self, new: Tensor, others: Tensor, same: Tensor) -> Tensor:
        """The cosines to the nearest rows of other classes [b, ≤ negatives]; −∞ where there are fewer."""
        cosines = (new @ others.T).masked_fill(same, float("-inf"))
        return cosines.topk(min(self.negatives, len(others)), dim=1).values
