"""Embeddings kept at half precision, most likely on disk, that become float32 a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.shapes import Float16, Float32, Int64
from embridge.space import Space

__all__ = ["HalfEmbeddings", "float32_rows"]

_CHUNK_ROWS = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class HalfEmbeddings:
    """As `Embeddings`, for sets that would fill the memory: float16 [m, d], in most cases a memory map.

    rows [n]: which of them are meant, in that order; all where None. So a part of a million rows costs row numbers alone.
    ids: n strings. A vector of length one keeps its direction to about 3e-4 in float16. Raises `InvalidInput` for values
    that are not float16, not finite, or of another shape.

    >>> stored = HalfEmbeddings(("a", "b"), np.eye(2, dtype=np.float16), Space("toy", "1", 2))
    >>> stored.take([1]).vectors
    array([[0., 1.]], dtype=float32)
    """

    ids: tuple[str, ...]
    halves: Float16[np.ndarray, "m d"]
    space: Space
    rows: Int64[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        held = self.halves
        if held.dtype != np.float16 or held.ndim != 2 or held.shape[1] != self.space.dim:
            raise InvalidInput(f"{self.space}: expected float16 [n, {self.space.dim}], came {held.dtype} {held.shape}")
        if len(self.ids) != (len(held) if self.rows is None else len(self.rows)):
            raise InvalidInput(f"{self.space}: {len(held)} vectors came with {len(self.ids)} ids; give one id a vector")
        for start in range(0, len(held), _CHUNK_ROWS):
            finite = np.isfinite(held[start : start + _CHUNK_ROWS]).all(axis=1)
            if not finite.all():
                raise InvalidInput(
                    f"{self.space}: row {start + int(finite.argmin())} holds NaN or infinity; encode it again"
                )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def vectors(self) -> Float32[np.ndarray, "n d"]:
        """All of them as float32, in memory: twice what is stored. `take` and `chunks` need no more than a part."""
        return self.read(slice(None))

    def read(self, rows: slice | np.ndarray) -> Float32[np.ndarray, "k d"]:
        """Those rows as float32."""
        picked = rows if self.rows is None else self.rows[rows]
        return self.halves[picked].astype(np.float32)

    def take(self, rows: Sequence[int] | np.ndarray) -> HalfEmbeddings:
        """Those rows, in that order; no vector is read."""
        index = np.asarray(rows, dtype=np.int64).reshape(-1)
        taken = object.__new__(HalfEmbeddings)  # of rows that were checked
        picked = index if self.rows is None else self.rows[index]
        parts = (tuple(self.ids[i] for i in index), self.halves, self.space, picked)
        for name, value in zip(self.__slots__, parts, strict=True):
            object.__setattr__(taken, name, value)
        return taken

    def chunks(self, rows: int) -> Iterator[Embeddings]:
        """Consecutive parts of at most ``rows`` rows in float32."""
        if rows < 1:
            raise InvalidInput(f"a chunk has at least 1 row, not {rows}")
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            yield Embeddings(self.ids[part], self.read(part), self.space)


def float32_rows(side: Embeddings | HalfEmbeddings, rows: slice | np.ndarray) -> Float32[np.ndarray, "k d"]:
    """Some rows of either kind; nothing is copied where that can be helped."""
    return side.vectors[rows] if isinstance(side, Embeddings) else side.read(rows)
