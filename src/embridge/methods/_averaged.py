"""The mean of closed forms: each is best somewhere, and their mean is near the best of them everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embridge.adapters.linear import Linear
from embridge.methods.base import Pairs
from embridge.methods.procrustes import Procrustes, fit_rotation
from embridge.methods.reweighted_procrustes import ReweightedProcrustes, fit_reweighted
from embridge.methods.spread import evenly_spread
from embridge.methods.whitened_procrustes import WhitenedProcrustes, fit_whitened
from embridge.shapes import Float32

__all__ = ["averaged", "fit_averaged"]

_ROWS = 2_000  # by which the maps are brought to one length


def fit_averaged(pairs: Pairs, *, seed: int = 0) -> tuple[Linear, dict[str, float]]:
    """Fit `Procrustes`, `WhitenedProcrustes` and `ReweightedProcrustes`, and take their mean.

    Args:
        pairs: What to fit on, checked before.
        seed: Of the splits that a centring and a strength are chosen by.

    Returns:
        The map from new to old, and the strength that was chosen, as figures.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(9, dtype=np.float32), Space(m, "1", 9)) for m in ("new", "old"))
        >>> fit_averaged(Pairs(new, old))[0].apply(new.vectors).argmax(axis=1).tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    rotation = fit_rotation(pairs, center=Procrustes().choose_centring(pairs, seed=seed)[0])
    whitened, figures = fit_whitened(pairs, WhitenedProcrustes(), seed=seed)
    reweighted = fit_reweighted(pairs, ReweightedProcrustes())
    sample = pairs.unit_rows(evenly_spread(len(pairs), _ROWS))[0]
    return averaged([rotation, whitened, reweighted], sample), figures


def averaged(maps: Sequence[Linear], rows: Float32[np.ndarray, "n d_new"]) -> Linear:
    """Average affine maps, each after it is scaled so that what it makes of these rows has length one on average.

    Args:
        maps: At least one, between the same spaces.
        rows: New vectors of length one.

    Returns:
        The mean, which takes L2-normalised rows as they do.

    Examples:
        >>> from embridge import Space
        >>> one = Linear(Space("new", "1", 2), Space("old", "1", 2), np.eye(2, dtype=np.float32), normalize_input=True)
        >>> three = Linear(one.source, one.target, 3 * one.weight, normalize_input=True)
        >>> averaged([one, three], np.eye(2, dtype=np.float32)).weight.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    stacked = [
        np.vstack([each.weight, np.zeros(each.target.dim, np.float32) if each.bias is None else each.bias])
        for each in maps
    ]
    lengths = [np.linalg.norm(rows @ each[:-1] + each[-1], axis=1).mean() for each in stacked]
    scaled = np.stack([each / length for each, length in zip(stacked, lengths, strict=True)])
    mean = scaled.mean(axis=0, dtype=np.float32)
    return Linear(maps[0].source, maps[0].target, mean[:-1].copy(), mean[-1].copy(), normalize_input=True)
