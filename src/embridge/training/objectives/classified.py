"""Classified: objectives whose features are the embeddings, and whose first term is a linear classifier's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import Objective, OldModel
from embridge.training.objectives.requirements import check_settings

__all__ = ["Classified", "mean_over", "rows_by_class", "unit"]


class Classified(Objective):
    """``CE(s · W φ, y)``, W without a bias, over embeddings φ that are the features as they come.

    So the backbone has to end in as many dims as the index holds: the old model's, unless dim says otherwise. name: how
    errors call the objective. scale: s, for losses whose embeddings come as unit rows. W is drawn from torch's generator,
    as all layers are.
    """

    def __init__(
        self, name: str, old: OldModel | None, classes: int, *, scale: float = 1.0, dim: int | None = None
    ) -> None:
        check_settings(name, "above 0", scale=scale)
        check_settings(name, "a whole number of at least 1", classes=classes)
        if old is not None and len(old.prototypes) != classes:
            raise InvalidInput(
                f"{name}: the old model has {len(old.prototypes)} prototypes, one for each class; {classes=}"
            )
        dim = old.dim if dim is None and old is not None else dim
        if dim is None:
            raise SettingsError(f"{name}: without an old model, say with dim how long an embedding is")
        check_settings(name, "a whole number of at least 1", dim=dim)
        super().__init__(feature_dim=dim, embedding_dim=dim, old_dim=dim if old is None else old.dim)
        self.scale = scale
        self.classifier = nn.Linear(dim, classes, bias=False)

    def embed(self, features: Tensor) -> Tensor:
        return features

    def classification(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of the batch."""
        return F.cross_entropy(self.scale * self.classifier(embeddings), labels)


def unit(x: Tensor) -> Tensor:
    """Rows [b, d] of length one; a row of zeros stays zero, and its gradient is as if its length had been one.

    `torch.nn.functional.normalize` divides the gradient of such a row by 1e-12, which ends a training.

    >>> unit(torch.tensor([[0.0, 2.0], [0.0, 0.0]])).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / lengths.masked_fill(lengths == 0, 1)


def mean_over(values: Tensor, taken: Tensor) -> Tensor:
    """The mean of the values [b] that are taken [b]; zero where none is.

    >>> mean_over(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([True, True, False])).item()
    1.5
    """
    return values.masked_fill(~taken, 0).sum() / taken.sum().clamp_min(1)


def rows_by_class(labels: Tensor) -> list[tuple[int, Tensor]]:
    """Each class that has rows, and which these are, in their order.

    >>> [(c, rows.tolist()) for c, rows in rows_by_class(torch.tensor([2, 0, 2]))]
    [(0, [1]), (2, [0, 2])]
    """
    parts = torch.split(labels.argsort(stable=True), labels.bincount().tolist())
    return [(c, rows) for c, rows in enumerate(parts) if len(rows)]
