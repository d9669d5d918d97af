"""VectorHead: a small network on the vectors of a frozen model, the cheap variant of training a backbone."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP, Layer
from embridge.backbones.base import Backbone, drawn_from, require_counts
from embridge.backbones.embedding import unit_rows
from embridge.backbones.record import Takes
from embridge.space import Space

__all__ = ["VectorHead"]


@final
class VectorHead(Backbone):
    """A head on vectors of a frozen model: ``W x̂ + b``, or ``W₂ GELU(W₁ LN(x̂) + b₁) + b₂``, with x̂ = L2(x).

    The layers are those of the adapters `Linear` and `MLP`, so what is trained here runs in numpy afterwards. A model so
    made knows no more than the frozen one that gave the vectors: say so where its figures are shown.

    Args:
        source_dim: The dims of the vectors.
        feature_dim: The dims of its features.
        hidden_width: Of the hidden layer; with 0 there is none.
        seed: The weights are drawn from it.

    Raises:
        SettingsError: A size is no whole number of at least 1.

    Examples:
        >>> import torch
        >>> VectorHead(3, 2)(torch.eye(3)).shape, VectorHead(3, 2, hidden_width=8)(torch.eye(3)).shape
        (torch.Size([3, 2]), torch.Size([3, 2]))
    """

    kind: ClassVar[str] = "vector-head"
    takes: Takes = "vectors"

    def __init__(self, source_dim: int, feature_dim: int, *, hidden_width: int = 0, seed: int = 0) -> None:
        super().__init__()
        require_counts("vector-head", source_dim=source_dim, feature_dim=feature_dim, hidden_width=hidden_width or 1)
        self.source_dim, self.feature_dim, self.hidden_width, self.seed = source_dim, feature_dim, hidden_width, seed
        with drawn_from(seed):
            self.hidden = nn.Linear(source_dim, hidden_width) if hidden_width else None
            self.last = nn.Linear(hidden_width or source_dim, feature_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = unit_rows(x)
        if self.hidden is not None:
            x = F.gelu(self.hidden(F.layer_norm(x, x.shape[1:])), approximate="tanh")
        features: Tensor = self.last(x)
        return features

    def config(self) -> dict[str, Any]:
        return {"source_dim": self.source_dim, "feature_dim": self.feature_dim, "hidden_width": self.hidden_width}

    def to_adapter(self, source: Space, target: Space) -> Linear | MLP:
        """Write the map in numpy, as it now is.

        Args:
            source: The space of the vectors that it takes.
            target: The space of the rows that it gives.

        Returns:
            The same map; rows of a `Linear` are not scaled to length one, those of an `MLP` are.
        """
        last = _layer(self.last)
        if self.hidden is None:
            return Linear(source, target, last.weight, last.bias, normalize_input=True)
        return MLP(source, target, [_layer(self.hidden), last])


def _layer(module: nn.Linear) -> Layer:
    weight, bias = (p.detach().float().cpu().numpy().copy() for p in (module.weight, module.bias))
    return Layer(np.ascontiguousarray(weight.T), bias)
