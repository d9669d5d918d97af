"""How good a map is on pairs it was not fitted on, and whether there are enough to fit one."""

from __future__ import annotations

import warnings

import numpy as np

from embridge.adapters.base import normalized
from embridge.methods.base import Pairs
from embridge.methods.real_pairs import RealPairs
from embridge.nearest import top_k
from embridge.nearest.ties import pair_scores, tie_keys
from embridge.shapes import Float32

__all__ = ["held_out_score", "warn_if_few", "warn_if_few_images"]

_FEW_IMAGES = 100
_COUNTED = 10  # ranks
_SCORES = 1 << 21  # held at once: 8 MB of float32


def held_out_score(mapped: Float32[np.ndarray, "n d"], old: Float32[np.ndarray, "n d"]) -> float:
    """Mean reciprocal rank (cut at 10) of each item's own old vector among all held-out ones.

    An item that scores the same as others ranks behind them, and one without a score is not found.

    Args:
        mapped: New vectors behind the map [n, d].
        old: Old vectors of the same items [n, d].

    Returns:
        A fraction.

    Examples:
        >>> held_out_score(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
        1.0
    """
    ranks = _clear_ranks(mapped, old)
    unclear = np.flatnonzero(ranks == 0)
    ranking = top_k(mapped[unclear], old, min(_COUNTED + 1, len(old)))
    query, at_rank = np.nonzero(ranking.rows == unclear[:, None])
    keys = tie_keys(pair_scores(mapped[unclear[query]], old, ranking.rows[query], metric="cosine"), "cosine")
    own = keys[np.arange(len(query)), at_rank]
    rank = (keys >= own[:, None]).sum(axis=1)  # of the last that scores so
    ranks[unclear[query]] = np.where(np.isfinite(own), rank, 0)
    found = ranks[(ranks > 0) & (ranks <= _COUNTED)]
    return float((1.0 / found).sum() / len(old))


def _clear_ranks(mapped: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Ranks [n] of own vectors as far as float32 is sure of them; 0 where a score is as good as the own one, or is none.

    One that is behind ten others has a rank behind them.
    """
    queries, gallery = normalized(mapped), normalized(old)
    margin = (gallery.shape[1] + 16) * 2.0**-23  # twice what float32 may round off
    ranks = np.zeros(len(mapped), np.int64)
    step = max(1, _SCORES // len(gallery))
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ gallery.T
        own = scores[np.arange(len(scores)), np.arange(start, start + len(scores))][:, None]
        ahead = np.count_nonzero(scores > own + margin, axis=1)
        near = np.count_nonzero(scores >= own - margin, axis=1)
        ranks[start : start + step] = np.where((near == ahead + 1) | (ahead >= _COUNTED), near, 0)
    ranks[~np.isfinite(mapped).all(axis=1)] = 0
    return ranks


def warn_if_few(pairs: Pairs) -> None:
    """Warn below ``2 · d_old`` pairs: a map begins to fit noise.

    Args:
        pairs: What a map is to be fitted on.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(8, 2, dtype=np.float32) + 1, Space(m, "1", 2)) for m in ("new", "old"))
        >>> warn_if_few(Pairs(new, old))
    """
    enough = 2 * pairs.old.space.dim
    if len(pairs) < enough:
        warnings.warn(
            f"{len(pairs)} pairs fit a map into {pairs.old.space.dim} dimensions; at least {enough} are advised: "
            "with fewer it begins to fit noise",
            stacklevel=3,
        )


def warn_if_few_images(real: RealPairs | None, method: str) -> None:
    """Warn below a hundred real pairs to judge by: what is better can hardly be told from chance.

    Args:
        real: The pairs, or None.
        method: What the warning calls the method.

    Examples:
        >>> warn_if_few_images(None, "xbt")
    """
    if real is not None and len(real) < _FEW_IMAGES:
        warnings.warn(
            f"{method}: {len(real)} image-text pairs to judge by; at least {_FEW_IMAGES} are advised: with fewer, what is "
            "better can hardly be told from chance, and the closed-form map stays",
            stacklevel=3,
        )
