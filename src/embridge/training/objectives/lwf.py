"""LwF: the old classifier says of the new embeddings what it said of the old ones."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from embridge.errors import InvalidInput
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import Classified, unit
from embridge.training.objectives.requirements import check_settings, needed_embeddings, needed_old

__all__ = ["LwF"]


class LwF(Classified):
    """``CE(s · W φ, y) + weight · mean KL(softmax(V φ̂_o / T) ‖ softmax(V φ̂ / T))``.

    Li & Hoiem, "Learning without forgetting", ECCV 2016 (arXiv 1606.09282), as a rival of compatible
    training. V [k, d] holds the old classifier's weights of the classes that the old model knows; images of other classes
    are told among those as well. temperature: T, 2 in the paper. Needs the old embeddings and the old classifier.
    ``Deviation:`` V stays as it was, since the stored rows do; and both embeddings are of length one, which makes the
    logits smaller than those of training: a temperature below 1 makes up for that.

    >>> import torch
    >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2), classifier=torch.eye(2))
    >>> terms = LwF(old, 2)(3 * torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    >>> terms["compatibility"].item()
    0.0
    """

    paper: ClassVar[str] = "Li & Hoiem, Learning without forgetting, ECCV 2016, arXiv 1606.09282"

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        temperature: float = 2.0,
        weight: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        check_settings("lwf", "0 or more", weight=weight)
        check_settings("lwf", "above 0", temperature=temperature)
        old, embeddings = needed_old("lwf", old), needed_embeddings("lwf", old)
        if old.classifier is None or not bool(old.known.any()):
            raise InvalidInput(
                "lwf uses the old classifier; give OldModel(..., classifier=[c, d_old]) and a known class"
            )
        super().__init__("lwf", old, classes, scale=scale)
        self.temperature, self.weight = temperature, weight
        self.old_embeddings: Tensor
        self.register_buffer("old_embeddings", embeddings, persistent=False)
        self.old_classifier: Tensor
        self.register_buffer("old_classifier", old.classifier[old.known])

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        rows = unit(embeddings), self.old_embeddings[index]
        came, wanted = (F.log_softmax(x @ self.old_classifier.T / self.temperature, dim=1) for x in rows)
        divergence = F.kl_div(came, wanted, log_target=True, reduction="batchmean")
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * divergence,
        }
