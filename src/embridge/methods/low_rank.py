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
from embridge.methods.validation import warn_if_few
from embridge.progress import Progress, silent
from embridge.space import Space

__all__ = ["LowRank"]


@dataclass(frozen=True, slots=True)
class LowRank:
    """``y = (x − μ_new) W V Vᵀ + μ_old``: W is `Ridge`'s, V the top ``rank`` eigenvectors of Wᵀ(XᵀX + λI)W.

    Without a penalty these are the right singular vectors of the fitted values XW (Izenman 1975); with one, no other
    map of that rank has less squared error plus λ‖W‖² (Mukherjee & Zhu 2011). Kept as two factors, so one vector costs
    ``rank · (d_new + d_old)`` multiplications rather than ``d_new · d_old``, and the file is as much smaller.

    rank: at most this; where the map can have no such rank (dims, or directions in the pairs, are fewer) it is `Ridge`'s
    own, and ``rank`` in the figures is what it has. penalty, penalties, center: as in `Ridge`, chosen for the map of that rank.

    Requirements and errors: as `Ridge`.

    >>> from embridge import Embeddings, Space
    >>> seen = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    >>> pairs = Pairs(Embeddings.of(seen, Space("new", "1", 6)), Embeddings.of(seen[:, :4], Space("old", "1", 4)))
    >>> upgrade = LowRank(rank=3).fit(pairs)
    >>> [step.weight.shape for step in upgrade.bridge.steps]
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
        """Fit on all pairs, with the penalty and the centring that held-out ones liked best."""
        require_cosine(pairs, "low-rank")
        warn_if_few(pairs)
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
    kept = vectors[:, ::-1][:, : max(1, min(rank, len(path.values)))]
    down = path.basis @ (shrunk @ kept)
    bias = path.mean_old - path.mean_new @ down @ kept.T
    new, old = pairs.new.space, pairs.old.space
    middle = Space(f"{old.model}, {kept.shape[1]} directions", old.revision, kept.shape[1], "dot")
    first = Linear(new, middle, down.astype(np.float32), normalize_input=True)
    return Composed([first, Linear(middle, old, np.ascontiguousarray(kept.T, np.float32), bias.astype(np.float32))])
