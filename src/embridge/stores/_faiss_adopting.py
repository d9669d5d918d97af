"""FAISS files: whether an index can hold the vectors of a space."""

from __future__ import annotations

import warnings

import numpy as np

from embridge.errors import StoreError
from embridge.space import Space
from embridge.stores._faiss_rows import FaissRows

__all__ = ["require_adoptable"]

_SAMPLE, _UNIT, _UNIT_OF_CODES = 1_000, 1e-3, 0.3  # codes give lengths back roughly


def require_adoptable(held: FaissRows, space: Space, *, ids_named: bool) -> None:
    """Refuse a space that an index cannot hold, and warn of what is to be known of one that it can."""
    index = held.index
    if index.dim != space.dim:
        raise StoreError(f"{held.what} holds vectors of {index.dim} numbers, and {space} has {space.dim}")
    _ = held.row_of  # refuses ids that repeat
    if not ids_named and index.core is index.root:
        warnings.warn(
            f"{held.what} names no ids: rows are called by their numbers, 0 to {len(held) - 1}. "
            "Name ids with faiss:FILE?ids=FILE",
            stacklevel=3,
        )
    if index.metric == space.metric:
        return
    rows = np.unique(np.linspace(0, len(held) - 1, _SAMPLE).astype(np.int64)) if len(held) else np.empty(0, np.int64)
    vectors = held.vectors(rows)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    middle = lengths if held.exact_scores or not len(lengths) else np.quantile(lengths, (0.25, 0.75))
    if (abs(middle - 1) < (_UNIT if held.exact_scores else _UNIT_OF_CODES)).all():
        return  # of vectors of length one all metrics say the same
    name = {"dot": "the inner product", "l2": "the distance"}.get(index.metric or "", "something else")
    message = (
        f"{held.what} compares by {name}, {space} by {space.metric}, and its vectors are not of length one "
        f"({np.nanmin(lengths, initial=np.inf):.3g} to {np.nanmax(lengths, initial=0):.3g})"
    )
    if not held.exact_scores:
        warnings.warn(f"{message}, as far as its codes tell; search finds rows by {name}", stacklevel=3)
        return
    if not index.flat:
        raise StoreError(f"{message}: its {index.kind} would find other rows. Make it anew, of vectors of length one")
    warnings.warn(f"{message}; search goes by {space.metric}, from a copy in memory", stacklevel=3)
