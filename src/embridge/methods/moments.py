"""Moments: the sums over pairs that closed-form maps are made of, taken once; and the polar factor of a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from embridge.adapters.base import normalized
from embridge.embeddings import Embeddings, HalfEmbeddings, float32_rows
from embridge.methods.base import Pairs
from embridge.methods.spread import evenly_spread
from embridge.shapes import Float32, Float64, Int64

__all__ = ["LEADING", "WHOLE", "Moments", "leading", "polar"]

WHOLE = 384
"""Dims up to which rotations of the whole space are compared."""
LEADING = 192
"""Directions in which they are compared where there are more dims."""

_CHUNK_ROWS = 4096
_PILOT_ROWS = 256  # of which a mean is taken to begin with
_LARGE_MEAN = 0.5  # squared length from which on products are taken of what is left without it
_UNIT = 1e-6  # squares this near to one are of length one, as float32 has it
_WEAK = 1e-10  # squared singular values, over the largest, below which MᵀM in float64 says too little


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Weighted sums over pairs of L2-normalised vectors; those of two sets of the same pairs add up, and can be subtracted.

    Attributes:
        total: Sum of the weights, whose mean over all pairs is one.
        new: Sum of the new vectors [d_new].
        old: Sum of the old vectors [d_old].
        cross: XᵀY [d_new, d_old].
        gram: XᵀX [d_new, d_new]; None where it was not asked for.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(3, dtype=np.float32), Space(m, "1", 3)) for m in ("new", "old"))
        >>> pairs = Pairs(new, old)
        >>> (Moments.of(pairs) - Moments.of(pairs, np.array([1]))).cross.diagonal().round(6).tolist()
        [1.0, 0.0, 1.0]
    """

    total: float
    new: Float64[np.ndarray, " d_new"]
    old: Float64[np.ndarray, " d_old"]
    cross: Float64[np.ndarray, "d_new d_old"]
    gram: Float64[np.ndarray, "d_new d_new"] | None = None

    @classmethod
    def of(
        cls,
        pairs: Pairs,
        rows: Int64[np.ndarray, " k"] | None = None,
        *,
        gram: bool = False,
        dtype: type[np.float32] | type[np.float64] = np.float32,
    ) -> Moments:
        """Read the pairs a part at a time, so that a million of them need no more memory than some thousand.

        Args:
            pairs: What to read.
            rows: The numbers of the pairs to take [k]; all where None.
            gram: Take XᵀX, too.
            dtype: In which the products of a part are taken. The sums are float64. Where a side has a large mean, products
                in float32 are of the deviations from it, so that no digits are lost.

        Returns:
            The sums.
        """
        d_new, d_old = pairs.new.space.dim, pairs.old.space.dim
        shifts = np.zeros(d_new), np.zeros(d_old)
        if dtype is np.float32:
            shifts = _pilot_mean(pairs.new, rows), _pilot_mean(pairs.old, rows)
        total, new, old = 0.0, np.zeros(d_new), np.zeros(d_old)
        cross, square = np.zeros((d_new, d_old)), np.zeros((d_new, d_new)) if gram else None
        for x, y, weights in _parts(pairs, rows, shifts, dtype):
            if weights is None:
                weights = np.ones(len(x), dtype)
            else:
                roots = np.sqrt(weights)[:, None]
                x, y = x * roots, y * roots
                weights = roots[:, 0]
            total += float(weights @ weights)
            new += weights @ x
            old += weights @ y
            cross += x.T @ y
            if square is not None:
                square += x.T @ x  # of a matrix with its own transpose, which costs half
        return _unshifted(cls(total, new, old, cross, square), *shifts)

    def __add__(self, other: Moments) -> Moments:
        return self._with(other, 1.0)

    def __sub__(self, other: Moments) -> Moments:
        return self._with(other, -1.0)

    @property
    def means(self) -> tuple[Float64[np.ndarray, " d_new"], Float64[np.ndarray, " d_old"]]:
        """The means of both sides."""
        return self.new / self.total, self.old / self.total

    def _with(self, other: Moments, sign: float) -> Moments:
        gram = None if self.gram is None or other.gram is None else self.gram + sign * other.gram
        new, old = self.new + sign * other.new, self.old + sign * other.old
        return Moments(self.total + sign * other.total, new, old, self.cross + sign * other.cross, gram)

    def centred_cross(self) -> Float64[np.ndarray, "d_new d_old"]:
        """XᵀY of the deviations from the means."""
        result: np.ndarray = self.cross - np.outer(self.new, self.old / self.total)
        return result


