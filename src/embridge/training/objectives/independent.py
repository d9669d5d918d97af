"""Independent: a new model trained as if there were no old one; what the others are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified
from embridge.training.objectives.requirements import needed_old
from embridge.training.objectives.settings import Count, Positive, Settings

__all__ = ["Independent", "IndependentSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndependentSettings(Settings):
    """Settings of `Independent`.

    Attributes:
        dim: Of the embeddings; the old model's where it is left out.
        scale: s, of the logits.

    Examples:
        >>> IndependentSettings(dim=4).scale
        1.0
    """

    dim: Count | None = None
    scale: Positive = 1.0


class Independent(Classified):
    """Classify, and ask nothing of the old model.

    ``CE(s · W φ, y)``. It is the paragon of compatible training: what the new model reaches where nothing holds it to the old
    one. Its embeddings are not comparable with the old ones. `bridge` is that of the naive comparison, which cuts them to the
    old dim where an old model is given.

    Source:
        Shen et al., "Towards backward-compatible representation learning", CVPR 2020 (arXiv 2003.11942).

    Args:
        old: The old model, for its dim alone, or None.
        classes: How many classes the new model is trained on.
        settings: ``dim`` is needed where there is no old model.

    Raises:
        SettingsError: There is neither an old model nor a dim, or the old model has ancestors.
        InvalidInput: The dim is below the old model's, or the old model is of other classes.

    Examples:
        >>> import torch
        >>> objective = Independent(None, 3, IndependentSettings(dim=4))
        >>> sorted(objective(torch.randn(2, 4), torch.tensor([0, 2]), torch.arange(2)))
        ['classification']
    """

    paper: ClassVar[str] = (
        "Shen et al., Towards backward-compatible representation learning, CVPR 2020, arXiv 2003.11942"
    )

    def __init__(self, old: OldModel | None, classes: int, settings: IndependentSettings | None = None) -> None:
        settings = settings or IndependentSettings()
        old = None if old is None else needed_old("independent", old, classes)
        super().__init__("independent", old, classes, scale=settings.scale, dim=settings.dim)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        return {"classification": self.classification(self.embed(features), labels)}
