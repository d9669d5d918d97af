"""AdvBCT: new embeddings stay within elastic bounds of the old classes, and a discriminator cannot tell whose they are."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified, mean_over, rows_by_class, unit
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import (
    check_settings,
    classes_taken,
    needed_embeddings,
    needed_labels,
    needed_old,
)

__all__ = ["AdvBCT", "gradient_reversed", "trimmed_radii"]


class AdvBCT(Classified):
    """``CE(s · W φ, y) + a · mean_i max(‖φ̂_i − c_y‖ − r_y, 0) + b · (1 − e/E) · (−log D(φ̂) − log(1 − D(φ̂_o)))``.

    Pan et al., "Boundary-aware backward-compatible representation via adversarial learning in image retrieval", CVPR 2023
    (arXiv 2305.02610). c are the old prototypes. The radius is elastic, ``r_c = ρ_c + σ(w_c)(threshold − ρ_c)``: learnt,
    between ρ_c, how far the old embeddings of the class reach (see `trimmed_radii`), and ``threshold``. D is a perceptron
    with one hidden layer that says of an embedding how likely it is new; its gradient reaches the embeddings reversed, times
    ``2 / (1 + e^(−10 e/E)) − 1``, while its weight falls linearly over the epochs e of E. So `begin_epoch` has to be called:
    before it, as in the first epoch, D learns and the embeddings are not moved by it.

    labels [n]: the classes of the training rows. boundary_weight: a; adversarial_weight: b. unseen: classes that the old
    model was not trained on are taken as all others (``using_old``) or have no bound (``null``); nor has one of fewer than
    two rows. D sees all rows in either case. Needs the old embeddings. ``Deviation:`` D has no batch normalisation: that
    of new and of old rows apart, as in the public code, takes away what tells them apart, and a batch of one has none. The
    mean is over all bounded rows, not over those outside alone, which weighs the last of them the most.

    >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2)[[0, 0, 1, 1]])
    >>> objective = AdvBCT(old, 2, labels=torch.tensor([0, 0, 1, 1]))
    >>> terms = objective(3 * torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 2]))
    >>> terms["boundary"].item(), sorted(terms)
    (0.0, ['adversarial', 'boundary', 'classification'])
    """

    paper: ClassVar[str] = (
        "Pan et al., Boundary-aware backward-compatible representation via adversarial learning in image retrieval, "
        "CVPR 2023, arXiv 2305.02610"
    )

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        labels: Tensor,
        boundary_weight: float = 1.0,
        adversarial_weight: float = 1.0,
        threshold: float = 0.5,
        hidden_width: int = 100,
        unseen: Unseen = "using_old",
        scale: float = 1.0,
    ) -> None:
        check_settings("advbct", "0 or more", boundary_weight=boundary_weight, adversarial_weight=adversarial_weight)
        check_settings("advbct", "0 or more", threshold=threshold)
        check_settings("advbct", "a whole number of at least 1", hidden_width=hidden_width)
        old, embeddings = needed_old("advbct", old), needed_embeddings("advbct", old)
        super().__init__("advbct", old, classes, scale=scale)
        self.boundary_weight, self.adversarial_weight, self.threshold = boundary_weight, adversarial_weight, threshold
        self.discriminator = nn.Sequential(nn.Linear(old.dim, hidden_width), nn.ReLU(), nn.Linear(hidden_width, 1))
        self.elastic = nn.Parameter(torch.empty(classes).uniform_(-1, 1))
        self._register(old, embeddings, needed_labels("advbct", old, labels), unseen)

    def _register(self, old: OldModel, embeddings: Tensor, labels: Tensor, unseen: Unseen) -> None:
        self.old_embeddings: Tensor
        self.centres: Tensor
        self.radii: Tensor
        self.bounded: Tensor
        self.done: Tensor
        self.register_buffer("old_embeddings", embeddings, persistent=False)
        self.register_buffer("centres", old.prototypes.clone())
        self.register_buffer("radii", trimmed_radii(embeddings, labels, old.prototypes))
        several = labels.bincount(minlength=len(old.prototypes)) > 1
        self.register_buffer("bounded", classes_taken("advbct", old, unseen) & several)
        self.register_buffer("done", torch.zeros((), dtype=embeddings.dtype, device=embeddings.device))

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.done.fill_(epoch / epochs)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        new = unit(embeddings)
        radii = self.radii + torch.sigmoid(self.elastic) * (self.threshold - self.radii)
        distances = torch.linalg.vector_norm(new - self.centres[labels], dim=1)
        outside = (distances - radii[labels]).clamp_min(0)
        return {
            "classification": self.classification(embeddings, labels),
            "boundary": self.boundary_weight * mean_over(outside, self.bounded[labels]),
            "adversarial": self.adversarial_weight * (1 - self.done) * self._told_apart(new, index),
        }

    def _told_apart(self, new: Tensor, index: Tensor) -> Tensor:
        reversal = 2 / (1 + torch.exp(-10 * self.done)) - 1
        as_new = self.discriminator(gradient_reversed(new, reversal))
        as_old = self.discriminator(self.old_embeddings[index])
        return F.softplus(-as_new).mean() + F.softplus(as_old).mean()


def gradient_reversed(x: Tensor, strength: Tensor) -> Tensor:
    """The same numbers; what comes back through them as gradient is multiplied by −strength.

    >>> x = torch.ones(2, requires_grad=True)
    >>> gradient_reversed(x, torch.tensor(0.5)).sum().backward()
    >>> x.grad.tolist()
    [-0.5, -0.5]
    """
    return x + (1 + strength) * (x.detach() - x)


def trimmed_radii(embeddings: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """How far [c] the embeddings [n, d] of each class reach from its centre [c, d], outliers aside; 0 without rows.

    The greatest distance that is no greater than the third quartile and 1.5 times the range between the quartiles.

    >>> rows = torch.tensor([[1.0], [2.0], [2.0], [3.0], [50.0]])
    >>> trimmed_radii(rows, torch.zeros(5, dtype=torch.long), torch.zeros(1, 1)).tolist()
    [3.0]
    """
    distances = torch.linalg.vector_norm(embeddings - centres[labels], dim=1)
    radii = torch.zeros(len(centres), dtype=distances.dtype, device=distances.device)
    for c, rows in rows_by_class(labels):
        mine = distances[rows]
        low, high = mine.quantile(0.25), mine.quantile(0.75)
        radii[c] = mine[mine <= high + 1.5 * (high - low)].max()
    return radii
