"""OlderVersions: what objectives with the old vector at the front do to hold it to the versions before the old one too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor, nn

from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import mean_over, unit
from embridge.training.objectives.prototype_loss import PrototypeLoss
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import needed_embeddings

__all__ = ["OlderVersions"]


class OlderVersions(nn.Module):
    """The two terms that hold a vector's front x̂_v = L2(x[:d_v]) to a version v: how well its class is told, how far it lies.

    Two thirds of each term are of the old model, a third is of its ancestors, their mean. Without ancestors these are the terms
    of Zhou, Li et al. (ICCV 2023) and Ricci et al. (2024). ``Deviation:`` as published, a version is held to the one before
    alone, and what that one is off by adds up over the versions.

    rows: hold each item to its own old embedding, which all versions then need, and not to the prototype of its class. scale,
    label_smoothing, unseen: of `PrototypeLoss`; the policy is no matter for rows. name: how errors call the objective.

    >>> known = torch.ones(3, dtype=torch.bool)
    >>> old = OldModel(torch.eye(3), known, ancestors=[OldModel(torch.eye(3, 2), known)])
    >>> held = OlderVersions("mine", old, 3, rows=False, scale=100.0)
    >>> confusion, apart = held(torch.eye(3)[:2], torch.arange(2), torch.arange(2))
    >>> float(apart)
    0.0
    """

    def __init__(
        self,
        name: str,
        old: OldModel,
        classes: int,
        *,
        rows: bool,
        scale: float,
        label_smoothing: float = 0.0,
        unseen: Unseen = "using_old",
    ) -> None:
        super().__init__()
        versions = (*old.ancestors, old)
        self.dims = tuple(version.dim for version in versions)
        self.to_prototypes = nn.ModuleList(
            PrototypeLoss(name, version, classes, scale=scale, label_smoothing=label_smoothing, unseen=unseen)
            for version in versions
        )
        self.rows = rows
        for number, version in enumerate(versions if rows else ()):
            self.register_buffer(
                f"embeddings_{number}", needed_embeddings(name, version, ancestors=True), persistent=False
            )

    def begin_epoch(self, epoch: int, embedded: Embedded) -> None:
        """See `PrototypeLoss.begin_epoch`."""
        once = cache(embedded)
        for dim, loss in self._each():
            loss.begin_epoch(epoch, once, partial(_front, dim=dim))

    def forward(self, x: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Of embeddings x [b, d]: `PrototypeLoss`, and the mean of 1 − cos(x̂_v, P_y), or of 1 − cos(x̂_v, φ_v) for ``rows``."""
        confusion, apart = [], []
        for number, (dim, loss) in enumerate(self._each()):
            front = _front(x, dim)
            confusion.append(loss(front, labels))
            if self.rows:
                wanted = self.get_buffer(f"embeddings_{number}")[index]
                apart.append((1 - (front * unit(wanted)).sum(1)).mean())
            else:
                away = 1 - (front * unit(loss.prototypes[labels])).sum(1)
                apart.append(mean_over(away, loss.usable[labels]))
        return _together(confusion), _together(apart)

    def _each(self) -> Iterator[tuple[int, PrototypeLoss]]:
        return zip(self.dims, (cast(PrototypeLoss, loss) for loss in self.to_prototypes), strict=True)


def _together(terms: list[Tensor]) -> Tensor:
    *before, old = terms
    return old if not before else (2 * old + torch.stack(before).mean()) / 3


def _front(x: Tensor, dim: int) -> Tensor:
    return unit(x[:, :dim])
