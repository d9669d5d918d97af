"""OCA: the old vector at the front, new dims behind it, and a rotation that lets the classifier see them as one."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from embridge.backbones.embedding import Embedding, UnitLength
from embridge.errors import SettingsError
from embridge.training.objectives.base import Embedded, Objective, OldModel
from embridge.training.objectives.classified import unit
from embridge.training.objectives.older_versions import OlderVersions
from embridge.training.objectives.orthogonal import Orthogonal, OrthogonalMap
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import check_settings, needed_old

__all__ = ["OCA", "AlignedTo"]

AlignedTo = Literal["prototypes", "rows"]


class OCA(Objective):
    """``5 · CE(s · W T⊥(h), y) + 10 · CE(t · x̂ Pᵀ, y) + 5 · mean(1 − cos(P_y, x̂))``, h = L2(features), x̂ = L2(h[:d_old]).

    Ricci et al., "Backward-compatible aligned representations via an orthogonal transformation layer", ECCV workshops 2024
    (arXiv 2408.08793), section 3. h [b, d_old + extra] is what is indexed and asked with; its first d_old coordinates are
    held to the old prototypes P [c, d_old], the others are free. T⊥, a square orthogonal layer with a bias, stands in the
    training path only: the classifier may mix old and new dims, and no distance between rows of h is changed by that. Both
    cross-entropies have ``label_smoothing``.

    extra: how many dims are added. orthogonal_map: of `Orthogonal`, which starts at random;
    ``Deviation:`` the authors take matrix_exp, which gives the same layers at several times the cost. weights: of the three
    terms, in the order above. scale, prototype_scale: s and t; both are 1 in the paper, with which logits of unit rows say
    little. unseen: classes that the old model was not trained on, see `resolve_unseen`; it holds
    for both terms with P. Over several upgrades each adds its extra dims behind; ``Deviation:`` where the old model has
    ancestors, the second and the third term hold x̂ to these too, see `OlderVersions`.

    aligned_to: what the third term holds x̂ to. ``prototypes``, as published: nothing is asked of the old model but P.
    ``rows``: ``Deviation:`` the old embedding of the very item, as `BT2` has it; then the old embeddings of all training rows
    are needed, and no policy for unseen classes holds for this term. P says nothing of what lies in no class of the training
    set, and there first places on old rows are lost with it; see docs/benchmarks for both.

    Requirements: features of d_old + extra dims whose last layer is linear (no ReLU).
    ``Deviation:`` the first d_old coordinates are renormalised after the cut wherever they meet old rows, since their length
    varies from row to row. Related: `BCT`, which adds no dims; `BT2`, whose old vector is rotated back before it is written.

    >>> import torch
    >>> objective = OCA(OldModel(torch.eye(3), torch.tensor([True, True, False])), 3, extra=2)
    >>> objective.embed(torch.randn(4, 5)).norm(dim=1).round(decimals=5).tolist(), objective.comparable(torch.eye(5)).shape
    ([1.0, 1.0, 1.0, 1.0], torch.Size([5, 3]))
    """

    paper: ClassVar[str] = (
        "Ricci et al., Backward-compatible aligned representations via an orthogonal transformation layer, ECCV workshops "
        "2024, arXiv 2408.08793"
    )

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        extra: int = 32,
        orthogonal_map: OrthogonalMap = "cayley",
        weights: tuple[float, float, float] = (5.0, 10.0, 5.0),
        label_smoothing: float = 0.1,
        scale: float = 1.0,
        prototype_scale: float = 1.0,
        aligned_to: AlignedTo = "prototypes",
        unseen: Unseen = "using_old",
    ) -> None:
        old = needed_old("oca", old, ancestors=True)
        if aligned_to not in ("prototypes", "rows"):
            raise SettingsError(f"oca: aligned_to is prototypes or rows, came {aligned_to!r}")
        check_settings("oca", "0 or more", extra=extra)
        check_settings("oca", "above 0", scale=scale)
        check_settings("oca", "0 or more", **{f"weights[{i}]": weight for i, weight in enumerate(weights)})
        dim = old.dim + extra
        super().__init__(feature_dim=dim, embedding_dim=dim, old_dim=old.dim)
        self.weights, self.scale, self.label_smoothing = weights, scale, label_smoothing
        self.turn = Orthogonal(dim, orthogonal_map=orthogonal_map, bias=True, start="random")
        self.classifier = nn.Linear(dim, classes, bias=False)
        self.held = OlderVersions(
            "oca with aligned_to='rows'" if aligned_to == "rows" else "oca",
            old,
            classes,
            rows=aligned_to == "rows",
            scale=prototype_scale,
            label_smoothing=label_smoothing,
            unseen=unseen,
        )

    def embed(self, features: Tensor) -> Tensor:
        return unit(features)

    def embedding(self) -> Embedding:
        return UnitLength()

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.held.begin_epoch(epoch, embedded)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        logits = self.scale * self.classifier(self.turn(embeddings))
        confusion, apart = self.held(embeddings, labels, index)
        classification, compatibility, alignment = self.weights
        return {
            "classification": classification * F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing),
            "compatibility": compatibility * confusion,
            "alignment": alignment * apart,
        }
