"""MLP: a residual multilayer perceptron, the map of XBT."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import Adapter, Weights, checked_weight, normalized
from embridge.errors import ArtefactError
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["MLP", "Layer"]

NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One affine layer, ``x @ weight + bias``.

    Attributes:
        weight: Float32 [d_in, d_out].
        bias: Float32 [d_out].

    Examples:
        >>> Layer(np.eye(2, dtype=np.float32), np.zeros(2, np.float32)).bias.tolist()
        [0.0, 0.0]
    """

    weight: Float32[np.ndarray, "d_in d_out"]
    bias: Float32[np.ndarray, " d_out"]


@final
class MLP(Adapter):
    """``y = L2(skip(x) + layers(LN(x)))`` with GELU (tanh form) between the layers.

    x is normalised first. The layer norm has no parameters of its own, since the first layer can hold them.

    Source: what the trained methods end as, such as `embridge.methods.xbt.XBT`.

    Args:
        source: The space of what it takes.
        target: The space of what it makes.
        layers: At least one; each starts with the width that the one before it ends with.
        skip: An affine layer beside them, or None for none.

    Raises:
        ArtefactError: There is no layer, or an array is of another shape or type, or not finite.

    Examples:
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> still = Layer(np.zeros((3, 2), np.float32), np.zeros(2, np.float32))
        >>> skip = Layer(np.eye(3, 2, dtype=np.float32), np.zeros(2, np.float32))
        >>> MLP(new, old, [still], skip=skip).apply(np.array([[0.0, 2.0, 5.0]], np.float32)).tolist()
        [[0.0, 1.0]]
    """

    kind: ClassVar[str] = "mlp"

    def __init__(self, source: Space, target: Space, layers: Sequence[Layer], *, skip: Layer | None = None) -> None:
        if not layers:
            raise ArtefactError("an MLP has at least one layer; use Linear for none")
        widths = [source.dim, *(len(layer.bias) for layer in layers[:-1]), target.dim]
        parts = _named(layers, skip)
        self.source, self.target = source, target
        self.layers = tuple(_layer(parts, str(i), (a, b)) for i, (a, b) in enumerate(pairwise(widths)))
        self.skip = None if skip is None else _layer(parts, "skip", (source.dim, target.dim))

    def apply(self, x: Float32[np.ndarray, "n d_source"]) -> Float32[np.ndarray, "n d_target"]:
        x = normalized(x)
        hidden = _layer_norm(x)
        for layer in self.layers[:-1]:
            hidden = _gelu(hidden @ layer.weight + layer.bias)
        y: np.ndarray = hidden @ self.layers[-1].weight + self.layers[-1].bias
        if self.skip is not None:
            y += x @ self.skip.weight
            y += self.skip.bias
        return normalized(y)

    def weights(self) -> dict[str, np.ndarray]:
        return _named(self.layers, self.skip)

    def config(self) -> dict[str, Any]:
        return {"layers": len(self.layers), "skip": self.skip is not None}

    @classmethod
    def from_parts(cls, source: Space, target: Space, config: Mapping[str, Any], weights: Weights) -> MLP:
        layers = [_layer(weights, str(i), (-1, -1)) for i in range(int(config["layers"]))]
        return cls(source, target, layers, skip=_layer(weights, "skip", (-1, -1)) if config["skip"] else None)


def _named(layers: Sequence[Layer], skip: Layer | None) -> dict[str, np.ndarray]:
    named = {str(i): layer for i, layer in enumerate(layers)} | ({} if skip is None else {"skip": skip})
    return {f"{name}.{part}": getattr(layer, part) for name, layer in named.items() for part in ("weight", "bias")}


def _layer(weights: Weights, name: str, shape: tuple[int, int]) -> Layer:
    weight = checked_weight(weights, f"{name}.weight", shape)
    return Layer(weight, checked_weight(weights, f"{name}.bias", (weight.shape[1],)))


def _layer_norm(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    variance = np.einsum("nd,nd->n", centred, centred)[:, None] / np.float32(x.shape[1])
    return centred / np.sqrt(variance + np.float32(NORM_EPSILON))


def _gelu(x: np.ndarray) -> np.ndarray:
    inner = np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x))
    return np.float32(0.5) * x * (1 + inner)
