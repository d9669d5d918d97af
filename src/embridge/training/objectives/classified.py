"""Classified: objectives whose features are the embeddings, and whose first term is a linear classifier's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.errors import SettingsError
from embridge.training.objectives.base import Objective, OldModel
from embridge.training.objectives.settings import check_settings

__all__ = ["Classified", "mean_over", "rows_by_class"]


class Classified(Objective):
    """An objective with a linear classifier over the embeddings, which are the features as they come.

    Its first term is ``CE(s · W φ, y)``, W [c, d] without a bias. The backbone ends in as many dims as the index holds: the
    old model's, unless ``dim`` says otherwise. W is drawn from torch's global generator, as all layers are.

    Args:
        name: How errors call the objective.
        old: The old model, or None.
        classes: c, how many classes the new model is trained on.
        scale: s, of the logits, for losses whose embeddings come as unit rows.
        label_smoothing: Of the cross-entropy.
        dim: d, of the embeddings; the old model's by default.

    Raises:
        SettingsError: A number is out of its range, or there is neither an old model nor a dim.

    Examples:
        >>> class Plain(Classified):
        ...     def forward(self, features, labels, index):
        ...         return {"classification": self.classification(self.embed(features), labels)}
        >>> Plain("plain", None, 3, dim=4).embedding_dim
        4
    """

    def __init__(
        self,
        name: str,
        old: OldModel | None,
        classes: int,
        *,
        scale: float = 1.0,
        label_smoothing: float = 0.0,
        dim: int | None = None,
    ) -> None:
        check_settings(name, "above 0", scale=scale)
        check_settings(name, "a whole number of at least 1", classes=classes)
        dim = old.dim if dim is None and old is not None else dim
        if dim is None:
            raise SettingsError(f"{name}: without an old model, say with dim how long an embedding is")
        check_settings(name, "a whole number of at least 1", dim=dim)
        super().__init__(feature_dim=dim, embedding_dim=dim, old_dim=dim if old is None else old.dim)
        self.scale, self.label_smoothing = scale, label_smoothing
        self.classifier = nn.Linear(dim, classes, bias=False)

    def embed(self, features: Tensor) -> Tensor:
        return features

    def classification(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of a batch of embeddings [b, d] with labels [b]."""
        logits = self.scale * self.classifier(embeddings)
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def mean_over(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of those values that are counted; zero where none is.

    Args:
        values: Numbers [b].
        counted: Booleans [b].

    Returns:
        A scalar.

    Examples:
        >>> mean_over(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([True, True, False])).item()
        1.5
    """
    return values.masked_fill(~counted, 0).sum() / counted.sum().clamp_min(1)


def rows_by_class(labels: Tensor) -> list[tuple[int, Tensor]]:
    """Find the rows of each class.

    Args:
        labels: Whole numbers [n].

    Returns:
        Each class that has rows, ascending, with its rows in their order.

    Examples:
        >>> [(c, rows.tolist()) for c, rows in rows_by_class(torch.tensor([2, 0, 2]))]
        [(0, [1]), (2, [0, 2])]
    """
    parts = torch.split(labels.argsort(stable=True), labels.bincount().tolist())
    return [(c, rows) for c, rows in enumerate(parts) if len(rows)]
