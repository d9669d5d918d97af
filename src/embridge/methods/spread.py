"""Rows that stand for all: evenly spread, the same each time."""

from __future__ import annotations

import numpy as np

from embridge.shapes import Int64

__all__ = ["evenly_spread"]


def evenly_spread(count: int, most: int) -> Int64[np.ndarray, " n"]:
    """Numbers below a count, evenly spread from its first to its last.

    Args:
        count: How many rows there are.
        most: How many are wanted at most.

    Returns:
        Row numbers, in order.

    Examples:
        >>> evenly_spread(9, 3)
        array([0, 4, 8])
    """
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
