"""Vectors whose lengths an engine of float32 cannot compute."""

from __future__ import annotations

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput

__all__ = ["require_measurable"]

_SHORTEST, _LONGEST = 1e-15, 1e15  # beyond, squared lengths leave float32


def require_measurable(rows: Embeddings, *, engine: str) -> None:
    """Raise `InvalidInput` for vectors whose squared length leaves float32; zeros are none of them."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows.vectors, rows.vectors, dtype=np.float64))
    bad = lengths > _LONGEST
    if rows.space.metric == "cosine":
        bad |= (lengths > 0) & (lengths < _SHORTEST)
    if bad.any():
        row = int(bad.argmax())
        raise InvalidInput(
            f"{int(bad.sum())} vectors are too long or too short for {engine}'s float32, first {rows.ids[row]!r} of length "
            f"{lengths[row]:g}; scale them, to length one where cosine compares them"
        )
