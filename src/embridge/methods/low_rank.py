"""Reduced-rank regression: an affine map through a narrow middle, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from embridge.adapters.composed import Composed
from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.least_squares import PENALTIES, Grid, Path, choose, require_spread
from embridge.methods.signal import check_signal
from embridge.progress import Progress, silent
from embridge.space import Space

__all__ = ["LowRank"]


@dataclass(frozen=True, slots=True)
class LowRank:
    """``y = (x − μ_new) W V Vᵀ + μ_old``: W is `Ridge`'s, V the top ``rank`` eigenvectors of Wᵀ(XᵀX + λI)W.

    Without a penalty these are the right singular vectors of the fitted values XW. With one, no other map of that rank has
    less squared error plus λ‖W‖² (Mukherjee & Zhu 2011). The map is kept as two factors: one vector costs
    ``rank · (d_new + d_old)`` multiplications rather than ``d_new · d_old``, and the file is as much smaller.

    Requirements: as `Ridge`.

    Source: Izenman 1975, "Reduced-rank regression for the multivariate linear model".

    Attributes:
        rank: At most this. Where the map can have no such rank (dims, or directions in the pairs, are fewer) it is `Ridge`'s
            own, and ``rank`` in the figures is what it has.
        center: As in `Ridge`, chosen for the map of that rank.
        penalty: As in `Ridge`.
        penalties: As in `Ridge`.
        validation_fraction: Share of the pairs that is held out.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4], Space("old", "1", 4)))
        >>> [step.weight.shape for step in LowRank(rank=3).fit(pairs).bridge.steps]
        [(6, 3), (3, 4)]
    """

    paper: ClassVar[str] = "Izenman 1975, Reduced-rank regression for the multivariate linear model"

    rank: int = 64
    center: bool | None = None
    penalty: float | None = None
    penalties: tuple[float, ...] = PENALTIES
    validation_fraction: float = 0.1

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise SettingsError(f"rank is at least 1, came {self.rank}")
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
        require_cosine(pairs, "low-rank")
        check_signal(pairs)
        require_spread(pairs, "low-rank")
        build = partial(_factors, pairs, self.rank)
        bridge, figures = choose(build, pairs, self._grid(), seed=seed, progress=progress, name="low-rank")
        figures |= {"rank": bridge.weights()["1.weight"].shape[0]}
        return backward_upgrade(bridge, pairs, "low-rank", settings=self, seed=seed, figures=figures)

    def _grid(self) -> Grid:
        return Grid(self.center, self.penalty, self.penalties, self.validation_fraction)


def _factors(pairs: Pairs, rank: int, path: Path, penalty: float) -> Composed:
    shrunk = path.shrunk(penalty)
    _, vectors = np.linalg.eigh(path.projected.T @ shrunk)  # Wᵀ(XᵀX + λI)W, as basis has orthonormal columns
    top = vectors[:, ::-1][:, : max(1, min(rank, len(path.values)))]
    down = path.basis @ (shrunk @ top)
    bias = path.mean_old - path.mean_new @ down @ top.T
    new, old = pairs.new.space, pairs.old.space
    middle = Space(f"{old.model}, {top.shape[1]} directions", old.revision, top.shape[1], "dot")
    first = Linear(new, middle, down.astype(np.float32), normalize_input=True)
    return Composed([first, Linear(middle, old, np.ascontiguousarray(top.T, np.float32), bias.astype(np.float32))])
