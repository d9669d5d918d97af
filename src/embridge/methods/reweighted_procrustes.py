"""Reweighted Procrustes: the rotation after whitening, with less weight on directions that say less or that all items share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.least_squares import Path, path_of, require_spread
from embridge.methods.signal import check_signal
from embridge.methods.whitened_procrustes import WhitenedProcrustes
from embridge.methods.whitening import spread_of
from embridge.progress import Progress, silent

__all__ = ["ReweightedProcrustes", "fit_reweighted"]


@dataclass(frozen=True, slots=True)
class ReweightedProcrustes:
    """``y = s (x − μ_new) W U Sʳ Vᵀ W_old + kept_mean · μ_old``, with U S Vᵀ = W XᵀY.

    W = (C + 0.01 λ_max I)^(−whitening) of the covariance C of the L2-normalised new vectors; W_old likewise of the old ones, with
    old_whitening. s makes the deviations from the mean as long as those of the old vectors are. Sʳ gives less weight to
    directions in which both models agree less, and W_old to those in which old vectors differ most.

    Requirements: as `Procrustes`. It is made for texts that search images, where there are pairs of texts alone: it found more
    there than `WhitenedProcrustes`, and a little less among texts.

    Source: Artetxe, Labaka & Agirre, "Generalizing and improving bilingual word embedding mappings with a multi-step
    framework of linear transformations", AAAI 2018: whitening, rotation, re-weighting, de-whitening.

    ``Deviation:`` the paper whitens wholly, re-weights by S or not at all, and colours again where this whitens a little more.

    Attributes:
        whitening: 0.5 makes all new directions alike; 0 leaves them.
        reweighting: r; 0 is a rotation, and 1 what the covariance says.
        old_whitening: 0.5 makes all old directions alike.
        kept_mean: Of μ_old, which all old vectors have in common and which draws queries to the same few rows.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32) + 2
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4] - 1, Space("old", "1", 4)))
        >>> ReweightedProcrustes().fit(pairs).direction
        'backward'
    """

    paper: ClassVar[str] = WhitenedProcrustes.paper

    whitening: float = 0.2
    reweighting: float = 0.3
    old_whitening: float = 0.25
    kept_mean: float = 0.5

    def __post_init__(self) -> None:
        halves, wholes = (self.whitening, self.old_whitening), (self.reweighting, self.kept_mean)
        if not all(0 <= x <= 0.5 for x in halves) or not all(0 <= x <= 1 for x in wholes):
            raise SettingsError(
                "reweighted-procrustes: whitening and old_whitening lie in 0 … 0.5, reweighting and kept_mean in 0 … 1; "
                f"came {self}"
            )

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit on all pairs in closed form; nothing is held out.

        Args:
            pairs: The same items as both models see them.
            seed: Changes nothing.
            progress: Told of one step.

        Returns:
            A backward upgrade.

        Raises:
            InvalidInput: A space does not compare directions, or all vectors of a side point the same way.
        """
        require_cosine(pairs, "reweighted-procrustes")
        check_signal(pairs)
        require_spread(pairs, "reweighted-procrustes")
        progress(0, 1, "reweighted-procrustes")
        bridge = fit_reweighted(pairs, self)
        progress(1, 1, "reweighted-procrustes")
        return backward_upgrade(bridge, pairs, "reweighted-procrustes", settings=self, seed=seed, figures={})


def fit_reweighted(pairs: Pairs, settings: ReweightedProcrustes) -> Linear:
    """Fit the map alone, of pairs that were checked.

    Args:
        pairs: What to fit on.
        settings: How.

    Returns:
        The map from new to old.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(9, dtype=np.float32), Space(m, "1", 9)) for m in ("new", "old"))
        >>> bridge = fit_reweighted(Pairs(new, old), ReweightedProcrustes())
        >>> bridge.apply(new.vectors).argmax(axis=1).tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    new = path_of(pairs, center=True)
    old = path_of(Pairs(pairs.old, pairs.new, pairs.weights), center=True)
    spread = spread_of(new, settings.whitening)[:, None]
    u, strengths, vt = np.linalg.svd(spread * new.projected, full_matrices=False)
    turned = spread * ((u * (strengths / strengths[0]) ** settings.reweighting) @ vt)
    turned = (turned @ old.basis * spread_of(old, settings.old_whitening)) @ old.basis.T
    mapped = (new.values / new.values.sum() * _variance(new)) @ (turned**2).sum(axis=1)
    weight = (_variance(old) / mapped) ** 0.5 * (new.basis @ turned)
    bias = settings.kept_mean * new.mean_old - new.mean_new @ weight
    return Linear(
        pairs.new.space,
        pairs.old.space,
        weight.astype(np.float32),
        bias.astype(np.float32),
        normalize_input=True,
    )


def _variance(side: Path) -> float:
    """Of a side whose rows have length one."""
    return float(1 - side.mean_new @ side.mean_new)
