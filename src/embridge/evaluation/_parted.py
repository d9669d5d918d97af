"""Galleries whose vectors lie elsewhere, in parts: an evaluation asks for what it needs, and never for all of them."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from embridge.adapters.base import Adapter
from embridge.embeddings import Embeddings
from embridge.nearest._parts import Parts, Searchable, blocks, vectors_of
from embridge.shapes import Float32, Int64
from embridge.space import Space, require_same

__all__ = ["Parted", "cut_to", "fetched", "mapped", "part_of", "searchable"]


class Parted(Embeddings, Parts):
    """Embeddings of which this process holds the ids alone."""

    __slots__ = ()

    @abstractmethod
    def mapped(self, adapter: Adapter) -> Parted:
        """The same items as an adapter maps them, block by block."""

    @abstractmethod
    def cut(self, dim: int, space: Space) -> Parted:
        """The first numbers of every vector, as vectors of that space."""

    @abstractmethod
    def part(self, rows: Int64[np.ndarray, " m"]) -> Parted:
        """Those rows alone, ascending."""


def searchable(rows: Embeddings) -> Searchable:
    """What is searched: the vectors, or the parts that they lie in."""
    return rows if isinstance(rows, Parted) else rows.vectors


def fetched(rows: Embeddings, index: Int64[np.ndarray, " p"]) -> Float32[np.ndarray, "p d"]:
    """Fetch the vectors of some rows, in that order."""
    return vectors_of(searchable(rows), index)


def part_of(rows: Embeddings, index: Int64[np.ndarray, " m"]) -> Searchable:
    """Search some rows alone."""
    return rows.part(index) if isinstance(rows, Parted) else rows.vectors[index]


def mapped(adapter: Adapter, rows: Embeddings) -> Embeddings:
    """Map a gallery; a large one in blocks, the same ones wherever it lies, since a product's last bits follow its shape."""
    if isinstance(rows, Parted):
        return rows.mapped(adapter)
    if len(divided := blocks(len(rows))) == 1:
        return adapter(rows)
    require_same(adapter.source, rows.space, what=f"input of the {adapter.kind} adapter")
    parts = [adapter.apply(rows.vectors[part]) for part in divided]
    return rows.with_vectors(np.concatenate(parts), adapter.target, known_finite=adapter.bounded)


def cut_to(rows: Embeddings, dim: int, space: Space) -> Embeddings:
    """Keep the first numbers of every vector."""
    if isinstance(rows, Parted):
        return rows.cut(dim, space)
    return rows.with_vectors(rows.vectors[:, :dim], space)
