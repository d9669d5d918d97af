"""AdvBCT: new embeddings stay within elastic bounds of the old classes, and a discriminator cannot tell whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.backbones.embedding import unit_rows
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified, mean_over, rows_by_class
from embridge.training.objectives.prototypes import OldUnseen, resolve_unseen
from embridge.training.objectives.requirements import needed_embeddings, needed_labels, needed_old
from embridge.training.objectives.settings import Count, NotNegative, Positive, Settings

__all__ = ["AdvBCT", "AdvBCTSettings", "gradient_reversed", "trimmed_radii"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvBCTSettings(Settings):
    """Settings of `AdvBCT`.

    Attributes:
        boundary_weight: a, of what lies outside the bounds.
        adversarial_weight: b, of the discriminator's loss.
        threshold: The radius up to which a bound may grow; 1 in the authors' configuration.
        hidden_width: Of the discriminator.
        unseen: Classes that the old model does not know are treated as all others (``using_old``) or have no bound (``null``).
            The discriminator sees all rows in either case.
        scale: s, of the logits of the new classifier.

    Examples:
        >>> AdvBCTSettings().threshold
        1.0
    """

    boundary_weight: NotNegative = 1.0
    adversarial_weight: NotNegative = 1.0
    threshold: NotNegative = 1.0
    hidden_width: Count = 100
    unseen: OldUnseen = "using_old"
    scale: Positive = 1.0


class AdvBCT(Classified):
    """Keep new embeddings within bounds of the old classes, where a discriminator cannot tell old from new.

    ``CE(s · W φ, y) + a · mean_i max(‖φ̂_i − c_y‖ − r_y, 0) + b · (E − e + 1)/E · (−log D(φ̂) − log(1 − D(φ̂_o)))``.

    c are the old prototypes. The radius is elastic: ``r_c = ρ_c + σ(w_c)(threshold − ρ_c)`` is learnt, between ρ_c, how far the
    old embeddings of the class reach (see `trimmed_radii`), and ``threshold``. A class of fewer than two rows has no bound. D is
    a perceptron with one hidden layer that says of an embedding how likely it is new. Its weight falls over the epochs e of E,
    counted from 0. Its gradient reaches the embeddings reversed, times ``2 / (1 + e^(−10 p)) − 1``, p being the share of the
    training that is done, which grows with every batch. So `begin_epoch` has to be called: before it p is 0, and D learns without
    moving the embeddings.

    Source:
        Pan et al., "Boundary-aware backward-compatible representation via adversarial learning in image retrieval", CVPR 2023
        (arXiv 2305.02610).

    Deviation:
        D sees unit rows, where the authors' code has features as they come: old vectors are stored at length one, and new ones
        would be told from them by their length. D has no batch normalisation. That of the authors' code, of new and of old rows
        apart, takes away what sets them apart, and a batch of one has none. The mean is over all bounded rows, not over those
        outside alone, which weighs the last of them the most.

    Args:
        old: The old model, with its embeddings of all training rows.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.
        labels: The classes of the training rows [n], from which the radii are computed.

    Raises:
        InvalidInput: There is no old model, it lacks its embeddings, it is of other classes, or the labels do not fit.

    Examples:
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
    old_embeddings: Tensor
    centres: Tensor
    radii: Tensor
    bounded: Tensor
    progress: Tensor
    progress_per_row: Tensor
    fading: Tensor

    def __init__(
        self, old: OldModel | None, classes: int, settings: AdvBCTSettings | None = None, *, labels: Tensor
    ) -> None:
        settings = settings or AdvBCTSettings()
        old = needed_old("advbct", old, classes)
        labels = needed_labels("advbct", old, labels)
        super().__init__("advbct", old, classes, scale=settings.scale)
        self.boundary_weight, self.adversarial_weight = settings.boundary_weight, settings.adversarial_weight
        self.threshold = settings.threshold
        hidden = settings.hidden_width
        self.discriminator = nn.Sequential(nn.Linear(old.dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.elastic = nn.Parameter(torch.empty(classes).uniform_(-1, 1))
        self._register(old, labels, settings.unseen)

    def _register(self, old: OldModel, labels: Tensor, unseen: OldUnseen) -> None:
        embeddings = needed_embeddings("advbct", old)
        self.register_buffer("old_embeddings", embeddings, persistent=False)
        self.register_buffer("centres", old.prototypes.clone())
        self.register_buffer("radii", trimmed_radii(embeddings, labels, old.prototypes))
        several = labels.bincount(minlength=len(old.prototypes)) > 1
        self.register_buffer("bounded", resolve_unseen(old.prototypes, old.known, unseen)[1] & several)
        for name, start in (("progress", 0.0), ("progress_per_row", 0.0), ("fading", 1.0)):
            self.register_buffer(name, torch.full((), start, dtype=embeddings.dtype, device=embeddings.device))

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.progress.fill_(epoch / epochs)
        self.progress_per_row.fill_(1 / (epochs * len(self.old_embeddings)))
        self.fading.fill_((epochs - epoch + 1) / epochs)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        new = unit_rows(embeddings)
        radii = self.radii + torch.sigmoid(self.elastic) * (self.threshold - self.radii)
        distances = torch.linalg.vector_norm(new - self.centres[labels], dim=1)
        outside = (distances - radii[labels]).clamp_min(0)
        return {
            "classification": self.classification(embeddings, labels),
            "boundary": self.boundary_weight * mean_over(outside, self.bounded[labels]),
            "adversarial": self.adversarial_weight * self.fading * self._discrimination(new, index),
        }

    def _discrimination(self, new: Tensor, index: Tensor) -> Tensor:
        reversal = 2 / (1 + torch.exp(-10 * self.progress)) - 1
        as_new = self.discriminator(gradient_reversed(new, reversal))
        as_old = self.discriminator(self.old_embeddings[index])
        if self.training:
            self.progress += _processes() * len(index) * self.progress_per_row
        return F.softplus(-as_new).mean() + F.softplus(as_old).mean()


def _processes() -> int:
    """How many processes train together, each on its share of a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gradient_reversed(x: Tensor, strength: Tensor) -> Tensor:
    """Pass numbers on, and turn their gradient round on its way back.

    Args:
        x: Any numbers.
        strength: A scalar; the gradient is multiplied by −strength.

    Returns:
        The numbers of x.

    Examples:
        >>> x = torch.ones(2, requires_grad=True)
        >>> gradient_reversed(x, torch.tensor(0.5)).sum().backward()
        >>> x.grad.tolist()
        [-0.5, -0.5]
    """
    return x + (1 + strength) * (x.detach() - x)


def trimmed_radii(embeddings: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Find how far the rows of each class reach from its centre, outliers aside.

    A row is an outlier if its distance is above the third quartile by more than 1.5 times the range between the quartiles. Of n
    distances in order, counted from 0, those numbered ⌊n/4⌋ and ⌊3n/4⌋ are the quartiles. Fewer than four rows have no outlier.

    Args:
        embeddings: Rows [n, d].
        labels: Their classes [n].
        centres: Of the classes [c, d].

    Returns:
        The greatest distance [c] of a row that is no outlier; 0 without rows.

    Examples:
        >>> rows = torch.tensor([[1.0], [2.0], [2.0], [3.0], [50.0]])
        >>> trimmed_radii(rows, torch.zeros(5, dtype=torch.long), torch.zeros(1, 1)).tolist()
        [3.0]
    """
    distances = torch.linalg.vector_norm(embeddings - centres[labels], dim=1)
    radii = torch.zeros(len(centres), dtype=distances.dtype, device=distances.device)
    for c, rows in rows_by_class(labels):
        ordered, count = distances[rows].sort().values, len(rows)
        if count >= 4:
            low, high = ordered[count // 4], ordered[3 * count // 4]
            ordered = ordered[ordered <= high + 1.5 * (high - low)]
        radii[c] = ordered[-1]
    return radii
