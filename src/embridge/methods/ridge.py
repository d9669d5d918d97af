"""Ridge regression: the affine map of least squared error with an L2 penalty, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.least_squares import PENALTIES, Grid, Path, choose, require_spread
from embridge.methods.signal import check_signal
from embridge.progress import Progress, silent

__all__ = ["Ridge"]


@dataclass(frozen=True, slots=True)
class Ridge:
    """``y = (x − μ_new) W + μ_old``, W = (XᵀX + λI)⁻¹ XᵀY; both sides are L2-normalised first.

    Weights of the pairs weigh the squared errors and the means. As λ grows, a centred map tends to the old mean. Fewer pairs
    than dims, repeated ones and vectors that do not fill their space are fine: with ``penalty=0`` the shortest W is taken.

    Requirements: the same items encoded by both models; it warns below ``2 · d_old`` of them. Related: `Procrustes` may only
    turn, which over-fits less and keeps distances. So it carries over better to items of another kind than those fitted on.
    `LowRank` has fewer weights.

    Source: Hoerl & Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems".

    Attributes:
        center: As in `Procrustes`; it decides whether there is a bias.
        penalty: λ as a multiple of the mean eigenvalue of XᵀX, so that it means the same for any number of pairs. None takes
            the best of ``penalties`` on held-out pairs, then fits again on all pairs. All of them come from one
            eigendecomposition, of the smaller of XᵀX and XXᵀ.
        penalties: What is tried.
        validation_fraction: Share of the pairs that is held out.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4], Space("old", "1", 4)))
        >>> Ridge().fit(pairs).provenance.figures["validation_mrr"] > 0.9
        True
    """

    paper: ClassVar[str] = "Hoerl & Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems"

    center: bool | None = None
    penalty: float | None = None
    penalties: tuple[float, ...] = PENALTIES
    validation_fraction: float = 0.1

    def __post_init__(self) -> None:
        self._grid()

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit on all pairs, with the penalty and the centring that were best on held-out ones.

        Args:
            pairs: The same items as both models see them.
            seed: Of the split.
            progress: Told of every candidate.

        Returns:
            A backward upgrade.

        Raises:
            InvalidInput: A space does not compare directions, or all vectors of a side point the same way.
        """
        require_cosine(pairs, "ridge")
        check_signal(pairs)
        require_spread(pairs, "ridge")
        build = partial(_linear, pairs)
        bridge, figures = choose(build, pairs, self._grid(), seed=seed, progress=progress, name="ridge")
        return backward_upgrade(bridge, pairs, "ridge", settings=self, seed=seed, figures=figures)

    def _grid(self) -> Grid:
        return Grid(self.center, self.penalty, self.penalties, self.validation_fraction)


def _linear(pairs: Pairs, path: Path, penalty: float) -> Linear:
    weight = path.basis @ path.shrunk(penalty)
    bias = (path.mean_old - path.mean_new @ weight).astype(np.float32)
    return Linear(pairs.new.space, pairs.old.space, weight.astype(np.float32), bias, normalize_input=True)
