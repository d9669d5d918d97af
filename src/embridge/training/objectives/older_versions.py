"""OlderVersions: what objectives with the old vector at the front do to hold it to the versions before the old one too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor, nn

from embridge.backbones.embedding import unit_rows
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import mean_over
from embridge.training.objectives.prototype_loss import PrototypeLoss
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import needed_embeddings

__all__ = ["OlderVersions"]


class OlderVersions(nn.Module):
    """The two terms that hold a vector's front x̂_v = L2(x[:d_v]) to an older version v.

    Call it with embeddings x [b, d], labels [b] and index [b]. It gives two scalars. The first is `PrototypeLoss` of x̂_v: how
    well its class is told. The second is how far it lies from the version: the mean of 1 − cos(x̂_v, P_y), or with ``rows`` of
    1 − cos(x̂_v, φ_v).

    Source:
        Without ancestors these are the terms of Zhou, Li et al. (ICCV 2023) and Ricci et al. (2024).

    Deviation:
        As published, a version is held to the one before alone, and errors add up over the versions. Here two thirds of each term
        are of the old model, and a third is the mean over its ancestors.

    Args:
        name: How errors call the objective.
        old: The old model, with its ancestors.
        rows: Hold each item to its own old embedding, which all versions then need, and not to the prototype of its class.
        scale: Of `PrototypeLoss`.
        label_smoothing: Of `PrototypeLoss`.
        unseen: Of `PrototypeLoss`, and of the second term unless ``rows``.

    Raises:
        InvalidInput: A version lacks its embeddings, or has no usable prototype.
        SettingsError: A number is out of its range.

    Examples:
        >>> known = torch.ones(3, dtype=torch.bool)
        >>> old = OldModel(torch.eye(3), known, ancestors=[OldModel(torch.eye(3, 2), known)])
        >>> versions = OlderVersions("mine", old, rows=False, scale=100.0)
        >>> confusion, distance = versions(torch.eye(3)[:2], torch.arange(2), torch.arange(2))
        >>> float(distance)
        0.0
    """

    def __init__(
        self,
        name: str,
        old: OldModel,
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
            PrototypeLoss(name, version, scale=scale, label_smoothing=label_smoothing, unseen=unseen)
            for version in versions
        )
        self.rows = rows
        for number, version in enumerate(versions if rows else ()):
            self.register_buffer(f"embeddings_{number}", needed_embeddings(name, version), persistent=False)

    def begin_epoch(self, epoch: int, embedded: Embedded) -> None:
        """See `PrototypeLoss.begin_epoch`."""
        once = cache(embedded)
        for dim, loss in self._each():
            loss.begin_epoch(epoch, once, partial(_front, dim=dim))

    def forward(self, x: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        confusions, distances = [], []
        for number, (dim, loss) in enumerate(self._each()):
            front = _front(x, dim)
            confusions.append(loss(front, labels))
            if self.rows:
                targets = self.get_buffer(f"embeddings_{number}")[index]
                distances.append((1 - (front * unit_rows(targets)).sum(1)).mean())
            else:
                away = 1 - (front * unit_rows(loss.prototypes[labels])).sum(1)
                distances.append(mean_over(away, loss.usable[labels]))
        return _together(confusions), _together(distances)

    def _each(self) -> Iterator[tuple[int, PrototypeLoss]]:
        return zip(self.dims, (cast(PrototypeLoss, loss) for loss in self.to_prototypes), strict=True)


def _together(terms: list[Tensor]) -> Tensor:
    *before, old = terms
    return old if not before else (2 * old + torch.stack(before).mean()) / 3


def _front(x: Tensor, dim: int) -> Tensor:
    return unit_rows(x[:, :dim])
