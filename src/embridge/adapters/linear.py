"""Identity and Linear: what closed-form methods end as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import Adapter, Weights, checked_weight, normalized
from embridge.errors import ArtefactError
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["Identity", "Linear"]

_UNIT = 1e-6  # squares this near to one are of length one, as float32 has it
_FARTHEST = 1e38  # that float32 surely holds
_SMALLEST, _LARGEST = 1e-30, 1e38  # squares between which float32 holds them to the last digit


@final
class Identity(Adapter):
    """The same numbers in another space: the bridge of a model that was trained to be compatible.

    Args:
        source: The space of what it takes.
        target: The space of what it makes, of the same dim.

    Raises:
        ArtefactError: The dims differ.

    Examples:
        >>> space = Space("toy", "1", 2)
        >>> Identity(space, space).apply(np.eye(2, dtype=np.float32)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    kind: ClassVar[str] = "identity"
    bounded = True

    def __init__(self, source: Space, target: Space) -> None:
        if source.dim != target.dim:
            raise ArtefactError(f"an identity joins spaces of one dim, not {source.dim} and {target.dim}")
        self.source, self.target = source, target

    def apply(self, x: Float32[np.ndarray, "n d_source"]) -> Float32[np.ndarray, "n d_target"]:
        return x

    def weights(self) -> dict[str, np.ndarray]:
        return {}

    def config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_parts(cls, source: Space, target: Space, config: Mapping[str, Any], weights: Weights) -> Identity:
        return cls(source, target)


@final
class Linear(Adapter):
    """``y = x @ weight + bias``.

    Args:
        source: The space of what it takes.
        target: The space of what it makes.
        weight: Float32 [d_source, d_target].
        bias: Float32 [d_target], or None.
        normalize_input: Scale every x to length one first, which a map with a bias needs where the source space compares by
            cosine.

    Raises:
        ArtefactError: An array is of another shape or type, or not finite.

    Examples:
        >>> a, b = Space("new", "1", 3), Space("old", "1", 2)
        >>> Linear(a, b, np.eye(3, 2, dtype=np.float32)).apply(np.ones((1, 3), np.float32)).tolist()
        [[1.0, 1.0]]
    """

    kind: ClassVar[str] = "linear"

    def __init__(
        self,
        source: Space,
        target: Space,
        weight: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        normalize_input: bool = False,
    ) -> None:
        parts = {"weight": weight} | ({} if bias is None else {"bias": bias})
        self.source, self.target, self.normalize_input = source, target, normalize_input
        self.weight = checked_weight(parts, "weight", (source.dim, target.dim))
        self.bias = None if bias is None else checked_weight(parts, "bias", (target.dim,))
        self.bounded = normalize_input and _reach(self.weight, self.bias) < _FARTHEST
        self._columns = np.asfortranarray(self.weight)  # column by column in memory: the fast order for one query

    def apply(self, x: Float32[np.ndarray, "n d_source"]) -> Float32[np.ndarray, "n d_target"]:
        if len(x) == 1:  # one query, by as few calls as can be: beside one product, each of them counts
            y: np.ndarray = np.dot(_unit_row(x) if self.normalize_input else x, self._columns)
        else:
            y = (normalized(x) if self.normalize_input else x) @ self.weight
        if self.bias is not None:
            y += self.bias
        return y

    def weights(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def config(self) -> dict[str, Any]:
        return {"normalize_input": self.normalize_input, "bias": self.bias is not None}

    @classmethod
    def from_parts(cls, source: Space, target: Space, config: Mapping[str, Any], weights: Weights) -> Linear:
        weight = checked_weight(weights, "weight", (source.dim, target.dim))
        bias = checked_weight(weights, "bias", (target.dim,)) if config["bias"] else None
        return cls(source, target, weight, bias, normalize_input=bool(config["normalize_input"]))


def _unit_row(x: np.ndarray) -> np.ndarray:
    """One row [1, d] of length one; the same array where it is so already."""
    square = np.vdot(x, x)  # which overflows without a warning
    if abs(square - 1) <= _UNIT:
        return x
    return x / np.sqrt(square) if _SMALLEST < square < _LARGEST else normalized(x)


def _reach(weight: np.ndarray, bias: np.ndarray | None) -> float:
    """How far from zero any number can be that rows of length one are mapped to."""
    largest = max(float(weight.max(initial=0)), -float(weight.min(initial=0)))
    return 1.01 * largest * weight.shape[0] ** 0.5 + (0.0 if bias is None else float(np.abs(bias).max(initial=0)))
