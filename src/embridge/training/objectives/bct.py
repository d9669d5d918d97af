"""BCT: the new embeddings are classified twice, by their own classifier and by what the old model knows of the classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified
from embridge.training.objectives.prototype_loss import PrototypeLoss
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import needed_old
from embridge.training.objectives.settings import BelowOne, NotNegative, Positive, Settings

__all__ = ["BCT", "BCTSettings", "Targets"]

Targets = Literal["prototypes", "classifier"]
"""What of the old model stands for the classes: its class means, or the weights of its classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BCTSettings(Settings):
    """Settings of `BCT`.

    Attributes:
        targets: P. ``prototypes`` are the old class means. ``classifier`` is the weights of the old classifier; it has known
            classes only, so ``unseen`` has to be ``null``.
        weight: α, of the second term; 10 in the code of `BT2`'s authors, which has ``label_smoothing`` .1.
        scale: s, of the logits of the new classifier.
        prototype_scale: t, of the logits by P. With 1, as published, even a perfect embedding is far from certain of its class.
        label_smoothing: Of both cross-entropies.
        unseen: What stands for classes that the old model does not know; see `resolve_unseen`.

    Examples:
        >>> BCTSettings(prototype_scale=20.0).weight
        10.0
    """

    targets: Targets = "prototypes"
    weight: NotNegative = 10.0
    scale: Positive = 1.0
    prototype_scale: Positive = 1.0
    label_smoothing: BelowOne = 0.0
    unseen: Unseen = "using_old"


class BCT(Classified):
    """Classify new embeddings by the old class means beside their own classifier.

    ``CE(s · W φ, y) + α · CE(t · φ̂ Pᵀ, y)``: φ [b, d_old] are the features, φ̂ the same at length one, W [c, d_old] is trained
    and P [c, d_old] is the old model's. The new embeddings are as long as the old ones and are compared with them as they are.

    Source:
        Shen et al., "Towards backward-compatible representation learning", CVPR 2020 (arXiv 2003.11942), section 3.

    Deviation:
        The second term has embeddings of length one for the old classifier too, since an index compares rows by direction;
        ``prototype_scale`` stands for their length.

    Note:
        Related: `OCA` and `BT2` add dims for what the new model knows better; `NDPP` moves P.

    Args:
        old: The old model. Only its class means are used, or its classifier, as ``targets`` says.
        classes: c, how many classes the new model is trained on.
        settings: The defaults where it is left out.

    Raises:
        InvalidInput: There is no old model, it is of other classes, or it lacks what ``targets`` names.
        SettingsError: The settings do not fit together.

    Examples:
        >>> import torch
        >>> old = OldModel(torch.eye(3), torch.tensor([True, True, True]))
        >>> objective = BCT(old, 3, BCTSettings(prototype_scale=100.0))
        >>> terms = objective(torch.eye(3), torch.arange(3), torch.arange(3))
        >>> sorted(terms), terms["compatibility"].item()
        (['classification', 'compatibility'], 0.0)
    """

    paper: ClassVar[str] = (
        "Shen et al., Towards backward-compatible representation learning, CVPR 2020, arXiv 2003.11942"
    )

    def __init__(self, old: OldModel | None, classes: int, settings: BCTSettings | None = None) -> None:
        settings = settings or BCTSettings()
        old = needed_old("bct", old, classes)
        smoothing = settings.label_smoothing
        super().__init__("bct", old, classes, scale=settings.scale, label_smoothing=smoothing)
        self.weight = settings.weight
        self.to_old = PrototypeLoss(
            "bct",
            _targets(old, settings),
            scale=settings.prototype_scale,
            label_smoothing=smoothing,
            unseen=settings.unseen,
        )

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.to_old.begin_epoch(epoch, embedded, self.comparable)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * self.to_old(unit_rows(embeddings), labels),
        }


def _targets(old: OldModel, settings: BCTSettings) -> OldModel:
    """The old model with P in the place of its prototypes."""
    if settings.targets == "prototypes":
        return old
    if settings.unseen != "null":
        raise SettingsError(
            "bct: the old classifier is of known classes only; set unseen='null' beside targets='classifier', "
            f"came unseen={settings.unseen!r}"
        )
    if old.classifier is None:
        raise InvalidInput(
            "bct with targets='classifier' uses the old classifier; give OldModel(..., classifier=[c, d_old])"
        )
    return replace(old, prototypes=old.classifier)
