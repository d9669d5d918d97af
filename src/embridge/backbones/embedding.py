"""What an objective makes of features once it is trained: the part of it that a model keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

__all__ = ["AsGiven", "BasisChange", "Embedding", "UnitLength", "unit_rows"]


class Embedding(nn.Module, ABC):
    """A module from features [b, feature_dim] to embeddings [b, dim], each row by itself.

    Attributes:
        kind: Its name in saved models.

    Examples:
        >>> isinstance(UnitLength(), Embedding)
        True
    """

    kind: ClassVar[str]

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Embeddings [b, dim] of features."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Plain JSON from which the same module is made again, its weights aside."""


@final
class AsGiven(Embedding):
    """The features themselves.

    Examples:
        >>> AsGiven()(torch.tensor([[0.0, 2.0]])).tolist()
        [[0.0, 2.0]]
    """

    kind: ClassVar[str] = "as-given"

    def forward(self, features: Tensor) -> Tensor:
        return features

    def config(self) -> dict[str, Any]:
        return {}


@final
class UnitLength(Embedding):
    """Features scaled to length one, as OCA does.

    Examples:
        >>> UnitLength()(torch.tensor([[0.0, 2.0]])).tolist()
        [[0.0, 1.0]]
    """

    kind: ClassVar[str] = "unit-length"

    def forward(self, features: Tensor) -> Tensor:
        return unit_rows(features)

    def config(self) -> dict[str, Any]:
        return {}


@final
class BasisChange(Embedding):
    """What BT² makes of features f [b, d + d_old]: ``[Q r[:d_old]; r[d_old:]]``, r = [L2(A ReLU(f) + a); C P L2(f[:d])].

    P [d, d], Q [d_old, d_old], A [extra, d + d_old] and a [extra] are plain weights here; those of a model that was trained
    are orthogonal where `embridge.training.objectives.bt2.BT2` says so.

    Args:
        dim: d.
        old_dim: d_old.
        extra: How many dims are added at the front; with 0 there is no A.
        emphasis: C.

    Examples:
        >>> BasisChange(dim=4, old_dim=3, extra=2)(torch.ones(2, 7)).shape
        torch.Size([2, 6])
    """

    kind: ClassVar[str] = "basis-change"

    def __init__(self, *, dim: int, old_dim: int, extra: int, emphasis: float = 2.0) -> None:
        super().__init__()
        self.dim, self.old_dim, self.extra, self.emphasis = dim, old_dim, extra, emphasis
        self.new_basis = nn.Parameter(torch.eye(dim))
        self.old_basis = nn.Parameter(torch.eye(old_dim))
        self.old_head = nn.Linear(dim + old_dim, extra) if extra else None

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.emphasis * unit_rows(features[:, : self.dim]) @ self.new_basis.T
        if self.old_head is not None:
            mixed = torch.cat([unit_rows(self.old_head(features.relu())), mixed], dim=1)
        front = mixed[:, : self.old_dim] @ self.old_basis.T
        return torch.cat([front, mixed[:, self.old_dim :]], dim=1)

    def config(self) -> dict[str, Any]:
        return {"dim": self.dim, "old_dim": self.old_dim, "extra": self.extra, "emphasis": self.emphasis}


def unit_rows(x: Tensor) -> Tensor:
    """Scale rows to length one.

    A row of zeros stays zero, and its gradient is as if its length had been one. `torch.nn.functional.normalize` divides the
    gradient of such a row by 1e-12, which ends a training.

    Args:
        x: Rows [b, d].

    Returns:
        Unit rows [b, d].

    Examples:
        >>> unit_rows(torch.tensor([[0.0, 2.0], [0.0, 0.0]])).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / lengths.masked_fill(lengths == 0, 1)
