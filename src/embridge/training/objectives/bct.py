"""BCT: beside its own classifier, the new model is told its classes by the old one."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from torch import Tensor

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified, unit
from embridge.training.objectives.prototype_loss import PrototypeLoss
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import check_settings, needed_old

__all__ = ["BCT", "Targets"]

Targets = Literal["prototypes", "classifier"]


class BCT(Classified):
    """``CE(s · W φ, y) + α · CE(t · φ̂ Pᵀ, y)``, P [c, d_old] the old prototypes.

    Shen et al., "Towards backward-compatible representation learning", CVPR 2020 (arXiv 2003.11942), section 3. The new
    embeddings are as long as the old ones and are compared with them as they are.

    targets: ``prototypes``, or the weights of the old ``classifier``, which are of the classes that the old model knows:
    ``unseen`` has to be ``null`` then. weight: α. scale, prototype_scale: s and t; with t = 1, as published, even a perfect
    embedding is far from certain of its class. unseen: classes that the old model was not trained on, see
    `resolve_unseen`. Asks the old model for nothing but P. ``Deviation:`` the second term has
    embeddings of length one for the old classifier too, since the rows of an index are compared by direction; prototype_scale
    is what stands for their length.

    Related: `OCA` and `BT2` add dims for what the new model knows better; `NDPP` moves P.

    >>> import torch
    >>> objective = BCT(OldModel(torch.eye(3), torch.tensor([True, True, True])), 3, prototype_scale=100.0)
    >>> terms = objective(torch.eye(3), torch.arange(3), torch.arange(3))
    >>> sorted(terms), terms["compatibility"].item()
    (['classification', 'compatibility'], 0.0)
    """

    paper: ClassVar[str] = (
        "Shen et al., Towards backward-compatible representation learning, CVPR 2020, arXiv 2003.11942"
    )

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        targets: Targets = "prototypes",
        weight: float = 10.0,
        scale: float = 1.0,
        prototype_scale: float = 1.0,
        unseen: Unseen = "using_old",
    ) -> None:
        check_settings("bct", "0 or more", weight=weight)
        old = needed_old("bct", old)
        super().__init__("bct", old, classes, scale=scale)
        self.weight = weight
        self.to_old = PrototypeLoss(
            "bct", _targets(old, targets, unseen), classes, scale=prototype_scale, unseen=unseen
        )

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.to_old.begin_epoch(epoch, embedded, self.comparable)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * self.to_old(unit(embeddings), labels),
        }


def _targets(old: OldModel, targets: Targets, unseen: Unseen) -> OldModel:
    """The old model with what is to be met in the place of its prototypes."""
    if targets == "prototypes":
        return old
    if targets != "classifier" or unseen != "null":
        raise SettingsError(
            f"bct: targets are prototypes, or classifier with unseen='null'; came {targets!r} with unseen={unseen!r}"
        )
    if old.classifier is None:
        raise InvalidInput(
            "bct with targets='classifier' uses the old classifier; give OldModel(..., classifier=[c, d_old])"
        )
    return replace(old, prototypes=old.classifier)
