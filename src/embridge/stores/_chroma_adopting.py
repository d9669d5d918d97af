"""Chroma: what a collection is, and whether it can hold the vectors of a space."""

from __future__ import annotations

import warnings

import numpy as np

from embridge.errors import StoreError
from embridge.space import Space
from embridge.stores._chroma_client import ChromaClient
from embridge.stores._chroma_columns import found_kinds
from embridge.stores._chroma_rows import first_records, metric_of
from embridge.stores.places import Table, VectorColumn

__all__ = ["described", "require_adoptable"]

_SAMPLE, _UNIT = 1_000, 1e-3


def described(client: ChromaClient, name: str, rows: int) -> Table:
    """A collection as so many of its first rows, and Chroma itself, describe it."""
    collection = client.collection(name)
    first = client.on(name, lambda one: one.get(limit=1, include=["embeddings"]))
    dim = len(first["embeddings"][0]) if first["ids"] else None
    columns = found_kinds(first_records(client, name, rows))
    total = int(client.on(name, lambda one: one.count()))
    return Table(name, total, {"": VectorColumn(dim, metric_of(collection))}, columns, id="")


def require_adoptable(client: ChromaClient, name: str, space: Space) -> None:
    """Refuse a space that a collection cannot hold; Chroma itself sees to the ids."""
    sample = client.on(name, lambda one: one.get(limit=_SAMPLE, include=["embeddings"]))
    metric = metric_of(client.collection(name))
    if not sample["ids"]:
        return
    vectors = np.asarray(sample["embeddings"], np.float64)
    if vectors.shape[1] != space.dim:
        raise StoreError(f"{client.where} holds vectors of {vectors.shape[1]} numbers, and {space} has {space.dim}")
    lengths = np.linalg.norm(vectors, axis=1)
    if metric == space.metric or (abs(lengths - 1) < _UNIT).all():
        return  # of vectors of length one all metrics say the same
    warnings.warn(
        f"{client.where} compares by {metric}, {space} by {space.metric}, and its vectors are not of length one "
        f"({lengths.min():.3g} to {lengths.max():.3g}): hits are scored by {space.metric}, and others may be missed. Make "
        "the collection anew with that metric",
        stacklevel=3,
    )
