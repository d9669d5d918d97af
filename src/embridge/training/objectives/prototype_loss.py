"""PrototypeLoss: embeddings are told their class among the old prototypes, which is what keeps them where the old ones lie."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from embridge.errors import InvalidInput
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import mean_over
from embridge.training.objectives.prototypes import ClassMeans, Unseen, class_means, resolve_unseen
from embridge.training.objectives.requirements import check_settings

__all__ = ["PrototypeLoss"]


class PrototypeLoss(nn.Module):
    """``mean_i −Σ_c w_ic log softmax_c(s x̂_i·P_c)``, w_ic = (1 − ε)·[c = y_i] + ε / classes.

    The influence loss of Shen et al. (CVPR 2020, arXiv 2003.11942, section 3.3) and of its successors. scale: s; with 1, as
    published, the logits lie in (−1, 1), so that even a perfect embedding has a loss far above zero. label_smoothing: ε.
    unseen: see `resolve_unseen`; what is not ``usable`` [c] is no class of the softmax, and its
    rows are left out of the mean, which is 0 where none is left. With ``using_new`` these prototypes are made again before
    each epoch after the first.

    Inputs: unit rows [b, d_old] and labels [b]; moved [c, d_old]: what stands for a row's own prototype P_y, and for that
    alone. name: how errors call the objective.

    >>> import torch
    >>> old = OldModel(torch.eye(3), torch.tensor([True, True, False]))
    >>> loss = PrototypeLoss("mine", old, 3, scale=100.0, unseen="null")
    >>> float(loss(torch.eye(3), torch.arange(3)).round(decimals=4)), loss.usable.tolist()
    (0.0, [True, True, False])
    """

    prototypes: Tensor
    known: Tensor
    usable: Tensor

    def __init__(
        self,
        name: str,
        old: OldModel,
        classes: int,
        *,
        scale: float,
        label_smoothing: float = 0.0,
        unseen: Unseen = "using_old",
    ) -> None:
        super().__init__()
        if len(old.prototypes) != classes:
            raise InvalidInput(
                f"{name}: the old model has {len(old.prototypes)} prototypes, one for each class; {classes=}"
            )
        check_settings(name, "above 0", scale=scale)
        check_settings(name, "at least 0 and below 1", label_smoothing=label_smoothing)
        self.scale, self.label_smoothing, self.unseen = scale, label_smoothing, unseen
        prototypes, usable = resolve_unseen(old.prototypes, old.known, unseen)
        if not usable.any():
            raise InvalidInput(f"{name}: the old model has no prototype of a class that it knows; {unseen=}")
        for what, value in (("prototypes", prototypes), ("known", old.known), ("usable", usable)):
            self.register_buffer(what, value.clone())

    def begin_epoch(self, epoch: int, embedded: Embedded, comparable: Callable[[Tensor], Tensor]) -> None:
        """Means of the new model for the classes that the old one does not know, where they are asked for."""
        if self.unseen == "using_new" and epoch > 0:
            embeddings, labels = embedded()
            self.take(class_means([(comparable(embeddings), labels)], classes=len(self.prototypes)))

    def take(self, new: ClassMeans) -> None:
        """Resolve the unseen classes again, with these means of the new model."""
        prototypes, usable = resolve_unseen(self.prototypes, self.known, self.unseen, new)
        self.prototypes.copy_(prototypes)
        self.usable.copy_(usable)

    def forward(self, rows: Tensor, labels: Tensor, moved: Tensor | None = None) -> Tensor:
        logits = rows @ self.prototypes.T
        if moved is not None:
            logits = logits.scatter(1, labels[:, None], (rows * moved[labels]).sum(1, keepdim=True))
        logits = self.scale * logits
        level = logits.masked_fill(~self.usable, float("-inf")).logsumexp(1)
        loss = level - logits.gather(1, labels[:, None])[:, 0]
        if self.label_smoothing:
            evenly = level - (logits * self.usable).sum(1) / self.usable.sum()
            loss = (1 - self.label_smoothing) * loss + self.label_smoothing * evenly
        return mean_over(loss, self.usable[labels])
