"""Embeddings: ids and vectors of one space, checked once, when they are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["Embeddings", "concatenate", "require_vectors"]

_CHUNK_VALUES = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """``vectors[i]`` belongs to ``ids[i]`` and lies in ``space``.

    ids: n unique, non-empty strings. vectors: float32 [n, d], finite, in any memory order; a memory map stays one. They
    are neither copied, cast nor normalised. Raises `InvalidInput` with the first offending row.

    >>> space = Space("toy", "1", 2)
    >>> rows = Embeddings(("a", "b"), np.eye(2, dtype=np.float32), space)
    >>> len(rows), rows.take([1]).ids
    (2, ('b',))
    """

    ids: tuple[str, ...]
    vectors: Float32[np.ndarray, "n d"]
    space: Space

    def __post_init__(self) -> None:
        require_vectors(self.vectors, dim=self.space.dim, what=f"vectors of {self.space.model}")
        if len(self.ids) != len(self.vectors):
            raise InvalidInput(f"{len(self.vectors)} vectors came with {len(self.ids)} ids; give one id a vector")
        _require_unique(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, vectors: np.ndarray, space: Space, ids: Sequence[str] | None = None) -> Embeddings:
        """Embeddings of an array; without ids, the row numbers are the ids."""
        return cls(tuple(map(str, range(len(vectors)))) if ids is None else tuple(ids), vectors, space)

    def take(self, rows: Sequence[int] | np.ndarray) -> Embeddings:
        """Those rows, in that order."""
        index = np.asarray(rows, dtype=np.int64).reshape(-1)
        return _trusted(tuple(self.ids[i] for i in index), self.vectors[index], self.space)

    def chunks(self, rows: int) -> Iterator[Embeddings]:
        """Consecutive parts of at most ``rows`` rows; views, nothing is copied."""
        if rows < 1:
            raise InvalidInput(f"a chunk has at least 1 row, not {rows}")
        for start in range(0, len(self), rows):
            yield _trusted(self.ids[start : start + rows], self.vectors[start : start + rows], self.space)

    def with_vectors(self, vectors: np.ndarray, space: Space) -> Embeddings:
        """The same ids with other vectors, checked."""
        require_vectors(vectors, dim=space.dim, what=f"vectors of {space.model}")
        if len(vectors) != len(self.ids):
            raise InvalidInput(f"{len(vectors)} vectors came for {len(self.ids)} ids; give one vector an id")
        return _trusted(self.ids, vectors, space)


def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
    """All parts, one after the other; they must share a space and no id."""
    if not parts:
        raise InvalidInput("nothing to concatenate: no parts came")
    spaces = {part.space for part in parts}
    if len(spaces) > 1:
        raise InvalidInput(f"the parts lie in {len(spaces)} spaces: {', '.join(map(str, sorted(spaces, key=str)))}")
    return Embeddings(
        tuple(i for p in parts for i in p.ids), np.concatenate([p.vectors for p in parts]), parts[0].space
    )


def require_vectors(vectors: object, *, dim: int | None, what: str) -> None:
    """Raise `InvalidInput` unless ``vectors`` is a finite float32 array [n, dim] (any dim where None)."""
    if not isinstance(vectors, np.ndarray):
        raise InvalidInput(f"{what}: expected a numpy array, came {type(vectors).__name__}; use numpy.asarray")
    if vectors.dtype != np.float32:
        raise InvalidInput(f"{what}: expected float32, came {vectors.dtype}; convert with .astype('float32')")
    if vectors.ndim != 2 or (dim is not None and vectors.shape[1] != dim):
        wanted = f"[n, {'d' if dim is None else dim}]"
        raise InvalidInput(f"{what}: expected shape {wanted}, came {list(vectors.shape)}; one row is one vector")
    step = max(1, _CHUNK_VALUES // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        finite = np.isfinite(vectors[start : start + step])
        if not finite.all():
            rows = np.flatnonzero(~finite.all(axis=1)) + start
            raise InvalidInput(
                f"{what}: {len(rows)} of rows {start}..{start + len(finite) - 1} hold NaN or infinity, first row "
                f"{rows[0]}; remove or re-encode them"
            )


def _require_unique(ids: object) -> None:
    if not isinstance(ids, tuple):
        raise InvalidInput(f"ids: expected a tuple of strings, came {type(ids).__name__}; use tuple(...)")
    if not set(map(type, ids)) <= {str} or "" in ids:  # a loop over a million ids only where one may be wrong
        for row, name in enumerate(ids):
            if not isinstance(name, str) or not name:
                raise InvalidInput(f"ids: expected non-empty strings, came {name!r} in row {row}; use str(...)")
    repeats = len(ids) - len(set(ids))
    if repeats:
        repeated = Counter(ids).most_common(1)[0][0]
        raise InvalidInput(f"ids: {repeats} repeat, for instance {repeated!r}; an id names one vector")


def _trusted(ids: tuple[str, ...], vectors: np.ndarray, space: Space) -> Embeddings:
    """Embeddings from parts of ones that were checked, without checking again."""
    rows = object.__new__(Embeddings)
    for name, value in (("ids", ids), ("vectors", vectors), ("space", space)):
        object.__setattr__(rows, name, value)
    return rows
