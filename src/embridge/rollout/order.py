"""Backfill orders: which stored items to re-encode first. Each gives every id of the gallery once, first to last.

Measure one with `embridge.evaluation.Scope`: ``orders={"by frequency": by_frequency(gallery, counts)}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.nearest import top_k

__all__ = ["by_class_distance", "by_cluster_distance", "by_frequency", "by_uncertainty", "in_random_order"]

_ROUNDS = 10


def in_random_order(gallery: Embeddings, *, seed: int = 0) -> tuple[str, ...]:
    """The order to compare others with."""
    return _ids(gallery, np.random.default_rng(seed).permutation(len(gallery)))


def by_uncertainty(gallery: Embeddings, upgrade: Upgrade) -> tuple[str, ...]:
    """Items that the bridge is least sure of first (FastFill, Jaeckle et al. 2023, section 3).

    Raises `InvalidInput` for an upgrade that says nothing of its uncertainty; the method ``fastfill`` makes one that does.
    """
    if upgrade.uncertainty is None:
        raise InvalidInput(
            f"this upgrade ({upgrade.provenance.method}) does not say how uncertain it is; fit one with the method fastfill"
        )
    return _ids(gallery, np.argsort(-upgrade.uncertainty(gallery).vectors[:, 0], kind="stable"))


def by_class_distance(gallery: Embeddings, labels: Sequence[str]) -> tuple[str, ...]:
    """Items farthest from the mean of their class first, by cosine; those are what a class is confused by.

    >>> from embridge import Space
    >>> rows = Embeddings.of(np.array([[1, 0], [1, 0.1], [1, 2]], np.float32), Space("toy", "1", 2), ["a", "b", "odd"])
    >>> by_class_distance(rows, ["cat", "cat", "cat"])[0]
    'odd'
    """
    if len(labels) != len(gallery):
        raise InvalidInput(f"{len(gallery)} items came with {len(labels)} labels; give one an item")
    _, code = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    vectors = normalized(gallery.vectors)
    return _ids(gallery, _farthest(vectors, _means(vectors, code), code))


def by_cluster_distance(gallery: Embeddings, *, clusters: int = 100, seed: int = 0) -> tuple[str, ...]:
    """The same without labels: distance from the nearest of ``clusters`` means, found by spherical k-means."""
    if not 1 <= clusters <= len(gallery):
        raise InvalidInput(f"expected 1 to {len(gallery)} clusters for {len(gallery)} items, came {clusters}")
    vectors = normalized(gallery.vectors)
    centres = vectors[np.random.default_rng(seed).choice(len(vectors), clusters, replace=False)]
    for _ in range(_ROUNDS):
        nearest = top_k(vectors, centres, 1).rows[:, 0]
        held = np.bincount(nearest, minlength=clusters) > 0
        centres = np.where(held[:, None], _means(vectors, nearest, clusters), centres)
    return _ids(gallery, _farthest(vectors, centres, top_k(vectors, centres, 1).rows[:, 0]))


def by_frequency(gallery: Embeddings, counts: Mapping[str, float]) -> tuple[str, ...]:
    """What is asked for most first; items that are not counted come last, in the gallery's order.

    >>> from embridge import Space
    >>> rows = Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3), ["a", "b", "c"])
    >>> by_frequency(rows, {"c": 9, "b": 1})
    ('c', 'b', 'a')
    """
    unknown = counts.keys() - set(gallery.ids)
    if unknown and len(unknown) == len(counts):
        raise InvalidInput(f"none of the {len(counts)} counted ids is in the gallery, first {min(unknown)!r}")
    asked = np.array([counts.get(name, 0.0) for name in gallery.ids])
    return _ids(gallery, np.argsort(-asked, kind="stable"))


def _means(vectors: np.ndarray, code: np.ndarray, codes: int | None = None) -> np.ndarray:
    """The direction of each group's mean [codes, d]."""
    sums = np.zeros((codes or int(code.max(initial=-1)) + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, code, vectors)
    return normalized(sums)


def _farthest(vectors: np.ndarray, centres: np.ndarray, code: np.ndarray) -> np.ndarray:
    return np.argsort(np.einsum("nd,nd->n", vectors, centres[code]), kind="stable")


def _ids(gallery: Embeddings, rows: np.ndarray) -> tuple[str, ...]:
    return tuple(gallery.ids[row] for row in rows.tolist())
