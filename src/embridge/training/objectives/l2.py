"""L2: every new embedding is drawn to the old one of the same image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified
from embridge.training.objectives.requirements import needed_embeddings, needed_old
from embridge.training.objectives.settings import NotNegative, Positive, Settings

__all__ = ["L2", "L2Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class L2Settings(Settings):
    """Settings of `L2`.

    Attributes:
        weight: Of the second term.
        scale: s, of the logits of the new classifier.

    Examples:
        >>> L2Settings(weight=3.0).scale
        1.0
    """

    weight: NotNegative = 1.0
    scale: Positive = 1.0


class L2(Classified):
    """Draw every new embedding to the old one of the same image.

    ``CE(s · W φ, y) + weight · mean_i ‖φ̂_i − φ̂_oi‖²``. It is the plainest rival: it learns what the old model mistakes along with
    what that knows. The second term uses no prototype and no label.

    Source:
        A baseline of Shen et al., CVPR 2020 (arXiv 2003.11942), and of those after it.

    Deviation:
        Both rows are of length one, so the term is 2 − 2 cos: an index that compares by cosine keeps no lengths. The squares are
        summed over the coordinates. A mean over them too, as in public code of this baseline, is d_old times less, so a weight
        from there is divided by d_old.

    Args:
        old: The old model, with its embeddings of all training rows.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.

    Raises:
        InvalidInput: There is no old model, it lacks its embeddings, or it is of other classes.

    Examples:
        >>> import torch
        >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
        >>> terms = L2(old, 2)(3 * torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
        >>> terms["compatibility"].item()
        0.0
    """

    paper: ClassVar[str] = (
        "Shen et al., Towards backward-compatible representation learning, CVPR 2020, arXiv 2003.11942"
    )
    row_terms = frozenset({"compatibility"})
    old_embeddings: Tensor

    def __init__(self, old: OldModel | None, classes: int, settings: L2Settings | None = None) -> None:
        settings = settings or L2Settings()
        old = needed_old("l2", old, classes)
        super().__init__("l2", old, classes, scale=settings.scale)
        self.weight = settings.weight
        self.register_buffer("old_embeddings", needed_embeddings("l2", old), persistent=False)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        distances = (unit_rows(embeddings) - self.old_embeddings[index]).square().sum(1)
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * distances.mean(),
        }
