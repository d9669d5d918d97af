"""The mean shift: only the average of the vectors is moved. A control, and all that some pairs of models need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.errors import InvalidInput
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.signal import check_signal
from embridge.progress import Progress, silent

__all__ = ["MeanShift"]

_CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class MeanShift:
    """``y = s ∘ (x − μ_new) + μ_old``; both sides are L2-normalised first.

    Moving means closes the gap that modalities or releases of one model leave between them. It turns nothing, so between
    models that were trained apart it scores at chance. That is what this control is for: another method is worth its weights
    by what it adds to this. Weights of the pairs weigh all sums.

    Requirements: the same items encoded by both models, and equal dims; it warns below ``2 · d_old`` pairs. Where all vectors
    are equal, their one difference is the shift. Related: `Procrustes` also turns.

    Source: Liang et al., "Mind the gap: understanding the modality gap in multi-modal contrastive representation learning",
    NeurIPS 2022 (arXiv 2203.02053): the shift of means alone.

    Attributes:
        diagonal: s is the slope of least squares on each axis, ``Σ(x − μ)(y − μ) / Σ(x − μ)²``; 1 on an axis where the new
            vectors do not vary. Otherwise s is 1.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = Space("new", "1", 2), Space("old", "1", 2)
        >>> sides = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32), np.array([[0, -1], [-1, 0]] * 2, np.float32)
        >>> upgrade = MeanShift().fit(Pairs(Embeddings.of(sides[0], new), Embeddings.of(sides[1], old)))
        >>> upgrade.to_index_space(Embeddings.of(sides[0][:2], new)).vectors.tolist()
        [[0.0, -1.0], [-1.0, 0.0]]
    """

    paper: ClassVar[str] = (
        "Liang et al., Mind the gap: understanding the modality gap in multi-modal contrastive representation learning, NeurIPS "
        "2022, arXiv 2203.02053 (the shift of means alone)"
    )

    diagonal: bool = False

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit on all pairs; nothing is chosen.

        Args:
            pairs: The same items as both models see them.
            seed: Changes nothing.
            progress: Told of one step.

        Returns:
            A backward upgrade.

        Raises:
            InvalidInput: A space does not compare directions, or the dims differ.
        """
        require_cosine(pairs, "mean-shift")
        new, old = pairs.new.space, pairs.old.space
        if new.dim != old.dim:
            raise InvalidInput(
                f"mean-shift keeps the axes, so both spaces need one dim; came {new.dim} new and {old.dim} old: "
                "use procrustes, ridge or low-rank"
            )
        check_signal(pairs)
        mean_new, mean_old, slopes = _axes(pairs, diagonal=self.diagonal)
        bias = (mean_old - mean_new * slopes).astype(np.float32)
        bridge = Linear(new, old, np.diag(slopes).astype(np.float32), bias, normalize_input=True)
        progress(1, 1, "mean-shift")
        figures = {"shift": float(np.linalg.norm(mean_old - mean_new))}
        return backward_upgrade(bridge, pairs, "mean-shift", settings=self, seed=seed, figures=figures)


def _axes(pairs: Pairs, *, diagonal: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both means and the slopes, from weighted sums in float64."""
    total, new, old, squares, products = 0.0, *np.zeros((4, pairs.new.space.dim))
    for start in range(0, len(pairs), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        x, y = (side.astype(np.float64) for side in pairs.unit_rows(part))
        weights = np.ones(len(x)) if pairs.weights is None else pairs.weights[part]
        total += weights.sum()
        new, old = new + weights @ x, old + weights @ y
        squares, products = squares + weights @ x**2, products + weights @ (x * y)
    mean_new, mean_old = new / total, old / total
    variance, covariance = squares / total - mean_new**2, products / total - mean_new * mean_old
    slopes = np.ones_like(variance)
    if diagonal:
        np.divide(covariance, variance, out=slopes, where=variance > 1e-12)
    return mean_new, mean_old, slopes
