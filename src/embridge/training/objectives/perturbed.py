"""Perturbed: objectives that align not to the old prototypes, but to prototypes moved apart from one another."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified
from embridge.training.objectives.perturbation import Prototypes
from embridge.training.objectives.prototype_loss import PrototypeLoss
from embridge.training.objectives.prototypes import ClassMeans, Unseen, class_means
from embridge.training.objectives.requirements import needed_old
from embridge.training.objectives.settings import BelowOne, NotNegative, Positive, Settings

__all__ = ["Perturbed", "PerturbedSettings"]

_REFRESHED = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbedSettings(Settings):
    """Settings that `NDPP` and `ODPP` share.

    Attributes:
        temperature: T, of the second term's logits.
        weight: Of the second term.
        ema: How much of the previous new prototypes stays: q ← L2(ema · q + (1 − ema) · q_now).
        unseen: What stands for classes that the old model does not know; see `resolve_unseen`.
        scale: s, of the logits of the new classifier.

    Examples:
        >>> PerturbedSettings().temperature
        0.07
    """

    temperature: Positive = 0.07
    weight: NotNegative = 1.0
    ema: BelowOne = 0.0
    unseen: Unseen = "using_old"
    scale: Positive = 1.0


class Perturbed(Classified):
    """Classify new embeddings by old prototypes of which a row's own is moved.

    ``CE(s · W φ, y) + weight · CE(logits, y)``, logits_k = φ̂·p_k / T for k ≠ y, logit_y = φ̂·p̂_y / T. p are the old
    prototypes as unit rows and p̂ [c, d_old] the same moved apart by `move`: before the first epoch by the old prototypes
    alone, before each later one also by q, the unit class means of the new model's embeddings as they then are. Before
    `begin_epoch` was called, p̂ is p. No old embedding is needed.

    Source:
        Zhou, Sun et al., "Prototype perturbation for relaxing alignment constraints in backward-compatible learning", 2025
        (arXiv 2503.14824), as we read the authors' code. **CHOICE** q is renewed before every epoch, from a quarter of the rows
        of each class (``refresh_share``), since a pass over all of them takes long beside an epoch's steps.

    Args:
        name: How errors call the objective.
        old: The old model.
        classes: How many classes the new model is trained on.
        settings: Those of the member.

    Raises:
        InvalidInput: There is no old model, or it is of other classes.

    Examples:
        >>> class Still(Perturbed):
        ...     def move(self, prototypes, epoch):
        ...         return prototypes.old
        >>> old = OldModel(torch.eye(3), torch.ones(3, dtype=torch.bool))
        >>> Still("still", old, 3, PerturbedSettings()).refresh_share
        0.25
    """

    moved: Tensor
    new_prototypes: Tensor

    def __init__(self, name: str, old: OldModel | None, classes: int, settings: PerturbedSettings) -> None:
        old = needed_old(name, old, classes)
        super().__init__(name, old, classes, scale=settings.scale)
        self.weight, self.ema, self.refresh_share = settings.weight, settings.ema, _REFRESHED
        old = replace(old, prototypes=unit_rows(old.prototypes))
        self.to_old = PrototypeLoss(name, old, scale=1 / settings.temperature, unseen=settings.unseen)
        self.register_buffer("moved", self.to_old.prototypes.clone())
        self.register_buffer("new_prototypes", torch.zeros_like(self.moved))

    @abstractmethod
    def move(self, prototypes: Prototypes, epoch: int) -> Tensor:
        """p̂ [c, d_old], of the prototypes as they are before this epoch."""

    @torch.no_grad()
    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        if epoch > 0:
            self._renew(embedded)
        new = self.new_prototypes if epoch > 0 else None
        self.moved.copy_(self.move(Prototypes(self.to_old.prototypes, new, self.to_old.usable), epoch))

    def _renew(self, embedded: Embedded) -> None:
        """q, of the embeddings as they now are."""
        embeddings, labels = embedded()
        found = class_means([(self.comparable(embeddings), labels)], classes=len(self.moved), renormalise=True)
        now = found.means.to(self.new_prototypes)
        first = (self.new_prototypes == 0).all(dim=1, keepdim=True)
        averaged = unit_rows(self.ema * self.new_prototypes + (1 - self.ema) * now)
        self.new_prototypes.copy_(torch.where(first, now, averaged))
        self.to_old.take(ClassMeans(self.new_prototypes, found.counts))

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * self.to_old(unit_rows(embeddings), labels, self.moved),
        }
