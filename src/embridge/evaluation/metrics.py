"""Retrieval metrics: pure functions, one value a query, fractions, higher is better."""

from __future__ import annotations

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float64, Int64

__all__ = ["recall_at_k"]


def recall_at_k(first_hits: Int64[np.ndarray, " q"], k: int) -> Float64[np.ndarray, " q"]:
    """1 where the first right item is within the top k, else 0: Recall@k as image-text retrieval uses the word.

    first_hits: rank of the first right item (1 is best), 0 where none was found; with several right items, any counts.

    >>> recall_at_k(np.array([1, 6, 0]), 5).tolist()
    [1.0, 0.0, 0.0]
    """
    if k < 1:
        raise InvalidInput(f"recall_at_k: k is at least 1, came {k}")
    return ((first_hits > 0) & (first_hits <= k)).astype(np.float64)
