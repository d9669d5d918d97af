"""Independent: a new model trained as if there were no old one; what the others are measured against."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified
from embridge.training.objectives.requirements import needed_old

__all__ = ["Independent"]


class Independent(Classified):
    """``CE(s · W φ, y)``: the classification alone.

    The paragon of compatible training (Shen et al., CVPR 2020, arXiv 2003.11942): what the new model reaches
    where nothing holds it to the old one. Its embeddings are not comparable with the old ones; `bridge` is that of the
    naive comparison, which cuts them to the old dim where an old model is given. dim: of the embeddings, the old model's
    by default.

    >>> import torch
    >>> objective = Independent(None, 3, dim=4)
    >>> sorted(objective(torch.randn(2, 4), torch.tensor([0, 2]), torch.arange(2)))
    ['classification']
    """

    paper: ClassVar[str] = (
        "Shen et al., Towards backward-compatible representation learning, CVPR 2020, arXiv 2003.11942"
    )

    def __init__(self, old: OldModel | None, classes: int, *, dim: int | None = None, scale: float = 1.0) -> None:
        if old is not None:
            needed_old("independent", old)
        super().__init__("independent", old, classes, scale=scale, dim=dim)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        return {"classification": self.classification(self.embed(features), labels)}
