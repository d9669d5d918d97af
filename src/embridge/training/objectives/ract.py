"""RACT (Hot-refresh): each new embedding finds its old one among the nearest wrong ones, old and new."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified, unit
from embridge.training.objectives.requirements import check_settings, needed_embeddings

__all__ = ["RACT"]


class RACT(Classified):
    """``CE(s · W φ, y) + weight · mean_i log(1 + Σ_j e^{⟨n_i, o_j − o_i⟩/τ} + Σ_j e^{⟨n_i, n_j − o_i⟩/τ})``.

    Zhang et al., "Hot-refresh model upgrades with regression-alleviating compatible training in image retrieval", ICLR
    2022 (arXiv 2201.09724): n and o are the new and the old embeddings of the batch, unit rows; each sum is
    over the ``negatives`` rows j of other classes that are nearest to n_i, or as many as there are. The new ones among them
    keep a hot refresh of the gallery from making answers worse on its way. temperature: τ.

    Needs the old embeddings of all training rows, of classes known to the old model or not. In a batch of one class the
    term is zero: there is nothing to tell apart.

    >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
    >>> terms = RACT(old, 2)(3 * torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    >>> bool(terms["compatibility"] < 1e-6)
    True
    """

    paper: ClassVar[str] = (
        "Zhang et al., Hot-refresh model upgrades with regression-alleviating compatible training in image retrieval, "
        "ICLR 2022, arXiv 2201.09724"
    )

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        temperature: float = 0.01,
        negatives: int = 10,
        weight: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        check_settings("ract", "0 or more", weight=weight)
        check_settings("ract", "above 0", temperature=temperature)
        check_settings("ract", "a whole number of at least 1", negatives=negatives)
        embeddings = needed_embeddings("ract", old)
        super().__init__("ract", old, classes, scale=scale)
        self.temperature, self.negatives, self.weight = temperature, negatives, weight
        self.old_embeddings: Tensor
        self.register_buffer("old_embeddings", embeddings, persistent=False)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        new, old = unit(embeddings), self.old_embeddings[index]
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
