"""Prefix: the first coordinates, renormalised: the bridge of models that keep the old vector at their front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import Adapter, Weights, normalized
from embridge.errors import ArtefactError, InvalidInput
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["Prefix"]


@final
class Prefix(Adapter):
    """The first ``target.dim`` coordinates, scaled to length one.

    The cut shortens every vector by another factor, so without the scaling dot products of old and cut vectors would not be
    comparable.

    Args:
        source: The space of what it takes.
        target: The space of what it makes, of no more dims.

    Raises:
        ArtefactError: The target has more dims than the source.

    Examples:
        >>> a, b = Space("new", "1", 3), Space("old", "1", 2)
        >>> Prefix(a, b).apply(np.array([[0.0, 2.0, 5.0]], np.float32)).tolist()
        [[0.0, 1.0]]
    """

    kind: ClassVar[str] = "prefix"

    def __init__(self, source: Space, target: Space) -> None:
        if target.dim > source.dim:
            raise ArtefactError(f"a prefix of {target.dim} coordinates cannot be cut from {source.dim}")
        self.source, self.target = source, target

    def apply(self, x: Float32[np.ndarray, "n d_source"]) -> Float32[np.ndarray, "n d_target"]:
        """Cut and scale.

        Raises:
            InvalidInput: The rows have another width.
        """
        if x.shape[1:] != (self.source.dim,):
            raise InvalidInput(f"expected rows of {self.source.dim} coordinates to cut, came shape {list(x.shape)}")
        return normalized(np.ascontiguousarray(x[:, : self.target.dim]))

    def weights(self) -> dict[str, np.ndarray]:
        return {}

    def config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_parts(cls, source: Space, target: Space, config: Mapping[str, Any], weights: Weights) -> Prefix:
        return cls(source, target)
