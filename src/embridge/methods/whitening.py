"""How much to whiten, and how much of the old mean to keep: by neighbour agreement on held-out pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.evaluation.agreement import NeighbourAgreement
from embridge.methods.least_squares import Path
from embridge.methods.moments import LEADING, WHOLE, Moments, leading, polar
from embridge.shapes import Float32, Float64

__all__ = ["KEPT_MEANS", "WHITENINGS", "Strength", "choose_strength", "spread_of"]

WHITENINGS = (0.0, 0.1, 0.2, 0.3)
KEPT_MEANS = (1.0, 0.5, 0.0)

_FLOOR = 0.01  # of the largest variance, added to each: directions without any would be blown up


@dataclass(frozen=True, slots=True)
class Strength:
    """What `WhitenedProcrustes` is fitted with.

    Attributes:
        whitening: Minus the power of the covariance.
        kept_mean: Share of the old mean that is added.
        agreement: Of held-out pairs; None where nothing was held out.

    Examples:
        >>> Strength(0.2, 0.5).agreement is None
        True
    """

    whitening: float
    kept_mean: float
    agreement: float | None = None


def spread_of(path: Path, whitening: float) -> Float64[np.ndarray, " r"]:
    """By how much each direction of the covariance is multiplied.

    Args:
        path: The decomposition of the covariance.
        whitening: Minus the power of it.

    Returns:
        Float64 [r].

    Examples:
        >>> path = Path(np.zeros(2), np.zeros(2), np.eye(2), np.array([1.0, 4.0]), np.eye(2))
        >>> spread_of(path, 0.5).round(2).tolist()
        [0.98, 0.5]
    """
    result: np.ndarray = (path.values + _FLOOR * path.values.max()) ** -whitening
    return result


def choose_strength(
    path: Path,
    train: Moments,
    items: tuple[Float32[np.ndarray, "n d_new"], Float32[np.ndarray, "n d_old"]],
    queries: int,
    *,
    whitenings: tuple[float, ...] = WHITENINGS,
    kept_means: tuple[float, ...] = KEPT_MEANS,
) -> Strength:
    """Compare the whitenings, with half the mean kept where that is open, and then what is kept of it.

    Each whitening costs one polar factor, in 192 leading directions where there are more than 384 dims. Among equals the
    first is taken. Items that were fitted on may be found, too: the more there are, the finer is the difference.

    Args:
        path: The decomposition of the covariance of all pairs, which says nothing of old vectors.
        train: Sums over the pairs that are not held out.
        items: Unit rows of both sides, the held-out ones first.
        queries: How many were held out, and ask; one or more.
        whitenings: What to compare, or the one to take.
        kept_means: Likewise.

    Returns:
        The best, and its agreement.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.methods import Pairs
        >>> from embridge.methods.least_squares import path_of
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> new, old = (Embeddings.of(x[:, :d], Space(f"{d}", "1", d)) for d in (6, 5))
        >>> pairs = Pairs(new, old)
        >>> path, train = path_of(pairs, center=True), Moments.of(pairs) - Moments.of(pairs, np.arange(50))
        >>> choose_strength(path, train, pairs.unit_rows(slice(None)), 50).agreement > 0.5
        True
    """
    new, old = items
    agreement = NeighbourAgreement.of(new[:queries], new, own=np.arange(queries))
    mapped = _Mapped.of(path, train, new[:queries], old)

    def value(deviations: np.ndarray, kept_mean: float) -> float:
        rows = (deviations + kept_mean * mapped.mean).astype(np.float32)
        return float(agreement.values(rows, mapped.items).mean())

    middle = kept_means[0] if len(kept_means) == 1 else 0.5
    deviations = {whitening: mapped.deviations(path, whitening) for whitening in whitenings}
    values = {whitening: value(rows, middle) for whitening, rows in deviations.items()}
    whitening = max(values, key=values.__getitem__)
    kept = {kept: values[whitening] if kept == middle else value(deviations[whitening], kept) for kept in kept_means}
    kept_mean = max(kept, key=kept.__getitem__)
    return Strength(whitening, kept_mean, kept[kept_mean])


@dataclass(frozen=True, slots=True, eq=False)
class _Mapped:
    """Queries and items in the directions in which strengths are compared.

    Attributes:
        queries: New deviations from the mean along the eigenvectors of the covariance [q, r].
        items: Old unit rows; a column more holds what they have beside those directions [n, k + 1].
        mean: The old mean there [k + 1].
        cross: XᵀY of the training pairs along the eigenvectors, and along those directions of the old side [r, k].
        left: The leading directions of the new side, where not all are taken [r, k].
    """

    queries: np.ndarray
    items: np.ndarray
    mean: np.ndarray
    cross: np.ndarray
    left: np.ndarray | None

    @staticmethod
    def of(path: Path, train: Moments, new: np.ndarray, old: np.ndarray) -> _Mapped:
        basis = path.basis.astype(np.float32)
        cross = basis.T @ train.centred_cross().astype(np.float32)
        left, right = None, np.eye(cross.shape[1], dtype=np.float32)
        if min(cross.shape) > WHOLE:
            left, right = leading(spread_of(path, 0.2)[:, None].astype(np.float32) * cross, LEADING)
        items = old @ right
        beside = np.sqrt(np.maximum(1 - np.einsum("nd,nd->n", items, items), 0))
        queries = (new - path.mean_new.astype(np.float32)) @ basis
        mean = np.append(path.mean_old @ right, 0.0)
        return _Mapped(queries, np.column_stack([items, beside]), mean, cross @ right, left)

    def deviations(self, path: Path, whitening: float) -> np.ndarray:
        """What the map makes of the queries, beside the mean, and as long on average as old deviations are."""
        spread = spread_of(path, whitening).astype(np.float32)
        rows, cross = self.queries * spread, spread[:, None] * self.cross
        if self.left is not None:
            rows, cross = rows @ self.left, self.left.T @ cross
        turned = rows @ polar(cross.astype(np.float64)).astype(np.float32)
        old = self.items[: len(turned), :-1] - self.mean[:-1]
        scale = np.sqrt(np.einsum("nd,nd->", old, old) / max(np.einsum("nd,nd->", turned, turned), 1e-30))
        return np.column_stack([scale * turned, np.zeros(len(turned), np.float32)])
