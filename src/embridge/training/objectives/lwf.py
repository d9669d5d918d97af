"""LwF: the old classifier says of the new embeddings what it said of the old ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.errors import InvalidInput
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified
from embridge.training.objectives.requirements import needed_embeddings, needed_old
from embridge.training.objectives.settings import NotNegative, Positive, Settings

__all__ = ["LwF", "LwFSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LwFSettings(Settings):
    """Settings of `LwF`.

    Attributes:
        temperature: T, 2 in the paper. Below 1 it makes up for logits of unit rows, which are smaller than those of training.
        weight: Of the second term.
        scale: s, of the logits of the new classifier.

    Examples:
        >>> LwFSettings(temperature=0.1).weight
        1.0
    """

    temperature: Positive = 2.0
    weight: NotNegative = 1.0
    scale: Positive = 1.0


class LwF(Classified):
    """Keep what the old classifier says of each image.

    ``CE(s · W φ, y) + weight · mean KL(softmax(V φ̂_o / T) ‖ softmax(V φ̂ / T))``. V [k, d_old] is the old classifier's weights
    of the k classes that the old model knows; images of other classes are classified among those too.

    Source:
        Li & Hoiem, "Learning without forgetting", ECCV 2016 (arXiv 1606.09282), as a rival of compatible training.

    Deviation:
        V stays as it was, since the stored rows do. Both embeddings are of length one; see ``temperature``.

    Args:
        old: The old model, with its embeddings of all training rows and its classifier.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.

    Raises:
        InvalidInput: There is no old model, it lacks its embeddings or its classifier, it knows no class, or it is of other
            classes.

    Examples:
        >>> import torch
        >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2), classifier=torch.eye(2))
        >>> terms = LwF(old, 2)(3 * torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
        >>> terms["compatibility"].item()
        0.0
    """

    paper: ClassVar[str] = "Li & Hoiem, Learning without forgetting, ECCV 2016, arXiv 1606.09282"
    row_terms = frozenset({"compatibility"})
    old_embeddings: Tensor
    old_classifier: Tensor

    def __init__(self, old: OldModel | None, classes: int, settings: LwFSettings | None = None) -> None:
        settings = settings or LwFSettings()
        old = needed_old("lwf", old, classes)
        embeddings = needed_embeddings("lwf", old)
        if old.classifier is None or not bool(old.known.any()):
            raise InvalidInput(
                "lwf uses the old classifier; give OldModel(..., classifier=[c, d_old]) and a known class"
            )
        super().__init__("lwf", old, classes, scale=settings.scale)
        self.temperature, self.weight = settings.temperature, settings.weight
        self.register_buffer("old_embeddings", embeddings, persistent=False)
        self.register_buffer("old_classifier", old.classifier[old.known])

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        rows = unit_rows(embeddings), self.old_embeddings[index]
        new, old = (F.log_softmax(x @ self.old_classifier.T / self.temperature, dim=1) for x in rows)
        divergence = F.kl_div(new, old, log_target=True, reduction="batchmean")
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * divergence,
        }