def polar(matrix: Float64[np.ndarray, "a b"]) -> Float64[np.ndarray, "a b"]:
    """The nearest matrix with orthonormal columns, or rows where these are fewer: U Vᵀ of the thin SVD U S Vᵀ.

    It is M (MᵀM)^(−1/2), from an eigendecomposition that takes a third of the time of an SVD. Directions with singular
    values of which MᵀM says too little in float64 are taken by themselves, in the same way. Where they are zero, as those of
    fewer pairs than dims, any completion is as good, and the same matrix gets the same.

    Args:
        matrix: Finite float64 [a, b].

    Returns:
        Float64 [a, b].

    Examples:
        >>> polar(np.array([[0.0, 2.0], [-3.0, 0.0]])).round(6).tolist()
        [[0.0, 1.0], [-1.0, 0.0]]
    """
    if matrix.shape[0] < matrix.shape[1]:
        return polar(matrix.T).T
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    if not values[-1] > 0:
        return np.eye(*matrix.shape)
    count = int((values <= _WEAK * values[-1]).sum())
    strong, weak = vectors[:, count:], vectors[:, :count]
    if not count:
        roots = strong / values**0.25
        result: np.ndarray = matrix @ (roots @ roots.T)
        return result
    left = matrix @ (strong / np.sqrt(values[count:]))
    rest = _complement(left)
    return left @ strong.T + rest @ polar(rest.T @ (matrix @ weak)) @ weak.T


def leading(
    matrix: Float32[np.ndarray, "a b"], count: int
) -> tuple[Float32[np.ndarray, "a k"], Float32[np.ndarray, "b k"]]:
    """Orthonormal directions of both sides with nearly the largest singular values, by subspace iteration.

    Args:
        matrix: Float32 [a, b].
        count: How many; neither side has fewer dims.

    Returns:
        Columns of both sides.

    Examples:
        >>> u, v = leading(np.diag([9.0, 0.1, 5.0]).astype(np.float32), 2)
        >>> bool(np.abs(u[1]).max() < 0.01)
        True
    """
    v = np.random.default_rng(0).standard_normal((matrix.shape[1], count), dtype=np.float32)
    u, _ = np.linalg.qr(matrix @ v)
    v, _ = np.linalg.qr(matrix.T @ u)
    u, _ = np.linalg.qr(matrix @ v)
    return u, v


def _complement(basis: np.ndarray) -> np.ndarray:
    """Orthonormal columns [a, a − r] that are orthogonal to those of the basis [a, r]."""
    a, r = basis.shape
    if 2 * r < a:
        return np.linalg.qr(basis, mode="complete")[0][:, r:]
    columns = np.random.default_rng(0).standard_normal((a, a - r))
    for _ in range(2):  # once leaves some rounding
        columns, _ = np.linalg.qr(columns - basis @ (basis.T @ columns))
    return columns


def _parts(
    pairs: Pairs, rows: np.ndarray | None, shifts: tuple[np.ndarray, np.ndarray], dtype: type
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Deviations of unit rows from the shifts, and weights, of each part of the pairs."""
    mean_weight = 1.0 if pairs.weights is None else pairs.weights.mean()
    for start in range(0, len(pairs) if rows is None else len(rows), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS) if rows is None else rows[start : start + _CHUNK_ROWS]
        new, old = _deviations(pairs.new, part, shifts[0], dtype), _deviations(pairs.old, part, shifts[1], dtype)
        yield new, old, None if pairs.weights is None else (pairs.weights[part] / mean_weight).astype(dtype)


def _deviations(
    side: Embeddings | HalfEmbeddings, part: slice | np.ndarray, shift: np.ndarray, dtype: type
) -> np.ndarray:
    rows = _unit(float32_rows(side, part))
    unit: np.ndarray = rows.astype(dtype, copy=False)
    return unit - shift.astype(dtype) if shift.any() else unit


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length one; the same array where they are so already."""
    squares = np.einsum("nd,nd->n", rows, rows)
    return rows if np.abs(squares - 1).max(initial=0) <= _UNIT else normalized(rows)


def _pilot_mean(side: Embeddings | HalfEmbeddings, rows: np.ndarray | None) -> np.ndarray:
    """About the mean of unit rows, in numbers that float32 holds; zeros where it is small."""
    count = len(side) if rows is None else len(rows)
    spread = evenly_spread(count, _PILOT_ROWS)
    mean = _unit(float32_rows(side, spread if rows is None else rows[spread])).mean(axis=0).astype(np.float64)
    return mean if mean @ mean > _LARGE_MEAN else np.zeros(len(mean))


def _unshifted(sums: Moments, a: np.ndarray, b: np.ndarray) -> Moments:
    """The sums of x and y from those of x − a and y − b."""
    if not a.any() and not b.any():
        return sums
    new, old = sums.new + sums.total * a, sums.old + sums.total * b
    cross = sums.cross + np.outer(new, b) + np.outer(a, sums.old)
    gram = None if sums.gram is None else sums.gram + np.outer(new, a) + np.outer(a, sums.new)
    return Moments(sums.total, new, old, cross, gram)
