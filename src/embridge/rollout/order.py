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
    """Shuffle the gallery: the order to compare others with.

    Args:
        gallery: Embeddings [n].
        seed: Draws it.

    Returns:
        Every id once.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3), ["a", "b", "c"])
        >>> sorted(in_random_order(rows))
        ['a', 'b', 'c']
    """
    return _ids(gallery, np.random.default_rng(seed).permutation(len(gallery)))


def by_uncertainty(gallery: Embeddings, upgrade: Upgrade) -> tuple[str, ...]:
    """Put items first that the bridge is least sure of.

    Args:
        gallery: The old model's vectors [n].
        upgrade: One that says how uncertain it is; the method ``fastfill`` makes them.

    Returns:
        Every id once, the first to re-encode first.

    Raises:
        InvalidInput: The upgrade says nothing of its uncertainty.

    Note:
        Source: FastFill, Jaeckle et al. 2023, section 3.

    Examples:
        >>> from embridge import Space
        >>> from embridge.adapters import Identity, Linear, Provenance
        >>> new, old, log_error = Space("new", "1", 2), Space("old", "1", 2), Space("log error", "1", 1, "dot")
        >>> unsure = Linear(old, log_error, np.array([[0], [1]], np.float32))
        >>> upgrade = Upgrade(Identity(new, new), Identity(old, new), Provenance("toy"), "forward", uncertainty=unsure)
        >>> by_uncertainty(Embeddings.of(np.eye(2, dtype=np.float32), old, ["sure", "unsure"]), upgrade)
        ('unsure', 'sure')
    """
    if upgrade.uncertainty is None:
        raise InvalidInput(
            f"this upgrade ({upgrade.provenance.method}) does not say how uncertain it is; fit one with the method fastfill"
        )
    return _ids(gallery, np.argsort(-upgrade.uncertainty(gallery).vectors[:, 0], kind="stable"))


def by_class_distance(gallery: Embeddings, labels: Sequence[str]) -> tuple[str, ...]:
    """Put items first that are farthest from the mean of their class, by cosine; those are what a class is confused by.

    Args:
        gallery: Embeddings [n].
        labels: The class of each item [n].

    Returns:
        Every id once, the first to re-encode first.

    Raises:
        InvalidInput: There is not one label an item.

    Examples:
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
    """Put items first that are farthest from the nearest cluster mean: `by_class_distance` without labels.

    Args:
        gallery: Embeddings [n].
        clusters: How many means spherical k-means finds.
        seed: Draws the first ones.

    Returns:
        Every id once, the first to re-encode first.

    Raises:
        InvalidInput: There are more clusters than items, or fewer than 1.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.array([[1, 0], [1, 0.1], [1, 2]], np.float32), Space("toy", "1", 2), ["a", "b", "odd"])
        >>> by_cluster_distance(rows, clusters=1)[0]
        'odd'
    """
    if not 1 <= clusters <= len(gallery):
        raise InvalidInput(f"expected 1 to {len(gallery)} clusters for {len(gallery)} items, came {clusters}")
    vectors = normalized(gallery.vectors)
    centres = vectors[np.random.default_rng(seed).choice(len(vectors), clusters, replace=False)]
    for _ in range(_ROUNDS):
        nearest = top_k(vectors, centres, 1).rows[:, 0]
        filled = np.bincount(nearest, minlength=clusters) > 0
        centres = np.where(filled[:, None], _means(vectors, nearest, clusters), centres)
    return _ids(gallery, _farthest(vectors, centres, top_k(vectors, centres, 1).rows[:, 0]))


def by_frequency(gallery: Embeddings, counts: Mapping[str, float]) -> tuple[str, ...]:
    """Put items first that are asked for most; those that are not counted come last, in the gallery's order.

    Args:
        gallery: Embeddings [n].
        counts: Item id → how often it is asked for.

    Returns:
        Every id once, the first to re-encode first.

    Raises:
        InvalidInput: No counted id is in the gallery.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3), ["a", "b", "c"])
        >>> by_frequency(rows, {"c": 9, "b": 1})
        ('c', 'b', 'a')
    """
    unknown = counts.keys() - set(gallery.ids)
    if unknown and len(unknown) == len(counts):
        raise InvalidInput(f"none of the {len(counts)} counted ids is in the gallery, first {min(unknown)!r}")
    frequency = np.array([counts.get(name, 0.0) for name in gallery.ids])
    return _ids(gallery, np.argsort(-frequency, kind="stable"))


def _means(vectors: np.ndarray, code: np.ndarray, codes: int | None = None) -> np.ndarray:
    """The direction of each group's mean [codes, d]."""
    sums = np.zeros((codes or int(code.max(initial=-1)) + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, code, vectors)
    return normalized(sums)


def _farthest(vectors: np.ndarray, centres: np.ndarray, code: np.ndarray) -> np.ndarray:
    return np.argsort(np.einsum("nd,nd->n", vectors, centres[code]), kind="stable")


def _ids(gallery: Embeddings, rows: np.ndarray) -> tuple[str, ...]:
    return tuple(gallery.ids[row] for row in rows.tolist())
