"""Penalised least squares for a whole grid of penalties from one eigendecomposition; what `Ridge` and `LowRank` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from embridge.adapters.base import Adapter, normalized
from embridge.embeddings import float32_rows
from embridge.errors import InvalidInput, SettingsError
from embridge.methods.base import Pairs
from embridge.methods.moments import Moments
from embridge.methods.validation import held_out_score
from embridge.progress import Progress

__all__ = ["PENALTIES", "Grid", "Path", "choose", "path_of", "require_spread"]

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

_FEW_ROWS = 256  # of which the first ones are mostly not alike
_ROUNDING = 1e-13  # share of the squared lengths below which a direction is rounding, since vectors are float32


@dataclass(frozen=True, slots=True)
class Grid:
    """What is tried on held-out pairs: every penalty, with centring, without it, or both.

    Attributes:
        center: Centre, do not, or try both (None).
        penalty: The one penalty to take; None tries all.
        penalties: What is tried.
        validation_fraction: Share of the pairs that is held out.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> Grid(None, None, (0.1, 1.0), 0.1).listed()
        [(False, 0.1), (False, 1.0), (True, 0.1), (True, 1.0)]
    """

    center: bool | None
    penalty: float | None
    penalties: tuple[float, ...]
    validation_fraction: float

    def __post_init__(self) -> None:
        tried = self.penalties if self.penalty is None else (self.penalty,)
        if not tried or not all(np.isfinite(p) and p >= 0 for p in tried):
            raise SettingsError(f"penalties are finite and at least 0, and there is at least one; came {list(tried)}")
        if not 0 < self.validation_fraction < 1:
            raise SettingsError(f"validation_fraction lies in (0, 1), came {self.validation_fraction}")

    def listed(self) -> list[tuple[bool, float]]:
        """Every (centring, penalty)."""
        centers = (False, True) if self.center is None else (self.center,)
        return list(product(centers, self.penalties if self.penalty is None else (self.penalty,)))


@dataclass(frozen=True, slots=True)
class Path:
    """``W(λ) = basis · diag(1 / (values + λ)) · projected``, float64, for every λ ≥ 0.

    λ is ``penalty`` times the mean of all d_new eigenvalues, so that one penalty means the same for more pairs, heavier
    weights or vectors closer together. With λ = 0 and fewer directions than d_new, W is the solution of least length.

    Attributes:
        mean_new: Mean of the new side [d_new]; zero where nothing is centred.
        mean_old: Mean of the old side [d_old]; likewise.
        basis: Eigenvectors of XᵀX [d_new, r].
        values: Its eigenvalues that are above rounding [r].
        projected: basisᵀXᵀY [r, d_old].

    Examples:
        >>> path = Path(np.zeros(1), np.zeros(1), np.eye(1), np.array([2.0]), np.array([[4.0]]))
        >>> path.shrunk(0.0).item(), path.shrunk(1.0).item()
        (2.0, 1.0)
    """

    mean_new: np.ndarray
    mean_old: np.ndarray
    basis: np.ndarray
    values: np.ndarray
    projected: np.ndarray

    def shrunk(self, penalty: float) -> np.ndarray:
        """``diag(1 / (values + λ)) · projected`` [r, d_old]."""
        strength = penalty * self.values.sum() / len(self.mean_new)
        result: np.ndarray = self.projected / (self.values + strength)[:, None]
        return result


def choose(
    build: Callable[[Path, float], Adapter], pairs: Pairs, tried: Grid, *, seed: int, progress: Progress, name: str
) -> tuple[Adapter, dict[str, Any]]:
    """Choose by held-out pairs, then fit on all of them.

    Equal scores go to the higher mean cosine. A lone candidate needs no held-out pairs.

    Args:
        build: Makes the map of a path and a penalty.
        pairs: What to fit on.
        tried: The candidates.
        seed: Of the split.
        progress: Told of every candidate.
        name: What progress calls them.

    Returns:
        The map of all pairs whose like, fitted without the held-out ones, scored best on them; and the figures.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.adapters import Linear
        >>> from embridge.progress import silent
        >>> new, old = (Embeddings.of(np.eye(9, dtype=np.float32), Space(m, "1", 9)) for m in ("new", "old"))
        >>> def build(path, penalty):
        ...     return Linear(new.space, old.space, (path.basis @ path.shrunk(penalty)).astype(np.float32))
        >>> grid = Grid(False, None, (0.1, 1.0), 0.3)
        >>> choose(build, Pairs(new, old), grid, seed=0, progress=silent, name="ridge")[1]["centered"]
        False
    """
    candidates = tried.listed()
    steps = len(candidates) + 1
    every = _moments(pairs) if len(pairs) >= pairs.new.space.dim else None
    if len(candidates) == 1:
        (center, penalty), figures = candidates[0], {}
    else:
        rows, held_rows = pairs.split(tried.validation_fraction, seed=seed)
        held_out = pairs.take(held_rows)
        train = pairs.take(rows) if every is None else pairs
        known = None if every is None else every - _moments(pairs, held_rows)
        scores = []
        centers = dict.fromkeys(center for center, _ in candidates)
        paths = {center: path_of(train, center=center, moments=known) for center in centers}
        for done, (center, penalty) in enumerate(candidates, start=1):
            scores.append(_score(build(paths[center], penalty), held_out))
            progress(done, steps, name)
        best = max(range(len(scores)), key=scores.__getitem__)
        center, penalty = candidates[best]
        figures = {"validation_mrr": scores[best][0], "validation_scores": _table(candidates, scores)}
    chosen = build(path_of(pairs, center=center, moments=every), penalty)
    progress(steps, steps, name)
    return chosen, {"centered": center, "penalty": penalty} | figures


def path_of(pairs: Pairs, *, center: bool, moments: Moments | None = None) -> Path:
    """Decompose the pairs once, for every penalty.

    The smaller matrix is decomposed: moments where pairs are no fewer than dims, else inner products of the pairs.

    Args:
        pairs: What to fit on.
        center: Subtract the means.
        moments: Sums over the pairs that are known already, with XᵀX.

    Returns:
        The decomposition, which gives the map of every penalty.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(3, dtype=np.float32), Space(m, "1", 3)) for m in ("new", "old"))
        >>> path = path_of(Pairs(new, old), center=False)
        >>> bool(np.allclose(path.basis @ path.shrunk(0.0), np.eye(3)))
        True
    """
    if moments is None and len(pairs) < pairs.new.space.dim:
        return _from_rows(pairs, center=center)
    return _from_moments(moments or _moments(pairs), center=center)


def require_spread(pairs: Pairs, method: str) -> None:
    """Refuse pairs of which all new vectors, or all old ones, point the same way: there is nothing to fit.

    Args:
        pairs: What is to be fitted on.
        method: What messages call the method.

    Raises:
        InvalidInput: They do.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(3, dtype=np.float32), Space(m, "1", 3)) for m in ("new", "old"))
        >>> require_spread(Pairs(new, old), "ridge")
    """
    for what, side in (("new", pairs.new), ("old", pairs.old)):
        first = normalized(float32_rows(side, slice(1)))
        if all(np.abs(normalized(part.vectors) - first).max() < 1e-6 for part in side.chunks(_FEW_ROWS)):
            raise InvalidInput(
                f"{method}: all {len(pairs)} {what} vectors point the same way, so nothing tells items apart; "
                "check what was encoded"
            )


def _moments(pairs: Pairs, rows: np.ndarray | None = None) -> Moments:
    """In float64 throughout: without a penalty, directions count in which the vectors hardly vary."""
    return Moments.of(pairs, rows, gram=True, dtype=np.float64)


def _from_moments(sums: Moments, *, center: bool) -> Path:
    if sums.gram is None:
        raise ValueError("these moments were taken without XᵀX")
    mean_new, mean_old = sums.means if center else (0 * sums.new, 0 * sums.old)
    values, basis = np.linalg.eigh(sums.gram - sums.total * np.outer(mean_new, mean_new))
    spanned = values > _ROUNDING * sums.total
    basis = basis[:, spanned]
    projected = basis.T @ (sums.centred_cross() if center else sums.cross)
    return Path(mean_new, mean_old, basis, values[spanned], projected)


def _from_rows(pairs: Pairs, *, center: bool) -> Path:
    """The same from XXᵀ = U diag(values) Uᵀ: the eigenvectors of XᵀX are XᵀU / √values."""
    new, old = (side.astype(np.float64) for side in pairs.unit_rows(slice(None)))
    roots = np.sqrt(np.ones(len(pairs)) if pairs.weights is None else pairs.weights)
    share = 1.0 if center else 0.0
    mean_new, mean_old = (share * (roots**2 @ side) / (roots @ roots) for side in (new, old))
    x, y = ((side - mean) * roots[:, None] for side, mean in ((new, mean_new), (old, mean_old)))
    values, u = np.linalg.eigh(x @ x.T)
    spanned = values > _ROUNDING * (roots @ roots)
    u, lengths = u[:, spanned], np.sqrt(values[spanned])
    return Path(mean_new, mean_old, x.T @ u / lengths, values[spanned], lengths[:, None] * (u.T @ y))


def _score(bridge: Adapter, held_out: Pairs) -> tuple[float, float]:
    mapped = bridge.apply(held_out.new.vectors)
    cosine = np.einsum("nd,nd->n", normalized(mapped), normalized(held_out.old.vectors)).mean()
    return held_out_score(mapped, held_out.old.vectors), float(cosine)


def _table(candidates: Sequence[tuple[bool, float]], scores: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    return [
        {"centered": center, "penalty": penalty, "mrr": mrr, "cosine": cosine}
        for (center, penalty), (mrr, cosine) in zip(candidates, scores, strict=True)
    ]
