"""Whitened Procrustes: the rotation of vectors whose directions were made more alike in spread, and less of the common part."""

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
from embridge.progress import Progress, silent

__all__ = ["WhitenedProcrustes"]

_FLOOR = 0.01  # of the largest variance, added to each: directions without any would be blown up


@dataclass(frozen=True, slots=True)
class WhitenedProcrustes:
    """``y = s (x − μ_new) W R + kept_mean · μ_old``, W = (C + 0.01 λ_max I)^(−whitening), R = U Vᵀ of the SVD of W XᵀY.

    C is the covariance of the L2-normalised new vectors. s makes the deviations from the mean as long as those of the old
    vectors are. Weights of the pairs weigh C, XᵀY and the means.

    Requirements: as `Procrustes`, which is the safe choice. This one found more where vectors have much in common, as those
    of CLIP have, and a little less where they have not.

    Source: Artetxe, Labaka & Agirre, "Generalizing and improving bilingual word embedding mappings with a multi-step
    framework of linear transformations", AAAI 2018, section 3: whiten, rotate, colour again.

    ``Deviation:`` the paper whitens both sides, and wholly. Here only the new one is, in part, and nothing is coloured again:
    nearer to 0.5 captions still find captions, and fewer images. The paper keeps all of the mean, or none.

    Attributes:
        whitening: 0.5 makes all directions alike; 0 is Procrustes.
        kept_mean: Of μ_old, which all old vectors have in common and which draws queries to the same few rows. With 1
            absolute scores stay where they were. Below 1 the map is for queries: rows that are written through it do not lie
            where the old model's rows do.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32) + 2
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4] - 1, Space("old", "1", 4)))
        >>> WhitenedProcrustes().fit(pairs).direction
        'backward'
    """

    paper: ClassVar[str] = (
        "Artetxe, Labaka & Agirre, Generalizing and improving bilingual word embedding mappings with a multi-step framework "
        "of linear transformations, AAAI 2018"
    )

    whitening: float = 0.2
    kept_mean: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.whitening <= 0.5 or not 0 <= self.kept_mean <= 1:
            raise SettingsError(
                f"whitened-procrustes: whitening lies in 0 … 0.5 and kept_mean in 0 … 1, came {self.whitening} and "
                f"{self.kept_mean}"
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
        require_cosine(pairs, "whitened-procrustes")
        check_signal(pairs)
        require_spread(pairs, "whitened-procrustes")
        progress(0, 1, "whitened-procrustes")
        bridge = _map(pairs, path_of(pairs, center=True), self)
        progress(1, 1, "whitened-procrustes")
        return backward_upgrade(bridge, pairs, "whitened-procrustes", settings=self, seed=seed, figures={})


def _map(pairs: Pairs, moments: Path, settings: WhitenedProcrustes) -> Linear:
    spread = (moments.values + _FLOOR * moments.values.max()) ** -settings.whitening
    u, _, vt = np.linalg.svd(spread[:, None] * moments.projected, full_matrices=False)
    turned = spread[:, None] * (u @ vt)  # along the directions of the covariance
    new, old = (1 - mean @ mean for mean in (moments.mean_new, moments.mean_old))  # variances: rows have length one
    mapped = (moments.values / moments.values.sum() * new) @ (turned**2).sum(axis=1)
    weight = (old / mapped) ** 0.5 * (moments.basis @ turned)
    bias = settings.kept_mean * moments.mean_old - moments.mean_new @ weight
    spaces = pairs.new.space, pairs.old.space
    return Linear(*spaces, weight.astype(np.float32), bias.astype(np.float32), normalize_input=True)
