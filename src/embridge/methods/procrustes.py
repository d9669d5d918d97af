"""Orthogonal Procrustes: the rotation (or the partial isometry) that fits best, in closed form."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.progress import Progress, silent
from embridge.search import top_k
from embridge.shapes import Float32

__all__ = ["Procrustes", "fit_rotation"]


@dataclass(frozen=True, slots=True)
class Procrustes:
    """``y = (x − μ_new) R + μ_old`` with R = U Vᵀ from the thin SVD of XᵀY (Schönemann 1966; rectangular where d differ).

    center: subtract the means before the fit and add the old one after it (True), do not (False), or choose by how
    many held-out pairs find each other (None, the default): neither is safe everywhere. Both sides are L2-normalised
    first. Warns below ``2 · d_old`` pairs, where a rotation begins to fit noise.

    Requirements: the same items encoded by both models; nothing else. Related: `XBT`, which starts from this map.
    """

    paper: ClassVar[str] = "Schönemann 1966, A generalized solution of the orthogonal Procrustes problem"

    center: bool | None = None
    validation_fraction: float = 0.1

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit on all pairs; with ``center=None`` both forms are compared on held-out ones first."""
        require_cosine(pairs, "procrustes")
        warn_if_few(pairs)
        center, figures = self.choose_centring(pairs, seed=seed)
        progress(1, 2, "procrustes")
        bridge = fit_rotation(pairs, center=center)
        progress(2, 2, "procrustes")
        return backward_upgrade(
            bridge, pairs, "procrustes", settings=self, seed=seed, figures={"centered": center} | figures
        )

    def choose_centring(self, pairs: Pairs, *, seed: int) -> tuple[bool, dict[str, float]]:
        """Whether to centre, and the held-out scores that say so (none where the setting or a lone pair decides)."""
        if self.center is not None or len(pairs) < 2:
            return bool(self.center), {}
        train, held = pairs.hold_out(self.validation_fraction, seed=seed)
        plain, centered = (
            held_out_score(fit_rotation(train, center=c).apply(held.new.vectors), held.old.vectors)
            for c in (False, True)
        )
        return centered > plain, {"validation_mrr_plain": plain, "validation_mrr_centered": centered}


def fit_rotation(pairs: Pairs, *, center: bool) -> Linear:
    """``y = (x − μ_new) R + μ_old`` for L2-normalised x; without the means where not centred."""
    new, old = normalized(pairs.new.vectors), normalized(pairs.old.vectors)
    mean_new = new.mean(axis=0, dtype=np.float64) if center else np.zeros(new.shape[1])
    mean_old = old.mean(axis=0, dtype=np.float64) if center else np.zeros(old.shape[1])
    cross = (new.T @ old).astype(np.float64) - len(new) * np.outer(mean_new, mean_old)
    u, _, vt = np.linalg.svd(cross, full_matrices=False)
    rotation = u @ vt
    bias = (mean_old - mean_new @ rotation).astype(np.float32) if center else None
    return Linear(pairs.new.space, pairs.old.space, rotation.astype(np.float32), bias, normalize_input=center)


def held_out_score(mapped: Float32[np.ndarray, "n d"], old: Float32[np.ndarray, "n d"]) -> float:
    """Mean reciprocal rank (cut at 10) of each item's own old vector among all held-out ones."""
    ranking = top_k(mapped, old, min(10, len(old)))
    _, at_rank = np.nonzero(ranking.rows == np.arange(len(old))[:, None])
    return float((1.0 / (at_rank + 1)).sum() / len(old))


def warn_if_few(pairs: Pairs) -> None:
    """Warn below ``2 · d_old`` pairs."""
    enough = 2 * pairs.old.space.dim
    if len(pairs) < enough:
        warnings.warn(
            f"{len(pairs)} pairs fit a map into {pairs.old.space.dim} dimensions; at least {enough} are advised: "
            "with fewer it begins to fit noise",
            stacklevel=3,
        )
