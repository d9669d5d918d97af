"""BT²: old and new vectors share as many dims as they can, by two changes of basis that lose neither."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.backbones.embedding import BasisChange, Embedding
from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import Embedded, Objective, OldModel
from embridge.training.objectives.classified import unit
from embridge.training.objectives.older_versions import OlderVersions
from embridge.training.objectives.orthogonal import Orthogonal, OrthogonalMap
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import check_settings, needed_embeddings, needed_old

__all__ = ["BT2"]


class BT2(Objective):
    """``CE(s · W v, y) + 1 · mean(1 − cos(v, φ_*)) + 10 · CE(t · b̂ Pᵀ, y) + 5 · mean(1 − cos(b, φ_old))``.

    Zhou, Li et al., "BT²: backward-compatible training with basis transformation", ICCV 2023 (arXiv 2211.03989), section 4.
    Features f [b, d + d_old]; the new head v = L2(f[:d]); the old head u = L2(A ReLU(f) + a), of which only the first
    ``extra`` = e coordinates are used, so A has e rows; r = [L2(u[:e]); P(C v)]; b = Q r[:d_old]; P and Q are square
    orthogonal layers without a bias. What is indexed and asked with is ``φ = [b; r[d_old:]]`` [b, d + e], whose length is
    √(1 + C²) for every row (C without extra dims). Its first d_old coordinates lie in the old space, and v can be had back
    from it: nothing that the new model knows is lost to compatibility.

    dim: d, of the new head. paragon [n, d]: φ_*, the vectors of the training rows from the same new model trained without an
    old one, in their order. emphasis: C, how much longer the new head is than the old one. orthogonal_map: see
    `Orthogonal`; both layers start at random. weights: of the four terms, in the order above.
    scale, prototype_scale: s and t, 1 in the paper. unseen: classes that the old model was not trained on, see
    `resolve_unseen`; it holds for the third term alone. Needs the old embeddings of all
    training rows. ``Deviation:`` the first d_old coordinates are renormalised after the cut where they meet old rows.
    ``Deviation:`` where the old model has ancestors, the third and the fourth term hold b to these too, see `OlderVersions`.

    Raises `SettingsError` where d + e < d_old or e > d_old, `InvalidInput` for a paragon of another shape. Related: `OCA`,
    which needs neither φ_* nor old embeddings.

    >>> old = OldModel(torch.eye(3), torch.tensor([True, True, False]), embeddings=torch.eye(3))
    >>> objective = BT2(old, 3, dim=4, paragon=torch.ones(3, 4), extra=2)
    >>> objective.embed(torch.randn(2, 7)).norm(dim=1).square().round(decimals=4).tolist()
    [5.0, 5.0]
    """

    paper: ClassVar[str] = (
        "Zhou, Li et al., BT²: backward-compatible training with basis transformation, ICCV 2023, arXiv 2211.03989"
    )
    paragon: Tensor

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        dim: int,
        paragon: Tensor,
        extra: int = 32,
        emphasis: float = 2.0,
        orthogonal_map: OrthogonalMap = "cayley",
        weights: tuple[float, float, float, float] = (1.0, 1.0, 10.0, 5.0),
        scale: float = 1.0,
        prototype_scale: float = 1.0,
        unseen: Unseen = "using_old",
    ) -> None:
        old = needed_old("bt2", old, ancestors=True)
        embeddings = needed_embeddings("bt2", old, ancestors=True)
        check_settings("bt2", "above 0", emphasis=emphasis, scale=scale)
        check_settings("bt2", "0 or more", **{f"weights[{i}]": weight for i, weight in enumerate(weights)})
        _check_dims(dim, extra, old.dim, paragon, len(embeddings))
        super().__init__(feature_dim=dim + old.dim, embedding_dim=dim + extra, old_dim=old.dim)
        self.dim, self.extra, self.emphasis, self.weights, self.scale = dim, extra, emphasis, weights, scale
        self.old_head = nn.Linear(dim + old.dim, extra) if extra else None
        self.new_basis = Orthogonal(dim, orthogonal_map=orthogonal_map, start="random")
        self.old_basis = Orthogonal(old.dim, orthogonal_map=orthogonal_map, start="random")
        self.classifier = nn.Linear(dim, classes, bias=False)
        self.held = OlderVersions("bt2", old, classes, rows=True, scale=prototype_scale, unseen=unseen)
        self.register_buffer("paragon", paragon, persistent=False)

    def embed(self, features: Tensor) -> Tensor:
        mixed = self.emphasis * self.new_basis(self.new_head(features))
        if self.old_head is not None:
            mixed = torch.cat([unit(self.old_head(features.relu())), mixed], dim=1)
        front = self.old_basis(mixed[:, : self.old_dim])
        return torch.cat([front, mixed[:, self.old_dim :]], dim=1)

    @torch.no_grad()
    def embedding(self) -> Embedding:
        made = BasisChange(dim=self.dim, old_dim=self.old_dim, extra=self.extra, emphasis=self.emphasis)
        made.new_basis.copy_(self.new_basis.weight)
        made.old_basis.copy_(self.old_basis.weight)
        if made.old_head is not None and self.old_head is not None:
            made.old_head.load_state_dict(self.old_head.state_dict())
        return made

    def new_head(self, features: Tensor) -> Tensor:
        """v [b, d]: what the new model would be indexed by if there were no old one."""
        return unit(features[:, : self.dim])

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.held.begin_epoch(epoch, embedded)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        new, embeddings = self.new_head(features), self.embed(features)
        away = 1 - (new * unit(self.paragon[index])).sum(1)
        confusion, apart = self.held(embeddings, labels, index)
        classification, paragon, compatibility, alignment = self.weights
        return {
            "classification": classification * F.cross_entropy(self.scale * self.classifier(new), labels),
            "paragon": paragon * away.mean(),
            "compatibility": compatibility * confusion,
            "alignment": alignment * apart,
        }


def _check_dims(dim: int, extra: int, old_dim: int, paragon: Tensor, rows: int) -> None:
    check_settings("bt2", "a whole number of at least 1", dim=dim)
    check_settings("bt2", "0 or more", extra=extra)
    if extra > old_dim or dim + extra < old_dim:
        raise SettingsError(
            f"bt2: expected extra <= old dim <= dim + extra, came extra={extra}, an old dim of {old_dim}, {dim=}"
        )
    if paragon.shape != (rows, dim) or not paragon.isfinite().all():
        raise InvalidInput(
            f"bt2: expected finite paragon vectors [{rows}, {dim}], a row for each old embedding, came {list(paragon.shape)}"
        )
