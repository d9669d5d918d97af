"""Perturbed: objectives that align not to the old prototypes, but to prototypes moved apart from one another."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified, unit
from embridge.training.objectives.prototype_loss import PrototypeLoss
from embridge.training.objectives.prototypes import ClassMeans, Unseen, class_means
from embridge.training.objectives.requirements import check_settings, needed_old

__all__ = ["Perturbed"]

_REFRESHED = 0.25


class Perturbed(Classified):
    """``CE(s · W φ, y) + weight · CE(logits, y)``, logits_k = φ̂·p_k / T for k ≠ y, logit_y = φ̂·p̂_y / T.

    Zhou et al. 2025 (arXiv 2503.14824), section 3: p are the old prototypes as unit rows, p̂ [c, d_old] the same moved apart
    by `move`, before the first epoch by the old prototypes alone, before each later one also by q, the unit class means of
    the new model's embeddings as they then are. ema: how much of the previous q stays, q ← L2(ema · q + (1 − ema) · q_now).
    **CHOICE** q is renewed before every epoch, from a quarter of the rows of each class (``refresh_share``), since a pass
    over all of them takes long beside an epoch's steps. Before `begin_epoch` was called, p̂ is p.
    """

    moved: Tensor
    new_prototypes: Tensor

    def __init__(
        self,
        name: str,
        old: OldModel | None,
        classes: int,
        *,
        temperature: float,
        weight: float,
        ema: float,
        unseen: Unseen,
        scale: float,
    ) -> None:
        check_settings(name, "0 or more", weight=weight)
        check_settings(name, "above 0", temperature=temperature)
        check_settings(name, "at least 0 and below 1", ema=ema)
        old = needed_old(name, old)
        super().__init__(name, old, classes, scale=scale)
        self.weight, self.ema, self.refresh_share = weight, ema, _REFRESHED
        old = replace(old, prototypes=unit(old.prototypes))
        self.to_old = PrototypeLoss(name, old, classes, scale=1 / temperature, unseen=unseen)
        self.register_buffer("moved", self.to_old.prototypes.clone())
        self.register_buffer("new_prototypes", torch.zeros_like(self.moved))

    @abstractmethod
    def move(self, new: Tensor | None, epoch: int) -> Tensor:
        """p̂ [c, d_old], of `to_old` and of q [c, d_old], where there is one; a class without rows is a row of zeros."""

    @torch.no_grad()
    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        if epoch > 0:
            embeddings, labels = embedded()
            found = class_means([(self.comparable(embeddings), labels)], classes=len(self.moved), renormalise=True)
            now = found.means.to(self.new_prototypes)
            first = (self.new_prototypes == 0).all(dim=1, keepdim=True)
            kept = unit(self.ema * self.new_prototypes + (1 - self.ema) * now)
            self.new_prototypes.copy_(torch.where(first, now, kept))
            self.to_old.take(ClassMeans(self.new_prototypes, found.counts))
        self.moved.copy_(self.move(self.new_prototypes if epoch > 0 else None, epoch))

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * self.to_old(unit(embeddings), labels, self.moved),
        }
