"""OCA: the old vector at the front, new dims behind it, and a rotation that lets the classifier see them as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from embridge.backbones.embedding import Embedding, UnitLength, unit_rows
from embridge.training.objectives.base import Embedded, Objective, OldModel
from embridge.training.objectives.older_versions import OlderVersions
from embridge.training.objectives.orthogonal import Orthogonal, OrthogonalMap
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import needed_old
from embridge.training.objectives.settings import BelowOne, NotNegative, Positive, Settings, Whole

__all__ = ["OCA", "AlignedTo", "OCASettings"]

AlignedTo = Literal["prototypes", "rows"]
"""What an embedding is aligned to: the prototype of its class, or its own old embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OCASettings(Settings):
    """Settings of `OCA`.

    Attributes:
        extra: How many dims are added behind the old ones.
        orthogonal_map: Of `Orthogonal`, which starts at random.
        weights: Of the three terms, in their order.
        label_smoothing: Of both cross-entropies.
        scale: s, of the logits of the new classifier. With 1, as published, logits of unit rows say little.
        prototype_scale: t, of the logits by P; 1 in the paper too.
        aligned_to: What the third term compares x̂ with. ``prototypes``, as published, asks nothing of the old model but P.
            ``rows`` is the old embedding of the very item; see the deviation of `OCA`.
        unseen: What stands for classes that the old model does not know, in the terms with P; see `resolve_unseen`.

    Examples:
        >>> OCASettings(extra=8).weights
        (5.0, 10.0, 5.0)
    """

    extra: Whole = 32
    orthogonal_map: OrthogonalMap = "cayley"
    weights: tuple[NotNegative, NotNegative, NotNegative] = (5.0, 10.0, 5.0)
    label_smoothing: BelowOne = 0.1
    scale: Positive = 1.0
    prototype_scale: Positive = 1.0
    aligned_to: AlignedTo = "prototypes"
    unseen: Unseen = "using_old"


class OCA(Objective):
    """Hold the front of the new vector to the old prototypes, and leave the dims behind it free.

    ``5 · CE(s · W T⊥(h), y) + 10 · CE(t · x̂ Pᵀ, y) + 5 · mean(1 − cos(P_y, x̂))`` with h = L2(features) [b, d_old + extra] and
    x̂ = L2(h[:d_old]). h is what is written to the index and queried with. T⊥, a square orthogonal layer with a bias, is part of
    the training path only: the classifier may mix old and new dims, and no distance between rows of h changes by that. Over
    several upgrades each adds its extra dims behind. The features come from a linear layer, without a ReLU behind it.

    Source:
        Ricci et al., "Backward-compatible aligned representations via an orthogonal transformation layer", ECCV workshops 2024
        (arXiv 2408.08793), section 3.

    Deviation:
        The default map of T⊥ is cayley; the authors' matrix_exp gives the same layers at several times the cost. The first d_old
        coordinates are renormalised after the cut wherever they meet old rows, since their length varies from row to row. With
        ``aligned_to="rows"`` the third term compares each item with its own old embedding, as `BT2` has it, and no policy for
        unseen classes holds for it: P says nothing of what lies in no class of the training set, and there first places on old
        rows are lost with it (docs/benchmarks has both). Where the old model has ancestors, the second and the third term hold x̂
        to these too; see `OlderVersions`.

    Note:
        Related: `BCT` adds no dims; `BT2` rotates its old vector back before it is written.

    Args:
        old: The old model; its class means are used, and with ``rows`` its embeddings of all training rows. It may have
            ancestors.
        classes: c, how many classes the new model is trained on.
        settings: The defaults where it is left out.

    Raises:
        InvalidInput: There is no old model, it is of other classes, or it lacks what ``aligned_to`` names.

    Examples:
        >>> import torch
        >>> old = OldModel(torch.eye(3), torch.tensor([True, True, False]))
        >>> objective = OCA(old, 3, OCASettings(extra=2))
        >>> objective.embed(torch.randn(4, 5)).norm(dim=1).round(decimals=5).tolist()
        [1.0, 1.0, 1.0, 1.0]
        >>> objective.comparable(torch.eye(5)).shape
        torch.Size([5, 3])
    """

    paper: ClassVar[str] = (
        "Ricci et al., Backward-compatible aligned representations via an orthogonal transformation layer, ECCV workshops "
        "2024, arXiv 2408.08793"
    )

    def __init__(self, old: OldModel | None, classes: int, settings: OCASettings | None = None) -> None:
        settings = settings or OCASettings()
        old = needed_old("oca", old, classes, ancestors=True)
        dim, rows = old.dim + settings.extra, settings.aligned_to == "rows"
        super().__init__(feature_dim=dim, embedding_dim=dim, old_dim=old.dim)
        self.weights, self.scale, self.label_smoothing = settings.weights, settings.scale, settings.label_smoothing
        self.row_terms = frozenset({"alignment"} if rows else ())
        self.turn = Orthogonal(dim, orthogonal_map=settings.orthogonal_map, bias=True, start="random")
        self.classifier = nn.Linear(dim, classes, bias=False)
        self.held = OlderVersions(
            "oca with aligned_to='rows'" if rows else "oca",
            old,
            rows=rows,
            scale=settings.prototype_scale,
            label_smoothing=settings.label_smoothing,
            unseen=settings.unseen,
        )

    def embed(self, features: Tensor) -> Tensor:
        return unit_rows(features)

    def embedding(self) -> Embedding:
        return UnitLength()

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.held.begin_epoch(epoch, embedded)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        logits = self.scale * self.classifier(self.turn(embeddings))
        confusion, distance = self.held(embeddings, labels, index)
        classification, compatibility, alignment = self.weights
        return {
            "classification": classification * F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing),
            "compatibility": compatibility * confusion,
            "alignment": alignment * distance,
        }
