"""Which parts of one space stand for which of another, from distances within each alone: entropic Gromov-Wasserstein."""

from __future__ import annotations

import numpy as np

from embridge.adapters.base import normalized

__all__ = ["cluster", "couple", "similarity_profiles"]

_LLOYD_ROUNDS, _QUANTILES = 15, 32
_FIRST_SINKHORN_ROUNDS, _SINKHORN_ROUNDS, _MIRROR_ROUNDS = 100, 20, 60
_WARM, _COLD = 0.1, 0.003  # entropy, as a share of the spread of the costs, at the start and at the end


def cluster(x: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Spherical k-means of unit vectors.

    The first centres are far apart (k-means++). A cluster that loses its rows starts again at the row worst served.

    Args:
        x: Float32 unit rows [n, d].
        count: How many clusters, c.
        rng: Draws the first centres.

    Returns:
        Unit centres [c, d], and the share of the rows in each [c].

    Examples:
        >>> cluster(np.eye(2, dtype=np.float32), 2, np.random.default_rng(0))[1].tolist()
        [0.5, 0.5]
    """
    centres = x[[rng.integers(len(x))]]
    distance = np.full(len(x), np.inf)
    while len(centres) < count:
        distance = np.minimum(distance, np.maximum(1 - x @ centres[-1], 0))
        total = distance.sum()
        row = rng.choice(len(x), p=distance / total) if total > 0 else rng.integers(len(x))
        centres = np.vstack([centres, x[row]])
    for _ in range(_LLOYD_ROUNDS):
        similarity = x @ centres.T
        nearest = similarity.argmax(axis=1)
        members = np.zeros((count, len(x)), np.float32)
        members[nearest, np.arange(len(x))] = 1
        sizes = members.sum(axis=1)
        centres = normalized(members @ x)
        empty = np.flatnonzero(sizes == 0)
        centres[empty] = x[similarity.max(axis=1).argsort()[: len(empty)]]
    shares: np.ndarray = np.maximum(sizes, 1).astype(np.float64)
    return centres, shares / shares.sum()


def couple(
    new: tuple[np.ndarray, np.ndarray], old: tuple[np.ndarray, np.ndarray], profiles: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Couple the clusters of two spaces so that similar pairs go to similar pairs.

    Minimises ``Σ (S_ik − S'_jl)² T_ij T_kl`` over couplings T of the cluster shares by mirror descent with entropy that
    falls, from the coupling of the similarity profiles. Each descent step goes on from the potentials of the last one.

    Source: Peyré, Cuturi & Solomon 2016.

    Args:
        new: Centres [c, d_new] and shares [c], as `cluster` gives them.
        old: The same of the old space.
        profiles: Those of the new and of the old centres, as `similarity_profiles` gives them.

    Returns:
        How much of each new cluster goes to each old one [c, c].

    Examples:
        >>> x = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
        >>> side, profile = (x, np.array([0.2, 0.3, 0.5])), similarity_profiles(x, x)
        >>> couple(side, side, (profile, profile)).argmax(axis=1).tolist()
        [0, 1, 2]
    """
    (centres, p), (centres_old, q) = new, old
    s, s_old = ((c @ c.T).astype(np.float64) for c in (centres, centres_old))
    apart = ((profiles[0][:, None] - profiles[1][None]) ** 2).mean(axis=2)
    coupling, _ = _sinkhorn(_scaled(apart, _WARM / 5), (p, q), np.zeros_like(q), _FIRST_SINKHORN_ROUNDS)
    fixed = (s**2 @ p)[:, None] + (s_old**2 @ q)[None]
    potential = np.zeros_like(q)
    for share in np.geomspace(_WARM, _COLD, _MIRROR_ROUNDS):
        cost = _scaled(fixed - 2 * s @ coupling @ s_old, share)
        coupling, potential = _sinkhorn(cost, (p, q), potential, _SINKHORN_ROUNDS)
    return coupling


def similarity_profiles(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The quantiles of each centre's similarity to all rows: what it sees, whichever way the space is turned.

    Args:
        x: Unit rows [n, d].
        centres: Unit rows [c, d].

    Returns:
        32 quantiles of each centre [c, 32].

    Examples:
        >>> similarity_profiles(np.eye(2), np.eye(2))[0, [0, -1]].tolist()
        [0.0, 1.0]
    """
    quantiles: np.ndarray = np.quantile(centres @ x.T, np.linspace(0, 1, _QUANTILES), axis=1).T
    return quantiles


def _scaled(cost: np.ndarray, entropy: float) -> np.ndarray:
    scaled: np.ndarray = (cost - cost.min()) / (entropy * max(cost.std(), 1e-12))
    return scaled


def _sinkhorn(
    cost: np.ndarray, shares: tuple[np.ndarray, np.ndarray], g: np.ndarray, rounds: int
) -> tuple[np.ndarray, np.ndarray]:
    """The coupling of least ``cost − H`` and its second potential, in logarithms so that nothing underflows."""
    log_p, log_q = (np.log(share) for share in shares)
    for _ in range(rounds):
        f = log_p - _log_sum(g[None] - cost)
        g = log_q - _log_sum((f[:, None] - cost).T)
    return np.exp(f[:, None] + g[None] - cost), g


def _log_sum(x: np.ndarray) -> np.ndarray:
    top = x.max(axis=1)
    result: np.ndarray = top + np.log(np.exp(x - top[:, None]).sum(axis=1))
    return result
