"""MixBCT: some of the new embeddings of a batch are exchanged for the old ones of the same images."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified, rows_by_class, unit
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import (
    check_settings,
    classes_taken,
    needed_embeddings,
    needed_labels,
    needed_old,
)

__all__ = ["MixBCT", "margin_logits", "nearest_share"]

_PRIME = 2**31 - 1


class MixBCT(Classified):
    """``CE(margin_logits(cos(x, W), y), y)``, x being the new embeddings with some old ones in their places.

    Liang et al., "MixBCT: towards self-adapting backward-compatible training" (arXiv 2308.06948): one classifier for rows
    of both models, so that new rows gather where old ones of their class are, and no more than these are gathered. Of
    each batch ``mixed``, .3, of the rows are exchanged, among those that are nearest to their class mean in the old space:
    ``credible``, .9, of each class, since the farthest mislead. Which of them, changes with the epoch and is told by
    ``seed`` and the row's index: the same state gives the same loss. Fewer than wanted are exchanged where fewer may be.

    scale, margin: of the softmax, 64 and .5 as in ArcFace. labels [n]: the classes of the training rows. unseen: old
    embeddings of classes that the old model was not trained on are exchanged as all others (``using_old``), or never
    (``null``). Needs the old embeddings.

    >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
    >>> objective = MixBCT(old, 2, labels=torch.tensor([0, 1]), mixed=1.0)
    >>> features = torch.zeros(2, 2, requires_grad=True)
    >>> sorted(objective(features, torch.tensor([0, 1]), torch.tensor([0, 1])))
    ['classification']
    """

    paper: ClassVar[str] = "Liang et al., MixBCT: towards self-adapting backward-compatible training, arXiv 2308.06948"

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        labels: Tensor,
        mixed: float = 0.3,
        credible: float = 0.9,
        margin: float = 0.5,
        scale: float = 64.0,
        unseen: Unseen = "using_old",
        seed: int = 0,
    ) -> None:
        check_settings("mixbct", "0 to 1", mixed=mixed, credible=credible)
        check_settings("mixbct", "0 or more", margin=margin, seed=seed)
        old, embeddings = needed_old("mixbct", old), needed_embeddings("mixbct", old)
        super().__init__("mixbct", old, classes, scale=scale)
        labels = needed_labels("mixbct", old, labels)
        near = nearest_share(embeddings, labels, F.normalize(old.prototypes, dim=1), credible)
        self.mixed, self.margin, self.seed = mixed, margin, seed
        self.old_embeddings: Tensor
        self.credible: Tensor
        self.draw: Tensor
        self.register_buffer("old_embeddings", embeddings, persistent=False)
        self.register_buffer("credible", near & classes_taken("mixbct", old, unseen)[labels], persistent=False)
        self.register_buffer("draw", self._draw(0).to(embeddings.device))

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.draw.copy_(self._draw(epoch))

    def _draw(self, epoch: int) -> Tensor:
        """Two numbers that put the rows of the training set into an order of this epoch's own."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randint(1, _PRIME, (2,), generator=generator)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        exchanged = self.exchanged(index)[:, None]
        rows = torch.where(exchanged, self.old_embeddings[index], unit(self.embed(features)))
        cosines = rows @ unit(self.classifier.weight).T
        logits = margin_logits(cosines, labels, margin=self.margin, scale=self.scale)
        return {"classification": F.cross_entropy(logits, labels)}

    def exchanged(self, index: Tensor) -> Tensor:
        """Which rows [b] of this batch are the old model's, in this epoch."""
        place = (index * self.draw[0] + self.draw[1]) % _PRIME
        order = place.masked_fill(~self.credible[index], _PRIME).argsort(stable=True)
        chosen = torch.zeros_like(index, dtype=torch.bool)
        chosen[order[: int(self.mixed * len(index))]] = True
        return chosen & self.credible[index]


def margin_logits(cosines: Tensor, labels: Tensor, *, margin: float, scale: float) -> Tensor:
    """``scale · cos θ``, and ``scale · cos(θ + margin)`` for the right class; cosines [b, c], labels [b].

    Deng et al., "ArcFace", CVPR 2019 (arXiv 1801.07698). Beyond θ = π − margin, where cos(θ + margin) rises again, it is
    ``cos θ − margin · sin(margin)``, which goes on falling.

    >>> cosines, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    >>> margin_logits(cosines, labels, margin=math.pi / 3, scale=2.0).mul(100).round().tolist()
    [[100.0, 0.0]]
    """
    right = cosines.gather(1, labels[:, None])
    sines = (1 - right.square()).clamp_min(1e-7).sqrt()
    moved = right * math.cos(margin) - sines * math.sin(margin)
    moved = torch.where(right > -math.cos(margin), moved, right - margin * math.sin(margin))
    return scale * cosines.scatter(1, labels[:, None], moved)


def nearest_share(embeddings: Tensor, labels: Tensor, centres: Tensor, share: float) -> Tensor:
    """Whether each unit row [n, d] is among the share of its class, rounded up, that is nearest to its centre [c, d].

    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> nearest_share(rows, torch.tensor([0, 0]), torch.tensor([[0.0, 1.0]]), 0.5).tolist()
    [False, True]
    """
    cosines = (embeddings * centres[labels]).sum(1)
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for _, mine in rows_by_class(labels):
        nearest = cosines[mine].argsort(descending=True, stable=True)
        chosen[mine[nearest[: math.ceil(share * len(mine))]]] = True
    return chosen
