"""Random vectors that are known to belong together."""

from __future__ import annotations

import numpy as np

from embridge import Embeddings, Space
from embridge.methods import Pairs

__all__ = ["make_pairs"]


def make_pairs(count: int, d_new: int, d_old: int) -> Pairs:
    """Vectors of a common low-dimensional truth, as two encoders would see it."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(count, 64)).astype(np.float32)
    sides = []
    for name, dim in (("new", d_new), ("old", d_old)):
        vectors = truth @ generator.normal(size=(64, dim)).astype(np.float32)
        vectors += generator.normal(size=vectors.shape).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        sides.append(Embeddings.of(vectors, Space(name, "", dim)))
    return Pairs(*sides)
