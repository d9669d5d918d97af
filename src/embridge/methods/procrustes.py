"""Orthogonal Procrustes: the rotation (or the partial isometry) that fits best, in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.signal import check_signal
from embridge.methods.validation import held_out_score
from embridge.progress import Progress, silent
from embridge.shapes import Int64

__all__ = ["Procrustes", "fit_rotation"]

_CHUNK_ROWS = 1 << 17


@dataclass(frozen=True, slots=True)
class Procrustes:
    """``y = (x − μ_new) R + μ_old`` with R = U Vᵀ from the thin SVD of XᵀY; rectangular where the dims differ.

    Both sides are L2-normalised first. Weights of the pairs weigh XᵀY and the means. It warns below ``2 · d_old`` pairs,
    where a rotation begins to fit noise.

    Requirements: the same items encoded by both models; nothing else. Related: `XBT`, which starts from this map.

    Source: Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem".

    Attributes:
        center: Subtract the means before the fit and add the old one after it (True), do not (False), or choose by how many
            held-out pairs find each other (None): neither is safe everywhere.
        validation_fraction: Share of the pairs that is held out where centring is chosen.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.adapters.base import normalized
        >>> new = Embeddings.of(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32), Space("new", "1", 3))
        >>> turned = normalized(new.vectors[:, [1, 2, 0]])
        >>> upgrade = Procrustes(center=False).fit(Pairs(new, Embeddings.of(turned, Space("old", "1", 3))))
        >>> bool(np.allclose(normalized(upgrade.to_index_space(new).vectors), turned, atol=1e-5))
        True
    """

    paper: ClassVar[str] = "Schönemann 1966, A generalized solution of the orthogonal Procrustes problem"

    center: bool | None = None
    validation_fraction: float = 0.1

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit on all pairs; with ``center=None`` both forms are compared on held-out ones first.

        Args:
            pairs: The same items as both models see them.
            seed: Of the split.
            progress: Told of two steps.

        Returns:
            A backward upgrade.

        Raises:
            InvalidInput: A space does not compare directions.
        """
        require_cosine(pairs, "procrustes")
        check_signal(pairs)
        center, figures = self.choose_centring(pairs, seed=seed)
        progress(1, 2, "procrustes")
        bridge = fit_rotation(pairs, center=center)
        progress(2, 2, "procrustes")
        return backward_upgrade(
            bridge, pairs, "procrustes", settings=self, seed=seed, figures={"centered": center} | figures
        )

    def choose_centring(self, pairs: Pairs, *, seed: int) -> tuple[bool, dict[str, float]]:
        """Choose by held-out pairs whether to centre.

        Returns:
            Whether to, and the held-out scores that say so; none where the setting or a lone pair decides.
        """
        if self.center is not None or len(pairs) < 2:
            return bool(self.center), {}
        train, rows = pairs.split(self.validation_fraction, seed=seed)
        held_out = pairs.take(rows)
        plain, centered = (
            held_out_score(fit_rotation(pairs, center=c, rows=train).apply(held_out.new.vectors), held_out.old.vectors)
            for c in (False, True)
        )
        return centered > plain, {"validation_mrr_plain": plain, "validation_mrr_centered": centered}


def fit_rotation(pairs: Pairs, *, center: bool, rows: Int64[np.ndarray, " k"] | None = None) -> Linear:
    """Fit ``y = (x − μ_new) R + μ_old`` for L2-normalised x; without the means where not centred.

    Sums are taken over a part of the pairs at a time, so that a million of them need no more memory than a hundred thousand.

    Args:
        pairs: What to fit on.
        center: Subtract the means.
        rows: The numbers of the pairs to fit on [k]; all where None.

    Returns:
        The map from new to old.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(2, dtype=np.float32), Space(m, "1", 2)) for m in ("new", "old"))
        >>> fit_rotation(Pairs(new, old), center=False).weight.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    weights = pairs.weights if pairs.weights is None or rows is None else pairs.weights[rows]
    shares = None if weights is None else _shares(weights)
    d_new, d_old = pairs.new.space.dim, pairs.old.space.dim
    mean_new, mean_old = _means(pairs, rows, shares) if center else (np.zeros(d_new), np.zeros(d_old))
    cross = np.zeros((d_new, d_old))
    for part, (new, old) in _unit_parts(pairs, rows):
        if center:  # before the product: where the means are large, little would be left of it in float32
            new -= mean_new.astype(np.float32)
            old -= mean_old.astype(np.float32)
        weighted = new if shares is None else new * shares[part, None]
        cross += weighted.T @ old
    u, _, vt = np.linalg.svd(cross, full_matrices=False)
    rotation = u @ vt
    bias = (mean_old - mean_new @ rotation).astype(np.float32) if center else None
    return Linear(pairs.new.space, pairs.old.space, rotation.astype(np.float32), bias, normalize_input=center)


def _means(pairs: Pairs, rows: np.ndarray | None, shares: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The means of both sides, weighted where there are shares, summed in float64."""
    sums = np.zeros(pairs.new.space.dim), np.zeros(pairs.old.space.dim)
    for part, sides in _unit_parts(pairs, rows):
        for total, side in zip(sums, sides, strict=True):
            total += side.sum(axis=0, dtype=np.float64) if shares is None else shares[part] @ side
    count = len(pairs) if rows is None else len(rows)
    return sums[0] / count, sums[1] / count


def _unit_parts(pairs: Pairs, rows: np.ndarray | None) -> Iterator[tuple[slice, tuple[np.ndarray, np.ndarray]]]:
    """Where each part lies among the rows, and both sides of it."""
    for start in range(0, len(pairs) if rows is None else len(rows), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        yield part, pairs.unit_rows(part if rows is None else rows[part])


def _shares(weights: np.ndarray) -> np.ndarray:
    """Weights whose mean is one, float32."""
    shares: np.ndarray = (weights / weights.mean()).astype(np.float32)
    return shares
