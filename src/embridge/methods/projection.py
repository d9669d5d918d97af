"""The projection ψ of XBT as a torch module, and its way into a numpy adapter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP, Layer
from embridge.methods.judges import Judge
from embridge.space import Space

__all__ = ["HasPartWay", "PartWay", "Projection"]


class Projection(nn.Module):
    """ψ of XBT: unit rows [b, d_new] to unit rows [b, d_old], ``L2(skip(z) + layers(LN(z)))``.

    Args:
        d_new: Dims of the input.
        width: Of both hidden layers.
        d_old: Dims of the output.
        skip: A fixed linear map. With it the last layer starts at zero, so the module starts as that map.
        dropout: Behind each hidden layer.

    Examples:
        >>> Projection(3, 8, 2, skip=None, dropout=0.0)(torch.eye(3)).shape
        torch.Size([3, 2])
    """

    def __init__(self, d_new: int, width: int, d_old: int, *, skip: Linear | None, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.ModuleList([nn.Linear(d_new, width), nn.Linear(width, width)])
        self.output = nn.Linear(width, d_old)
        self.drop = nn.Dropout(dropout)
        self.skip = None if skip is None else _fixed(skip)
        if skip is not None:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, z: Tensor) -> Tensor:
        return F.normalize(self.before_normalising(z, self.drop), dim=1)

    def before_normalising(self, z: Tensor, drop: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The map [b, d_old] before its rows are scaled to length one; without dropout, unless it is given."""
        hidden = F.layer_norm(z, z.shape[1:])
        for layer in self.hidden:
            hidden = F.gelu(layer(hidden), approximate="tanh")
            hidden = hidden if drop is None else drop(hidden)
        out: Tensor = self.output(hidden).float()
        return out if self.skip is None else out + self.skip(z)

    def part_way(self, share: float) -> Projection:
        """A copy that goes a share of the way from the skip path to what was learnt."""
        copied = copy.deepcopy(self)
        with torch.no_grad():
            copied.output.weight.mul_(share)
            copied.output.bias.mul_(share)
        return copied

    def to_adapter(self, source: Space, target: Space) -> MLP:
        """The same map in numpy (to float32 rounding)."""
        layers = [_layer(module) for module in (*self.hidden, self.output)]
        return MLP(source, target, layers, skip=None if self.skip is None else _layer(self.skip))


@runtime_checkable
class HasPartWay(Protocol):
    """A module that can stop on its way.

    Examples:
        >>> isinstance(Projection(2, 4, 2, skip=None, dropout=0.0), HasPartWay)
        True
    """

    def part_way(self, share: float) -> nn.Module:
        """A copy that goes a share of the way from where it started to what was learnt."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PartWay:
    """Judges a map by what it is part of the way from where it started.

    Attributes:
        judge: Who judges.
        share: How much of the way.

    Examples:
        >>> class Length:
        ...     def values(self, module):
        ...         return module.output.bias.norm()[None]
        >>> projection = Projection(2, 4, 2, skip=None, dropout=0.0)
        >>> PartWay(Length(), 0.0).values(projection).item()
        0.0
    """

    judge: Judge[Any]
    share: float

    def values(self, module: HasPartWay, /) -> Tensor:
        """What the judge says; the module stays as it is."""
        return self.judge.values(module.part_way(self.share).eval())


def _fixed(linear: Linear) -> nn.Linear:
    """The map as a module that no optimiser moves."""
    module = nn.Linear(*linear.weight.shape)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(linear.weight.T))
        module.bias.copy_(torch.zeros_like(module.bias) if linear.bias is None else torch.from_numpy(linear.bias))
    return module.requires_grad_(False)


def _layer(module: Any) -> Layer:
    weight, bias = (p.detach().float().cpu().numpy().copy() for p in (module.weight, module.bias))
    return Layer(np.ascontiguousarray(weight.T), bias)
