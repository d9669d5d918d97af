"""Figures of a sequence of models: C[t, k] = M(φ_t, φ_k), queries by version t over a gallery by version k ≤ t."""

from __future__ import annotations

from typing import Literal

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float64

__all__ = [
    "average_accuracy",
    "average_compatibility",
    "backward_compatibility",
    "forward_compatibility",
    "sequence_matrix",
]


def sequence_matrix(rows: list[list[float]]) -> Float64[np.ndarray, "t t"]:
    """Write the figures of a sequence as a matrix.

    Args:
        rows: Row t holds C[t, 0] … C[t, t].

    Returns:
        Float64 [t, t], NaN above the diagonal.

    Raises:
        InvalidInput: The rows do not hold 1, 2, 3, … figures.

    Examples:
        >>> sequence_matrix([[0.5], [0.6, 0.7]]).tolist()
        [[0.5, nan], [0.6, 0.7]]
    """
    if not rows or any(len(row) != t + 1 for t, row in enumerate(rows)):
        raise InvalidInput(f"expected 1, 2, 3, … figures a row, came {[len(row) for row in rows]}")
    matrix = np.full((len(rows), len(rows)), np.nan)
    for t, row in enumerate(rows):
        matrix[t, : t + 1] = row
    return matrix


def average_compatibility(matrix: Float64[np.ndarray, "t t"], *, ties: Literal["fail", "succeed"]) -> float:
    """Measure the share of pairs k < t with C[t, k] > C[k, k]: the newer version beats the older one on its own gallery.

    Args:
        matrix: What `sequence_matrix` makes [t, t], of two versions at least.
        ties: Whether an equal figure ``fail``s, as the definition says, or ``succeed``s, as some published code counts.

    Returns:
        The share.

    Raises:
        InvalidInput: There are too few versions, or a figure of the lower triangle is missing.

    Note:
        Source: Biondi et al. 2023.

    Examples:
        >>> matrix = sequence_matrix([[0.5], [0.5, 0.7], [0.6, 0.8, 0.9]])
        >>> [round(average_compatibility(matrix, ties=t), 3) for t in ("fail", "succeed")]
        [0.667, 1.0]
    """
    matrix = _checked(matrix, versions=2)
    later, earlier = np.tril_indices(len(matrix), -1)
    crossed, own = matrix[later, earlier], matrix[earlier, earlier]
    return float(np.mean(crossed > own if ties == "fail" else crossed >= own))


def average_accuracy(matrix: Float64[np.ndarray, "t t"]) -> float:
    """Take the mean of the triangle, its diagonal too: average multi-model accuracy.

    Args:
        matrix: What `sequence_matrix` makes [t, t].

    Returns:
        The mean.

    Raises:
        InvalidInput: A figure of the lower triangle is missing.

    Examples:
        >>> round(average_accuracy(sequence_matrix([[0.5], [0.6, 0.7]])), 3)
        0.6
    """
    matrix = _checked(matrix, versions=1)
    return float(matrix[np.tril_indices(len(matrix))].mean())


def backward_compatibility(matrix: Float64[np.ndarray, "t t"]) -> float:
    """Measure what the last version gains on every older gallery.

    Args:
        matrix: What `sequence_matrix` makes [t, t], of two versions at least.

    Returns:
        The mean over i < T of C[T, i] − C[i, i].

    Raises:
        InvalidInput: There are too few versions, or a figure of the lower triangle is missing.

    Examples:
        >>> round(backward_compatibility(sequence_matrix([[0.5], [0.6, 0.7]])), 3)
        0.1
    """
    matrix = _checked(matrix, versions=2)
    return float((matrix[-1, :-1] - matrix.diagonal()[:-1]).mean())


def forward_compatibility(matrix: Float64[np.ndarray, "t t"]) -> float:
    """Measure what a version loses on the gallery just before its own.

    Args:
        matrix: What `sequence_matrix` makes [t, t], of two versions at least.

    Returns:
        The mean over i ≥ 1 of C[i, i − 1] − C[i, i].

    Raises:
        InvalidInput: There are too few versions, or a figure of the lower triangle is missing.

    Examples:
        >>> round(forward_compatibility(sequence_matrix([[0.5], [0.6, 0.7]])), 3)
        -0.1
    """
    matrix = _checked(matrix, versions=2)
    return float((matrix.diagonal(-1) - matrix.diagonal()[1:]).mean())


def _checked(matrix: Float64[np.ndarray, "t t"], *, versions: int) -> Float64[np.ndarray, "t t"]:
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not square or len(matrix) < versions or not np.isfinite(matrix[np.tril_indices(len(matrix))]).all():
        raise InvalidInput(
            f"expected a finite lower triangle of at least {versions} versions, came shape {matrix.shape}; "
            "make it with sequence_matrix"
        )
    return matrix
