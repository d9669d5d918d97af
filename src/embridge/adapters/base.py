"""Adapter: vectors of one space become vectors of another. Inference is numpy alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import ArtefactError
from embridge.shapes import Float32, Float64
from embridge.space import Space, require_same

__all__ = ["Adapter", "checked_weight", "normalized", "row_lengths"]

_SMALLEST_SQUARE, _LARGEST_SQUARE = 1e-30, 1e38

Weights = Mapping[str, np.ndarray]


class Adapter(ABC):
    """A map from one space to another. Subclasses are final and immutable; `embridge.testing.check_adapter` checks one.

    `apply` is for arrays whose space the caller vouches for; calling the adapter on `Embeddings` checks the space.

    Attributes:
        kind: The name in the artefact.
        source: The space of what it takes.
        target: The space of what it makes.
        bounded: Finite rows become finite ones for certain, so that nobody need look at them; an adapter that may reach beyond
            float32 leaves it False.

    Examples:
        >>> from embridge.adapters import Prefix
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> Prefix(new, old)(Embeddings.of(np.eye(3, dtype=np.float32), new, ["a", "b", "c"])).space == old
        True
    """

    kind: ClassVar[str]
    source: Space
    target: Space
    bounded: bool = False

    @abstractmethod
    def apply(self, x: Float32[np.ndarray, "n d_source"]) -> Float32[np.ndarray, "n d_target"]:
        """Map an array of rows; each row's result depends on that row alone."""

    @abstractmethod
    def weights(self) -> dict[str, np.ndarray]:
        """The arrays that `from_parts` needs, float32, by name."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The settings that `from_parts` needs, as JSON."""

    @classmethod
    @abstractmethod
    def from_parts(cls, source: Space, target: Space, config: Mapping[str, Any], weights: Weights) -> Adapter:
        """Make the adapter again; the inverse of `config` and `weights`.

        Raises:
            ArtefactError: The parts do not fit.
        """

    @final
    def __call__(self, x: Embeddings) -> Embeddings:
        """Map embeddings, keeping their ids.

        Raises:
            SpaceMismatch: They do not lie in ``source``.
        """
        require_same(self.source, x.space, what=f"input of the {self.kind} adapter")
        return x.with_vectors(self.apply(x.vectors), self.target, known_finite=self.bounded)


def row_lengths(x: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    """Measure rows; those whose squares float32 cannot hold are measured in float64.

    Args:
        x: Float32 [n, d].

    Returns:
        Euclidean lengths, float64 [n].

    Examples:
        >>> row_lengths(np.array([[0, 2], [2.0**100, 0], [0, 0]], np.float32)) == [2, 2.0**100, 0]
        array([ True,  True,  True])
    """
    squares = np.einsum("nd,nd->n", x, x)
    lengths: np.ndarray = np.sqrt(squares).astype(np.float64)
    extreme = ~_ordinary(squares)
    if extreme.any():
        wide = x[extreme].astype(np.float64)
        lengths[extreme] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    return lengths


def normalized(x: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """Scale rows to length one, whatever their length; a row of zeros stays zero.

    Args:
        x: Float32 [n, d].

    Returns:
        A new array [n, d].

    Examples:
        >>> normalized(np.array([[0, 2], [0, 1e-30], [0, 0]], np.float32)).tolist()
        [[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    """
    squares = np.einsum("nd,nd->n", x, x)
    ordinary = _ordinary(squares)
    if ordinary.all():
        unit: np.ndarray = x / np.sqrt(squares)[:, None]
        return unit
    unit = np.zeros_like(x)
    np.divide(x, np.sqrt(squares)[:, None], out=unit, where=ordinary[:, None])
    wide = x[~ordinary].astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, None]
    unit[~ordinary] = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    return unit


def _ordinary(squares: np.ndarray) -> np.ndarray:
    """Which squared lengths float32 holds to the last digit; zeros are not among them."""
    ordinary: np.ndarray = (squares > _SMALLEST_SQUARE) & (squares < _LARGEST_SQUARE)
    return ordinary


def checked_weight(weights: Weights, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read a named array and check it.

    Args:
        weights: Arrays by name.
        name: Which.
        shape: The shape it has to have; -1 fits any length.

    Returns:
        The array, contiguous.

    Raises:
        ArtefactError: It is not there, not of that shape, not float32, or not finite.

    Examples:
        >>> checked_weight({"bias": np.ones(2, np.float32)}, "bias", (-1,)).tolist()
        [1.0, 1.0]
    """
    if name not in weights:
        raise ArtefactError(f"the adapter's weights lack {name!r}; they hold {sorted(weights)}")
    array = weights[name]
    fits = array.ndim == len(shape) and all(w in (-1, s) for w, s in zip(shape, array.shape, strict=True))
    if array.dtype != np.float32 or not fits:
        raise ArtefactError(f"weight {name!r}: expected float32 {list(shape)}, came {array.dtype} {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ArtefactError(f"weight {name!r} holds NaN or infinity; fit the adapter again")
    return np.ascontiguousarray(array)
