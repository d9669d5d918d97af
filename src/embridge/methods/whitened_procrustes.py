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
from embridge.methods.moments import Moments, polar
from embridge.methods.signal import check_signal
from embridge.methods.spread import evenly_spread
from embridge.methods.whitening import KEPT_MEANS, WHITENINGS, Strength, choose_strength, spread_of
from embridge.progress import Progress, silent
from embridge.space import Space

__all__ = ["WhitenedProcrustes", "fit_whitened", "whitened"]

_FEWEST, _MOST = 20, 250  # held-out pairs by which a strength is chosen
_ITEMS = 3_000  # among which they find their neighbours: with fewer, too little whitening looks best
_USUAL = Strength(0.2, 0.5)  # with fewer


@dataclass(frozen=True, slots=True)
class WhitenedProcrustes:
    """``y = s (x − μ_new) W R + kept_mean · μ_old``, W = (C + 0.01 λ_max I)^(−whitening), R = U Vᵀ of the SVD of W XᵀY.

    C is the covariance of the L2-normalised new vectors. s makes the deviations from the mean as long as those of the old
    vectors are. Weights of the pairs weigh C, XᵀY and the means.

    Requirements: as `Procrustes`, which is the safe choice. This one found more where vectors have much in common, as those
    of CLIP have, and a little less where they have not.

    Source: Artetxe, Labaka & Agirre, "Generalizing and improving bilingual word embedding mappings with a multi-step
    framework of linear transformations", AAAI 2018, section 3: whiten, rotate, colour again.

    How much is whitened, and how much of the mean is kept, is chosen by how far held-out items find what the new model finds
    (`NeighbourAgreement`), where the settings leave it open.

    ``Deviation:`` the paper whitens both sides, and wholly. Here only the new one is, in part, and nothing is coloured again:
    nearer to 0.5 captions still find captions, and fewer images. The paper keeps all of the mean, or none.

    Attributes:
        whitening: 0.5 makes all directions alike; 0 is Procrustes. None chooses among 0, 0.1, 0.2 and 0.3.
        kept_mean: Of μ_old, which all old vectors have in common and which draws queries to the same few rows. With 1
            absolute scores stay where they were. Below 1 the map is for queries: rows that are written through it do not lie
            where the old model's rows do. None chooses among 0, 0.5 and 1.
        validation_fraction: Share of the pairs that is held out to choose by, 250 at most. They find their neighbours among
            3,000 of all pairs.

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

    whitening: float | None = None
    kept_mean: float | None = None
    validation_fraction: float = 0.1

    def __post_init__(self) -> None:
        whitening, kept_mean = self.whitening or 0, self.kept_mean or 0
        if not 0 <= whitening <= 0.5 or not 0 <= kept_mean <= 1:
            raise SettingsError(
                f"whitened-procrustes: whitening lies in 0 … 0.5 and kept_mean in 0 … 1, came {self.whitening} and "
                f"{self.kept_mean}"
            )
        if not 0 < self.validation_fraction < 1:
            raise SettingsError(f"validation_fraction lies in (0, 1), came {self.validation_fraction}")

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit on all pairs in closed form, with the strength that was best on held-out ones.

        Args:
            pairs: The same items as both models see them.
            seed: Of the split.
            progress: Told of two steps.

        Returns:
            A backward upgrade.

        Raises:
            InvalidInput: A space does not compare directions, or all vectors of a side point the same way.
        """
        require_cosine(pairs, "whitened-procrustes")
        check_signal(pairs)
        require_spread(pairs, "whitened-procrustes")
        bridge, figures = fit_whitened(pairs, self, seed=seed, progress=progress)
        return backward_upgrade(bridge, pairs, "whitened-procrustes", settings=self, seed=seed, figures=figures)

    def strength(self, pairs: Pairs, path: Path, moments: Moments, *, seed: int) -> Strength:
        """What the settings say, or what held-out pairs do."""
        whitenings = WHITENINGS if self.whitening is None else (self.whitening,)
        kept_means = KEPT_MEANS if self.kept_mean is None else (self.kept_mean,)
        if len(whitenings) == len(kept_means) == 1:
            return Strength(whitenings[0], kept_means[0])
        rows = pairs.split(self.validation_fraction, seed=seed)[1] if len(pairs) > 1 else np.arange(0)
        if len(rows) < _FEWEST:
            usual = zip((self.whitening, self.kept_mean), (_USUAL.whitening, _USUAL.kept_mean), strict=True)
            return Strength(*(value if given is None else given for given, value in usual))
        rows = rows[evenly_spread(len(rows), _MOST)]
        others = np.setdiff1d(np.arange(len(pairs)), rows)
        items = pairs.unit_rows(np.concatenate([rows, others[evenly_spread(len(others), _ITEMS - len(rows))]]))
        train = moments - Moments.of(pairs, rows)
        return choose_strength(path, train, items, len(rows), whitenings=whitenings, kept_means=kept_means)


