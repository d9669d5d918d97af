"""MixBCT: some of the new embeddings of a batch are exchanged for the old ones of the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified, rows_by_class
from embridge.training.objectives.prototypes import OldUnseen, resolve_unseen
from embridge.training.objectives.requirements import needed_embeddings, needed_labels, needed_old
from embridge.training.objectives.settings import NotNegative, Positive, Settings, Share, Whole

__all__ = ["MixBCT", "MixBCTSettings", "margin_logits", "nearest_share"]

_PRIME = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MixBCTSettings(Settings):
    """Settings of `MixBCT`.

    Attributes:
        mixed: The share of a batch that is exchanged; fewer rows where fewer may be.
        credible: The share of each class that may be exchanged, nearest to the class mean in the old space; the farthest mislead.
        margin: Of the softmax, an angle in radians, as in ArcFace.
        scale: Of the logits, as in ArcFace.
        unseen: Old embeddings of classes that the old model does not know are exchanged as all others (``using_old``), or never
            (``null``).
        seed: Tells with the epoch and a row's number whether the row is exchanged.

    Examples:
        >>> MixBCTSettings().mixed
        0.3
    """

    mixed: Share = 0.3
    credible: Share = 0.9
    margin: NotNegative = 0.5
    scale: Positive = 64.0
    unseen: OldUnseen = "using_old"
    seed: Whole = 0


class MixBCT(Classified):
    """Classify new and old embeddings by one classifier.

    ``CE(margin_logits(cos(x, W), y), y)``, x being the new embeddings with some old ones in their places. One classifier is for
    rows of both models, so that new rows gather where old ones of their class are. Which rows are exchanged changes with the
    epoch; the same state gives the same loss.

    Source:
        Liang et al., "MixBCT: towards self-adapting backward-compatible training" (arXiv 2308.06948).

    Args:
        old: The old model, with its embeddings of all training rows.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.
        labels: The classes of the training rows [n].

    Raises:
        InvalidInput: There is no old model, it lacks its embeddings, it is of other classes, or the labels do not fit.

    Examples:
        >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
        >>> objective = MixBCT(old, 2, MixBCTSettings(mixed=1.0), labels=torch.tensor([0, 1]))
        >>> features = torch.zeros(2, 2, requires_grad=True)
        >>> sorted(objective(features, torch.tensor([0, 1]), torch.tensor([0, 1])))
        ['classification']
    """

    paper: ClassVar[str] = "Liang et al., MixBCT: towards self-adapting backward-compatible training, arXiv 2308.06948"
    old_embeddings: Tensor
    credible: Tensor
    draw: Tensor

    def __init__(
        self, old: OldModel | None, classes: int, settings: MixBCTSettings | None = None, *, labels: Tensor
    ) -> None:
        settings = settings or MixBCTSettings()
        old = needed_old("mixbct", old, classes)
        embeddings, labels = needed_embeddings("mixbct", old), needed_labels("mixbct", old, labels)
        super().__init__("mixbct", old, classes, scale=settings.scale)
        near = nearest_share(embeddings, labels, F.normalize(old.prototypes, dim=1), settings.credible)
        usable = resolve_unseen(old.prototypes, old.known, settings.unseen)[1]
        self.mixed, self.margin, self.seed = settings.mixed, settings.margin, settings.seed
        self.register_buffer("old_embeddings", embeddings, persistent=False)
        self.register_buffer("credible", near & usable[labels], persistent=False)
        self.register_buffer("draw", self._draw(0).to(embeddings.device))

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.draw.copy_(self._draw(epoch))

    def _draw(self, epoch: int) -> Tensor:
        """Two numbers that put the rows of the training set into an order of this epoch's own."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randint(1, _PRIME, (2,), generator=generator)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        exchanged = self.exchanged(index)[:, None]
        rows = torch.where(exchanged, self.old_embeddings[index], unit_rows(self.embed(features)))
        cosines = rows @ unit_rows(self.classifier.weight).T
        logits = margin_logits(cosines, labels, margin=self.margin, scale=self.scale)
        return {"classification": F.cross_entropy(logits, labels)}

    def exchanged(self, index: Tensor) -> Tensor:
        """Which rows [b] of a batch of these training rows [b] are the old model's, in this epoch."""
        place = (index * self.draw[0] + self.draw[1]) % _PRIME
        order = place.masked_fill(~self.credible[index], _PRIME).argsort(stable=True)
        chosen = torch.zeros_like(index, dtype=torch.bool)
        chosen[order[: int(self.mixed * len(index))]] = True
        return chosen & self.credible[index]


def margin_logits(cosines: Tensor, labels: Tensor, *, margin: float, scale: float) -> Tensor:
    """Make the right class harder to reach by an angle.

    The logits are ``scale · cos θ``, and ``scale · cos(θ + margin)`` for the right class. Beyond θ = π − margin, where
    cos(θ + margin) rises again, it is ``scale · (cos θ − margin · sin(margin))``, which goes on falling.

    Source:
        Deng et al., "ArcFace", CVPR 2019 (arXiv 1801.07698).

    Args:
        cosines: Of rows and classes [b, c].
        labels: The right classes [b].
        margin: The angle in radians.
        scale: Of the logits.

    Returns:
        Logits [b, c].

    Examples:
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
    """Find the rows of each class that are nearest to its centre.

    Args:
        embeddings: Unit rows [n, d].
        labels: Their classes [n].
        centres: Unit rows [c, d].
        share: Of each class; the number of rows is rounded up.

    Returns:
        Whether each row is among them [n].

    Examples:
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
