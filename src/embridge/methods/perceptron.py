"""A small residual network as a torch module, and its way into a numpy adapter: ``L2(D (skip(x) + layers(LN(x))))``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP, Layer
from embridge.space import Space

__all__ = ["Perceptron"]


class Perceptron(nn.Module):
    """Unit rows [b, widths[0]] to rows [b, widths[-1]], GELU (tanh form) between the layers.

    Args:
        widths: Of the input, of every hidden layer and of the output.
        start: A linear map that the skip path begins as, while the last layer begins at zero. So the module begins as that
            map; it is learnt further. None: no skip path.
        scale: Learn one factor a coordinate of the output, D, from one on.
        dropout: Behind each hidden layer.

    Examples:
        >>> Perceptron((3, 8, 2), start=None)(torch.eye(3)).shape
        torch.Size([3, 2])
    """

    def __init__(self, widths: Sequence[int], *, start: Linear | None, scale: bool = False, dropout: float = 0) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])
        self.drop = nn.Dropout(dropout)
        self.skip = None if start is None else _learnt(start)
        self.scale = nn.Parameter(torch.ones(widths[-1])) if scale else None
        if start is not None:
            for parameter in self.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Before L2, which the adapter ends with."""
        hidden = F.layer_norm(x, x.shape[1:])
        for layer in self.layers[:-1]:
            hidden = self.drop(F.gelu(layer(hidden), approximate="tanh"))
        out: Tensor = self.layers[-1](hidden)
        if self.skip is not None:
            out = out + self.skip(x)
        return out if self.scale is None else out * self.scale

    def to_adapter(self, source: Space, target: Space) -> MLP:
        """The same map in numpy (to float32 rounding), D being part of the last layer and of the skip path."""
        factor = np.ones(target.dim, np.float32) if self.scale is None else self.scale.detach().numpy()
        layers = [_layer(module) for module in self.layers[:-1]]
        layers.append(_layer(self.layers[-1], factor))
        return MLP(source, target, layers, skip=None if self.skip is None else _layer(self.skip, factor))


def _learnt(linear: Linear) -> nn.Linear:
    module = nn.Linear(*linear.weight.shape)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(linear.weight.T))
        module.bias.copy_(torch.zeros_like(module.bias) if linear.bias is None else torch.from_numpy(linear.bias))
    return module


def _layer(module: nn.Module, factor: np.ndarray | None = None) -> Layer:
    weight, bias = (getattr(module, name).detach().numpy().copy() for name in ("weight", "bias"))
    if factor is not None:
        weight, bias = weight * factor[:, None], bias * factor
    return Layer(np.ascontiguousarray(weight.T), bias)
