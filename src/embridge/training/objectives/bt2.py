"""BT²: old and new vectors share as many dims as they can, by two changes of basis that lose neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.backbones.embedding import BasisChange, Embedding, unit_rows
from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import Embedded, Objective, OldModel
from embridge.training.objectives.older_versions import OlderVersions
from embridge.training.objectives.orthogonal import Orthogonal, OrthogonalMap
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import needed_embeddings, needed_old
from embridge.training.objectives.settings import NotNegative, Positive, Settings, Whole

__all__ = ["BT2", "BT2Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BT2Settings(Settings):
    """Settings of `BT2`.

    Attributes:
        extra: e, how many coordinates of the old head are used.
        emphasis: C, how much longer the new head is than the old one.
        orthogonal_map: Of P and Q, which start at random; see `Orthogonal`.
        weights: Of the four terms, in their order.
        scale: s, of the logits of the new classifier; 1 in the paper.
        prototype_scale: t, of the logits by the old prototypes; 1 in the paper.
        unseen: What stands for classes that the old model does not know, in the third term alone; see `resolve_unseen`.

    Examples:
        >>> BT2Settings(extra=8).weights
        (1.0, 1.0, 10.0, 5.0)
    """

    extra: Whole = 32
    emphasis: Positive = 2.0
    orthogonal_map: OrthogonalMap = "cayley"
    weights: tuple[NotNegative, NotNegative, NotNegative, NotNegative] = (1.0, 1.0, 10.0, 5.0)
    scale: Positive = 1.0
    prototype_scale: Positive = 1.0
    unseen: Unseen = "using_old"


class BT2(Objective):
    """Change the basis of the new vector twice, so that its front lies in the old space and nothing is lost.

    ``CE(s · W v, y) + 1 · mean(1 − cos(v, φ_*)) + 10 · CE(t · b̂ Pᵀ, y) + 5 · mean(1 − cos(b, φ_old))``, P being the old
    prototypes.

    Features f are [b, d + d_old]. The new head is v = L2(f[:d]). The old head is u = L2(A ReLU(f) + a), of which only the first
    ``extra`` = e coordinates are used, so A has e rows. r = [L2(u[:e]); P(C v)]; b = Q r[:d_old]; P and Q are here square
    orthogonal layers without a bias. ``φ = [b; r[d_old:]]`` [b, d + e] is what is written to the index and queried with. Its
    length is √(1 + C²) for every row (C without extra dims). Its first d_old coordinates lie in the old space, and v can be had
    back from it: nothing that the new model knows is lost to compatibility.

    Source:
        Zhou, Li et al., "BT²: backward-compatible training with basis transformation", ICCV 2023 (arXiv 2211.03989), section 4.

    Deviation:
        The first d_old coordinates are renormalised after the cut where they meet old rows. Where the old model has ancestors,
        the third and the fourth term hold b to these too; see `OlderVersions`.

    Note:
        Related: `OCA` needs neither φ_* nor old embeddings.

    Args:
        old: The old model, with its embeddings of all training rows. It may have ancestors.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.
        paragon: φ_* [n, d], the vectors of the training rows, in their order, from the same new model trained without an old one.
            Its dim is that of the new head.

    Raises:
        InvalidInput: There is no old model, it lacks its embeddings, it is of other classes, or the paragon has other rows.
        SettingsError: d + e is below d_old, or e is above it.

    Examples:
        >>> old = OldModel(torch.eye(3), torch.tensor([True, True, False]), embeddings=torch.eye(3))
        >>> objective = BT2(old, 3, BT2Settings(extra=2), paragon=torch.ones(3, 4))
        >>> objective.embed(torch.randn(2, 7)).norm(dim=1).square().round(decimals=4).tolist()
        [5.0, 5.0]
    """

    paper: ClassVar[str] = (
        "Zhou, Li et al., BT²: backward-compatible training with basis transformation, ICCV 2023, arXiv 2211.03989"
    )
    task_terms = frozenset({"classification", "paragon"})
    row_terms = frozenset({"alignment"})
    paragon: Tensor

    def __init__(
        self, old: OldModel | None, classes: int, settings: BT2Settings | None = None, *, paragon: Tensor
    ) -> None:
        settings = settings or BT2Settings()
        old = needed_old("bt2", old, classes, ancestors=True)
        dim, extra = _dim(paragon, len(needed_embeddings("bt2", old))), settings.extra
        if extra > old.dim or dim + extra < old.dim:
            raise SettingsError(
                f"bt2: expected extra <= old dim <= dim + extra, came {extra=}, an old dim of {old.dim}, {dim=}"
            )
        super().__init__(feature_dim=dim + old.dim, embedding_dim=dim + extra, old_dim=old.dim)
        self.dim, self.extra, self.emphasis = dim, extra, settings.emphasis
        self.weights, self.scale = settings.weights, settings.scale
        self.old_head = nn.Linear(dim + old.dim, extra) if extra else None
        self.new_basis = Orthogonal(dim, orthogonal_map=settings.orthogonal_map, start="random")
        self.old_basis = Orthogonal(old.dim, orthogonal_map=settings.orthogonal_map, start="random")
        self.classifier = nn.Linear(dim, classes, bias=False)
        self.held = OlderVersions("bt2", old, rows=True, scale=settings.prototype_scale, unseen=settings.unseen)
        self.register_buffer("paragon", paragon, persistent=False)

    def embed(self, features: Tensor) -> Tensor:
        mixed = self.emphasis * self.new_basis(self.new_head(features))
        if self.old_head is not None:
            mixed = torch.cat([unit_rows(self.old_head(features.relu())), mixed], dim=1)
        front = self.old_basis(mixed[:, : self.old_dim])
        return torch.cat([front, mixed[:, self.old_dim :]], dim=1)

    @torch.no_grad()
    def embedding(self) -> Embedding:
        change = BasisChange(dim=self.dim, old_dim=self.old_dim, extra=self.extra, emphasis=self.emphasis)
        change.new_basis.copy_(self.new_basis.weight)
        change.old_basis.copy_(self.old_basis.weight)
        if change.old_head is not None and self.old_head is not None:
            change.old_head.load_state_dict(self.old_head.state_dict())
        return change

    def new_head(self, features: Tensor) -> Tensor:
        """v [b, d]: what the new model would be indexed by if there were no old one."""
        return unit_rows(features[:, : self.dim])

    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        self.held.begin_epoch(epoch, embedded)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        new, embeddings = self.new_head(features), self.embed(features)
        away = 1 - (new * unit_rows(self.paragon[index])).sum(1)
        confusion, distance = self.held(embeddings, labels, index)
        classification, paragon, compatibility, alignment = self.weights
        return {
            "classification": classification * F.cross_entropy(self.scale * self.classifier(new), labels),
            "paragon": paragon * away.mean(),
            "compatibility": compatibility * confusion,
            "alignment": alignment * distance,
        }


def _dim(paragon: Tensor, rows: int) -> int:
    """That of the new head."""
    if paragon.ndim != 2 or len(paragon) != rows or not paragon.isfinite().all():
        raise InvalidInput(
            f"bt2: expected finite paragon vectors [{rows}, d], a row for each old embedding, came {list(paragon.shape)}"
        )
    return paragon.shape[1]
