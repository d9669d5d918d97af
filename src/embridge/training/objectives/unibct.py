"""UniBCT: classification by old prototypes that the graph of the new embeddings has refined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.errors import InvalidInput
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import Classified, rows_by_class
from embridge.training.objectives.prototype_loss import PrototypeLoss
from embridge.training.objectives.prototypes import OldUnseen
from embridge.training.objectives.requirements import needed_embeddings, needed_old
from embridge.training.objectives.settings import BelowOne, NotNegative, Positive, Settings, Whole

__all__ = ["UniBCT", "UniBCTSettings", "refined_prototypes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UniBCTSettings(Settings):
    """Settings of `UniBCT`.

    Attributes:
        weight: Of the second term.
        prototype_scale: t, of the logits by R.
        refresh_epochs: The epochs, counted from 0, before which R is made again. Each time costs a pass over the data, and for
            every class a linear system as large as the class.
        spread: λ of the refinement.
        temperature: τ of the refinement.
        unseen: Classes that the old model does not know are treated as all others (``using_old``), or are no class of the second
            term (``null``).
        scale: s, of the logits of the new classifier.

    Examples:
        >>> UniBCTSettings().refresh_epochs
        (10, 20)
    """

    weight: NotNegative = 1.0
    prototype_scale: Positive = 30.0
    refresh_epochs: tuple[Whole, ...] = (10, 20)
    spread: BelowOne = 0.9
    temperature: Positive = 0.05
    unseen: OldUnseen = "using_old"
    scale: Positive = 1.0


class UniBCT(Classified):
    """Classify new embeddings by old prototypes that the new model has refined.

    ``CE(s · W φ, y) + weight · CE(t · φ̂ Rᵀ, y)``, R [c, d_old] by `refined_prototypes`; before the first refresh R is the old
    prototypes. Old embeddings that lie among other classes, as many do of classes the old model never saw, spoil the plain
    prototypes. The new model knows better which rows of a class belong together, so the old rows are smoothed over its graph.

    Source:
        Zhang et al., "Towards universal backward-compatible representation learning", IJCAI 2022 (arXiv 2203.01583).

    Deviation:
        There is no margin in the second softmax, so that it differs from BCT by the prototypes alone. Before the first refresh
        the second term counts in full, by the plain prototypes. The public code of MixBCT's authors, the only one there is of
        UniBCT, gives it no weight until then, which would leave a training of ten epochs free of the old model. Their softmax is
        over columns, which gives the plain class means back; ours is over rows, as the formula asks.

    Args:
        old: The old model, with its embeddings of all training rows.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.

    Raises:
        InvalidInput: There is no old model, it lacks its embeddings, or it is of other classes.

    Examples:
        >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
        >>> objective = UniBCT(old, 2, UniBCTSettings(refresh_epochs=(0,)))
        >>> objective.begin_epoch(0, 1, lambda: (torch.eye(2), torch.tensor([0, 1])))
        >>> terms = objective(torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
        >>> bool(terms["compatibility"] < 1e-6)
        True
    """

    paper: ClassVar[str] = (
        "Zhang et al., Towards universal backward-compatible representation learning, IJCAI 2022, arXiv 2203.01583"
    )
    old_embeddings: Tensor

    def __init__(self, old: OldModel | None, classes: int, settings: UniBCTSettings | None = None) -> None:
        settings = settings or UniBCTSettings()
        old = needed_old("unibct", old, classes)
        super().__init__("unibct", old, classes, scale=settings.scale)
        self.weight, self.refresh_epochs = settings.weight, tuple(settings.refresh_epochs)
        self.spread, self.temperature = settings.spread, settings.temperature
        self.to_old = PrototypeLoss("unibct", old, scale=settings.prototype_scale, unseen=settings.unseen)
        self.register_buffer("old_embeddings", needed_embeddings("unibct", old), persistent=False)

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
            "compatibility": self.weight * self.to_old(unit_rows(embeddings), labels),
        }


def refined_prototypes(
    new: Tensor, old: Tensor, labels: Tensor, *, prototypes: Tensor, spread: float, temperature: float
) -> Tensor:
    """Smooth the old rows of each class over the graph of its new rows, and take their means.

    ``(1 − λ)(I − λ E)⁻¹ F_o`` with E = rowsoftmax(cos(F_n, F_n) / τ) without the diagonal, F_n and F_o being the new and the old
    rows of one class: the graph joins no two classes.

    Args:
        new: The new embeddings [n, d_new].
        old: The old embeddings [n, d_old] of the same rows.
        labels: Their classes [n].
        prototypes: What stands for classes without rows [c, d_old].
        spread: λ, how far a row moves to its neighbours; 0 leaves all where they are.
        temperature: τ.

    Returns:
        Class means [c, d_old].

    Examples:
        >>> rows, labels = torch.eye(2), torch.tensor([0, 0])
        >>> refined = refined_prototypes(rows, rows, labels, prototypes=torch.zeros(2, 2), spread=0.9, temperature=0.05)
        >>> refined.mul(100).round().tolist()
        [[50.0, 50.0], [0.0, 0.0]]
    """
    refined, new = prototypes.clone(), unit_rows(new)
    for c, mine in rows_by_class(labels):
        count, rows = len(mine), old[mine]
        if count > 1:
            identity = torch.eye(count, dtype=rows.dtype, device=rows.device)
            logits = (new[mine] @ new[mine].T / temperature).masked_fill(identity.bool(), float("-inf"))
            edges = logits.softmax(1).to(rows.dtype)
            rows = torch.linalg.solve(identity - spread * edges, (1 - spread) * rows)
        refined[c] = rows.mean(0)
    return refined
