"""Vectors of two models of the same items, as methods are fitted to."""

import numpy as np

from embridge import Embeddings, Space
from embridge.methods import Pairs


def pairs_of(new, old, weights=None, **more):
    """Rows of two arrays, each in a space of its own."""
    spaces = Space("new", "", new.shape[1]), Space("old", "", old.shape[1])
    sides = (Embeddings.of(np.ascontiguousarray(x, np.float32), s) for x, s in zip((new, old), spaces, strict=True))
    return Pairs(*sides, weights, **more)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)
