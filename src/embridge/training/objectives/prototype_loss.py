"""PrototypeLoss: embeddings are classified by the old prototypes, which is what keeps them where the old ones lie."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from embridge.errors import InvalidInput
from embridge.training.objectives.base import Embedded, OldModel
from embridge.training.objectives.classified import mean_over
from embridge.training.objectives.prototypes import ClassMeans, Unseen, class_means, resolve_unseen
from embridge.training.objectives.settings import check_settings

__all__ = ["PrototypeLoss"]


class PrototypeLoss(nn.Module):
    """The cross-entropy of unit rows among the old prototypes.

    ``mean_i −Σ_c w_ic log softmax_c(s x̂_i·P_c)``, w_ic = (1 − ε)·[c = y_i] + ε / classes. What is not ``usable`` [c] is no
    class of the softmax, and its rows are left out of the mean, which is 0 where none is left.

    Call it with unit rows [b, d_old], labels [b] and perhaps moved [c, d_old], which stands for a row's own prototype P_y and for
    that alone. It gives a scalar.

    Source:
        The influence loss of Shen et al. (CVPR 2020, arXiv 2003.11942, section 3.3) and of its successors.

    Args:
        name: How errors call the objective.
        old: The old model, of whose prototypes P this is.
        scale: s. With 1, as published, the logits lie in (−1, 1): even a perfect embedding has a loss far above zero.
        label_smoothing: ε.
        unseen: What stands for classes that the old model does not know; see `resolve_unseen`. With ``using_new`` their
            prototypes are made again before each epoch after the first.

    Raises:
        SettingsError: A number is out of its range.
        InvalidInput: No prototype is usable.

    Examples:
        >>> import torch
        >>> old = OldModel(torch.eye(3), torch.tensor([True, True, False]))
        >>> loss = PrototypeLoss("mine", old, scale=100.0, unseen="null")
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
        *,
        scale: float,
        label_smoothing: float = 0.0,
        unseen: Unseen = "using_old",
    ) -> None:
        super().__init__()
        check_settings(name, "above 0", scale=scale)
        check_settings(name, "at least 0 and below 1", label_smoothing=label_smoothing)
        self.scale, self.label_smoothing, self.unseen = scale, label_smoothing, unseen
        prototypes, usable = resolve_unseen(old.prototypes, old.known, unseen)
        if not usable.any():
            raise InvalidInput(f"{name}: the old model has no prototype of a class that it knows; {unseen=}")
        for what, value in (("prototypes", prototypes), ("known", old.known), ("usable", usable)):
            self.register_buffer(what, value.clone())

    def begin_epoch(self, epoch: int, embedded: Embedded, comparable: Callable[[Tensor], Tensor]) -> None:
        """Take the new model's means for the classes that the old one does not know, where the policy asks for them."""
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
