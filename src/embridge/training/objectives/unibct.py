"""UniBCT: classification by old prototypes that the graph of the new embeddings has refined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from embridge.errors import InvalidInput
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified, rows_by_class, unit
from embridge.training.objectives.prototype_loss import PrototypeLoss
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import (
    check_old_policy,
    check_settings,
    needed_embeddings,
    needed_old,
)

__all__ = ["UniBCT", "refined_prototypes"]


class UniBCT(Classified):
    """``CE(s · W φ, y) + weight · CE(t · φ̂ Rᵀ, y)``, R being the refined prototypes, see `refined_prototypes`.

    Zhang et al., "Towards universal backward-compatible representation learning", IJCAI 2022 (arXiv 2203.01583): old
    embeddings that lie among other classes, as many do of classes the old model never saw, spoil the plain prototypes. The
    new model knows better which rows of a class belong together, so the old rows are smoothed over its graph.

    R is the old prototypes at first and is made again before each of ``refresh_epochs``, counted from 0; each time costs a
    pass over the data, and a linear system as large as the class, for every class. prototype_scale: t. spread, temperature:
    λ and τ of the refinement. unseen: classes that the old model was not trained on are taken as all others
    (``using_old``), or are no class of the second term (``null``). Needs the old embeddings of all training rows.
    ``Deviation:`` no margin in the second softmax, so that it differs from BCT by the prototypes alone.

    >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
    >>> objective = UniBCT(old, 2, refresh_epochs=(0,))
    >>> objective.begin_epoch(0, 1, lambda: (torch.eye(2), torch.tensor([0, 1])))
    >>> terms = objective(torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    >>> bool(terms["compatibility"] < 1e-6)
    True
    """

    paper: ClassVar[str] = (
        "Zhang et al., Towards universal backward-compatible representation learning, IJCAI 2022, arXiv 2203.01583"
    )

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        weight: float = 1.0,
        prototype_scale: float = 30.0,
        refresh_epochs: Sequence[int] = (10, 20),
        spread: float = 0.9,
        temperature: float = 0.05,
        unseen: Unseen = "using_old",
        scale: float = 1.0,
    ) -> None:
        check_settings("unibct", "0 or more", weight=weight, **{f"refresh epoch {e}": e for e in refresh_epochs})
        check_settings("unibct", "above 0", prototype_scale=prototype_scale, temperature=temperature)
        check_settings("unibct", "at least 0 and below 1", spread=spread)
        old, embeddings = needed_old("unibct", old), needed_embeddings("unibct", old)
        super().__init__("unibct", old, classes, scale=scale)
        self.weight, self.refresh_epochs = weight, tuple(refresh_epochs)
        self.spread, self.temperature = spread, temperature
        check_old_policy("unibct", unseen)
        self.to_old = PrototypeLoss("unibct", old, classes, scale=prototype_scale, unseen=unseen)
        self.old_embeddings: Tensor
        self.register_buffer("old_embeddings", embeddings, persistent=False)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, epochs: int, embedded: Embedded) -> None:
        if epoch not in self.refresh_epochs:
            return
        new, labels = embedded()
        if len(new) != len(self.old_embeddings):
            raise InvalidInput(
                f"unibct: {len(self.old_embeddings)} old embeddings and {len(new)} new ones; give the same rows"
            )
        refined = refined_prototypes(
            new.to(self.old_embeddings),
            self.old_embeddings,
            labels.to(self.old_embeddings.device),
            prototypes=self.to_old.prototypes,
            spread=self.spread,
            temperature=self.temperature,
        )
        self.to_old.prototypes.copy_(refined)

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        return {
            "classification": self.classification(embeddings, labels),
            "compatibility": self.weight * self.to_old(unit(embeddings), labels),
        }


def refined_prototypes(
    new: Tensor, old: Tensor, labels: Tensor, *, prototypes: Tensor, spread: float, temperature: float
) -> Tensor:
    """The class means [c, d_old] of ``(1 − λ)(I − λ E)⁻¹ F_o``, E = rowsoftmax(cos(F_n, F_n) / τ) without the diagonal.

    F_n and F_o are the new [n, d_new] and the old [n, d_old] embeddings of the rows of one class: the graph joins no two
    classes. spread: λ, how far a row moves to its neighbours; 0 leaves all where they are. prototypes [c, d_old]: of classes
    without rows.

    >>> rows, labels = torch.eye(2), torch.tensor([0, 0])
    >>> refined = refined_prototypes(rows, rows, labels, prototypes=torch.zeros(2, 2), spread=0.9, temperature=0.05)
    >>> refined.mul(100).round().tolist()
    [[50.0, 50.0], [0.0, 0.0]]
    """
    refined, new = prototypes.clone(), unit(new)
    for c, mine in rows_by_class(labels):
        count, rows = len(mine), old[mine]
        if count > 1:
            identity = torch.eye(count, dtype=rows.dtype, device=rows.device)
            logits = (new[mine] @ new[mine].T / temperature).masked_fill(identity.bool(), float("-inf"))
            edges = logits.softmax(1).to(rows.dtype)
            rows = torch.linalg.solve(identity - spread * edges, (1 - spread) * rows)
        refined[c] = rows.mean(0)
    return refined
