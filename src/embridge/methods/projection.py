"""The projection ψ of XBT as a torch module, and its way into a numpy adapter."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP, Layer
from embridge.space import Space

__all__ = ["Projection"]


class Projection(nn.Module):
    """Unit rows [b, d_new] to unit rows [b, d_old]: ``L2(skip(z) + layers(LN(z)))``.

    skip: a fixed linear map; with it the last layer starts at zero, so the module starts as that map.
    """

    def __init__(self, d_new: int, width: int, d_old: int, *, skip: Linear | None, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(d_new, width), nn.Linear(width, width), nn.Linear(width, d_old)])
        self.drop = nn.Dropout(dropout)
        self.has_skip = skip is not None
        if skip is not None:
            bias = np.zeros(d_old, np.float32) if skip.bias is None else skip.bias
            self.register_buffer("skip_weight", torch.from_numpy(skip.weight.copy()))
            self.register_buffer("skip_bias", torch.from_numpy(bias.copy()))
            nn.init.zeros_(self.layers[-1].weight)
            nn.init.zeros_(self.layers[-1].bias)

    def forward(self, z: Tensor) -> Tensor:
        hidden = F.layer_norm(z, z.shape[1:])
        for layer in self.layers[:-1]:
            hidden = self.drop(F.gelu(layer(hidden), approximate="tanh"))
        out: Tensor = self.layers[-1](hidden).float()
        if self.has_skip:
            out = out + z @ self.skip_weight + self.skip_bias
        return F.normalize(out, dim=1)

    def to_adapter(self, source: Space, target: Space) -> MLP:
        """The same map in numpy (to float32 rounding)."""
        layers = [Layer(_array(layer.weight.T), _array(layer.bias)) for layer in self.layers]
        skip = Layer(_array(self.skip_weight), _array(self.skip_bias)) if self.has_skip else None
        return MLP(source, target, layers, skip=skip)


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())
