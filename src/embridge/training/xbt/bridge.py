"""ψ of an upgrade as a torch module that can be trained on, and its way back into a numpy adapter."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.base import Adapter
from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP, Layer
from embridge.errors import SettingsError
from embridge.space import Space

__all__ = ["TrainableBridge"]


class TrainableBridge(nn.Module):
    """Unit rows [b, d_new] to unit rows [b, d_old], starting as an adapter; all of its weights are trained.

    Args:
        adapter: The bridge to start as.

    Raises:
        SettingsError: It is neither a Linear nor an MLP.

    Examples:
        >>> bridge = Linear(Space("new", "1", 3), Space("old", "1", 2), np.eye(3, 2, dtype=np.float32))
        >>> TrainableBridge(bridge)(torch.tensor([[3.0, 4.0, 0.0]])).detach().tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        if not isinstance(adapter, (Linear, MLP)):
            raise SettingsError(
                f"only a linear or an mlp bridge can be trained on, came {adapter.kind}; fit xbt or procrustes first"
            )
        layers = adapter.layers if isinstance(adapter, MLP) else ()
        skip = adapter.skip if isinstance(adapter, MLP) else _as_layer(adapter)
        self.layers = nn.ModuleList([_module(layer) for layer in layers])
        self.skip = None if skip is None else _module(skip)

    def forward(self, z: Tensor) -> Tensor:
        out = z.new_zeros(()) if self.skip is None else self.skip(z)
        if len(self.layers):
            hidden = F.layer_norm(z, z.shape[1:])
            for layer in self.layers[:-1]:
                hidden = F.gelu(layer(hidden), approximate="tanh")
            out = out + self.layers[-1](hidden)
        return F.normalize(out, dim=1)

    def to_adapter(self, source: Space, target: Space) -> Linear | MLP:
        """Write the map in numpy, as it now is.

        Args:
            source: The space of the rows that it takes.
            target: The space of the rows that it gives.

        Returns:
            The same map to float32 rounding; a linear one gives rows that are not of length one.
        """
        if len(self.layers):
            layers = [_layer(module) for module in self.layers]
            return MLP(source, target, layers, skip=None if self.skip is None else _layer(self.skip))
        assert self.skip is not None
        only = _layer(self.skip)
        return Linear(source, target, only.weight, only.bias, normalize_input=True)


def _as_layer(linear: Linear) -> Layer:
    bias = np.zeros(linear.target.dim, np.float32) if linear.bias is None else linear.bias
    return Layer(linear.weight, bias)


def _module(layer: Layer) -> nn.Linear:
    module = nn.Linear(*layer.weight.shape)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(layer.weight.T))
        module.bias.copy_(torch.from_numpy(layer.bias))
    return module


def _layer(module: nn.Module) -> Layer:
    weight, bias = (p.detach().float().cpu().numpy().copy() for p in module.parameters())
    return Layer(np.ascontiguousarray(weight.T), bias)
