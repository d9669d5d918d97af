"""Orthogonal Procrustes: the rotation (or the partial isometry) that fits best, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.moments import LEADING, WHOLE, Moments, leading, polar
from embridge.methods.signal import check_signal
from embridge.methods.spread import evenly_spread
from embridge.methods.validation import held_out_score
from embridge.progress import Progress, silent
from embridge.shapes import Int64

__all__ = ["Procrustes", "fit_rotation"]

_LOOKED_AT = 1_000  # and by how many held-out pairs


@dataclass(frozen=True, slots=True)
class Procrustes:
    """``y = (x − μ_new) R + μ_old`` with R = U Vᵀ from the thin SVD of XᵀY; rectangular where the dims differ.

    Both sides are L2-normalised first. Weights of the pairs weigh XᵀY and the means. It warns below ``2 · d_old`` pairs,
    where a rotation begins to fit noise.

    Requirements: the same items encoded by both models; nothing else. Related: `XBT`, which starts from this map.

    Source: Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem".

    Attributes:
        center: Subtract the means before the fit and add the old one after it (True), do not (False), or choose by how many
            held-out pairs find each other (None): neither is safe everywhere. Where both sides have more than 384 dims, the
            two are compared in the 192 leading directions, by 1,000 pairs.
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
        moments = Moments.of(pairs)
        center, figures = self._choose(pairs, moments, seed) if self._is_to_choose(pairs) else (bool(self.center), {})
        progress(1, 2, "procrustes")
        bridge = _rotation(pairs, moments, center=center)
        progress(2, 2, "procrustes")
        return backward_upgrade(
            bridge, pairs, "procrustes", settings=self, seed=seed, figures={"centered": center} | figures
        )

    def choose_centring(self, pairs: Pairs, *, seed: int) -> tuple[bool, dict[str, float]]:
        """Choose by held-out pairs whether to centre.

        Returns:
            Whether to, and the held-out scores that say so; none where the setting or a lone pair decides.
        """
        if not self._is_to_choose(pairs):
            return bool(self.center), {}
        return self._choose(pairs, Moments.of(pairs), seed)

    def _is_to_choose(self, pairs: Pairs) -> bool:
        return self.center is None and len(pairs) > 1

    def _choose(self, pairs: Pairs, moments: Moments, seed: int) -> tuple[bool, dict[str, float]]:
        rows = pairs.split(self.validation_fraction, seed=seed)[1]
        if min(moments.cross.shape) > WHOLE:
            rows = rows[evenly_spread(len(rows), _LOOKED_AT)]
        plain, centered = _held_out_scores(moments - Moments.of(pairs, rows), *pairs.unit_rows(rows))
        return centered > plain, {"validation_mrr_plain": plain, "validation_mrr_centered": centered}


def fit_rotation(pairs: Pairs, *, center: bool, rows: Int64[np.ndarray, " k"] | None = None) -> Linear:
    """Fit ``y = (x − μ_new) R + μ_old`` for L2-normalised x; without the means where not centred.

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
    return _rotation(pairs, Moments.of(pairs, rows), center=center)


def _rotation(pairs: Pairs, moments: Moments, *, center: bool) -> Linear:
    rotation = polar(moments.centred_cross() if center else moments.cross)
    mean_new, mean_old = moments.means
    bias = (mean_old - mean_new @ rotation).astype(np.float32) if center else None
    return Linear(pairs.new.space, pairs.old.space, rotation.astype(np.float32), bias, normalize_input=center)


def _held_out_scores(train: Moments, new: np.ndarray, old: np.ndarray) -> tuple[float, float]:
    """How many held-out unit rows find each other by the rotation of the others: without centring, and with it."""
    if min(train.cross.shape) > WHOLE:
        train, new, old = _leading(train, new, old)
    mean_new, mean_old = train.means
    scores = []
    for center in (0.0, 1.0):
        rotation = polar(train.centred_cross() if center else train.cross).astype(np.float32)
        mapped = (new - (center * mean_new).astype(np.float32)) @ rotation + (center * mean_old).astype(np.float32)
        scores.append(held_out_score(mapped, old))
    return scores[0], scores[1]


def _leading(train: Moments, new: np.ndarray, old: np.ndarray) -> tuple[Moments, np.ndarray, np.ndarray]:
    """All of it in the leading directions, where rotations cost a tenth, and decide as the whole."""
    cross = train.cross.astype(np.float32)
    u, v = leading(cross, LEADING)
    moments = Moments(train.total, train.new @ u, train.old @ v, (u.T @ cross @ v).astype(np.float64))
    return moments, new @ u, old @ v