def fit_whitened(
    pairs: Pairs, settings: WhitenedProcrustes, *, seed: int = 0, progress: Progress = silent
) -> tuple[Linear, dict[str, float]]:
    """Fit the map alone, of pairs that were checked.

    Args:
        pairs: What to fit on.
        settings: How.
        seed: Of the split that a strength is chosen by.
        progress: Told of two steps.

    Returns:
        The map from new to old, and its strength as figures.

    Examples:
        >>> from embridge import Embeddings
        >>> new, old = (Embeddings.of(np.eye(9, dtype=np.float32), Space(m, "1", 9)) for m in ("new", "old"))
        >>> fit_whitened(Pairs(new, old), WhitenedProcrustes())[1]
        {'whitening': 0.2, 'kept_mean': 0.5}
    """
    progress(0, 2, "whitened-procrustes")
    moments = Moments.of(pairs, gram=len(pairs) >= pairs.new.space.dim)
    path = path_of(pairs, center=True, moments=moments if moments.gram is not None else None)
    progress(1, 2, "whitened-procrustes")
    strength = settings.strength(pairs, path, moments, seed=seed)
    bridge = whitened(path, (pairs.new.space, pairs.old.space), strength.whitening, strength.kept_mean)
    progress(2, 2, "whitened-procrustes")
    figures = {"whitening": strength.whitening, "kept_mean": strength.kept_mean}
    return bridge, figures if strength.agreement is None else figures | {"validation_agreement": strength.agreement}


def whitened(path: Path, spaces: tuple[Space, Space], whitening: float, kept_mean: float) -> Linear:
    """Make the map of one strength from a decomposition, at the cost of one polar factor.

    Args:
        path: The decomposition of centred pairs, by `path_of`.
        spaces: The new one and the old one.
        whitening: As in `WhitenedProcrustes`.
        kept_mean: Likewise.

    Returns:
        The map from new to old.

    Examples:
        >>> from embridge import Embeddings
        >>> new, old = (Embeddings.of(np.eye(9, dtype=np.float32), Space(m, "1", 9)) for m in ("new", "old"))
        >>> bridge = whitened(path_of(Pairs(new, old), center=True), (new.space, old.space), 0.2, 1.0)
        >>> bridge.apply(new.vectors).argmax(axis=1).tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    spread = spread_of(path, whitening)[:, None]
    turned = spread * polar(spread * path.projected)  # along the directions of the covariance
    new, old = (1 - mean @ mean for mean in (path.mean_new, path.mean_old))  # variances: rows have length one
    mapped = (path.values / path.values.sum() * new) @ (turned**2).sum(axis=1)
    weight = (old / mapped) ** 0.5 * (path.basis @ turned)
    bias = kept_mean * path.mean_old - path.mean_new @ weight
    return Linear(*spaces, weight.astype(np.float32), bias.astype(np.float32), normalize_input=True)
