"""Embeddings: ids and vectors of one space, checked once, when they are made; in float32, or stored in float16."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float16, Float32, Int64
from embridge.space import Space

__all__ = ["Embeddings", "HalfEmbeddings", "concatenate", "embeddings_as_read", "float32_rows", "require_vectors"]

_CHUNK_VALUES, _CHUNK_ROWS = 1 << 24, 65_536
_NEAR_VALUES = 1 << 18  # what a processor keeps at hand


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of one space with their ids: ``vectors[i]`` belongs to ``ids[i]``.

    Vectors are checked here and trusted afterwards. They are neither copied, cast nor normalised.

    Args:
        ids: n unique, non-empty strings.
        vectors: Finite float32 [n, d], in any memory order; a memory map stays one.
        space: The space that the vectors lie in.

    Raises:
        InvalidInput: A vector or an id cannot be used; the message names the first row.

    Examples:
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
        _require_ids(self.ids, len(self.vectors))

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

    def with_vectors(self, vectors: np.ndarray, space: Space, *, known_finite: bool = False) -> Embeddings:
        """The same ids with other vectors, checked; or not, where whoever made them knows that they are right."""
        if not known_finite and not _is_finite_row(vectors, space.dim):  # else a message would be made for nothing
            require_vectors(vectors, dim=space.dim, what=f"vectors of {space.model}")
        if len(vectors) != len(self.ids):
            raise InvalidInput(f"{len(vectors)} vectors came for {len(self.ids)} ids; give one vector an id")
        return _trusted(self.ids, vectors, space)


@dataclass(frozen=True, slots=True, eq=False)
class HalfEmbeddings:
    """Embeddings in float16, for sets that would fill the memory.

    A vector of length one keeps its direction to about 3e-4.

    Args:
        ids: n strings.
        halves: Finite float16 [m, d], in most cases a memory map.
        space: The space that the vectors lie in.
        rows: Int64 [n]: which of the m rows are meant, in that order; all where None. So a part of a million rows costs
            row numbers alone.

    Raises:
        InvalidInput: The values are not float16, not finite, or of another shape.

    Examples:
        >>> stored = HalfEmbeddings(("a", "b"), np.eye(2, dtype=np.float16), Space("toy", "1", 2))
        >>> stored.take([1]).vectors
        array([[0., 1.]], dtype=float32)
    """

    ids: tuple[str, ...]
    halves: Float16[np.ndarray, "m d"]
    space: Space
    rows: Int64[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        halves = self.halves
        if halves.dtype != np.float16 or halves.ndim != 2 or halves.shape[1] != self.space.dim:
            raise InvalidInput(
                f"{self.space}: expected float16 [n, {self.space.dim}], came {halves.dtype} {halves.shape}"
            )
        if len(self.ids) != (len(halves) if self.rows is None else len(self.rows)):
            raise InvalidInput(
                f"{self.space}: {len(halves)} vectors came with {len(self.ids)} ids; give one id a vector"
            )
        for start in range(0, len(halves), _CHUNK_ROWS):
            finite = np.isfinite(halves[start : start + _CHUNK_ROWS]).all(axis=1)
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
        part = object.__new__(HalfEmbeddings)  # of rows that were checked
        ids, picked = tuple(self.ids[i] for i in index), index if self.rows is None else self.rows[index]
        for name, value in zip(self.__slots__, (ids, self.halves, self.space, picked), strict=True):
            object.__setattr__(part, name, value)
        return part

    def chunks(self, rows: int) -> Iterator[Embeddings]:
        """Consecutive parts of at most ``rows`` rows in float32."""
        if rows < 1:
            raise InvalidInput(f"a chunk has at least 1 row, not {rows}")
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            yield Embeddings(self.ids[part], self.read(part), self.space)


def float32_rows(side: Embeddings | HalfEmbeddings, rows: slice | np.ndarray) -> Float32[np.ndarray, "k d"]:
    """Some rows of either kind of embeddings; nothing is copied where that can be helped.

    Args:
        side: Embeddings in float32 or float16.
        rows: A slice, or row numbers [k].

    Returns:
        Float32 [k, d].

    Examples:
        >>> float32_rows(HalfEmbeddings(("a",), np.ones((1, 2), np.float16), Space("toy", "1", 2)), slice(None))
        array([[1., 1.]], dtype=float32)
    """
    return side.vectors[rows] if isinstance(side, Embeddings) else side.read(rows)


def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
    """All parts, one after the other.

    Args:
        parts: At least one; they share a space and no id.

    Returns:
        Embeddings of all rows, in that order.

    Raises:
        InvalidInput: There is no part, an id repeats, or the spaces differ.

    Examples:
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a", "b"])
        >>> concatenate([rows.take([1]), rows.take([0])]).ids
        ('b', 'a')
    """
    if not parts:
        raise InvalidInput("nothing to concatenate: no parts came")
    spaces = {part.space for part in parts}
    if len(spaces) > 1:
        raise InvalidInput(f"the parts lie in {len(spaces)} spaces: {', '.join(map(str, sorted(spaces, key=str)))}")
    return Embeddings(
        tuple(i for p in parts for i in p.ids), np.concatenate([p.vectors for p in parts]), parts[0].space
    )


def embeddings_as_read(
    ids: tuple[str, ...], vectors: Float32[np.ndarray, "n d"], space: Space, *, read: Callable[[int], None]
) -> Embeddings:
    """Embeddings of rows that are also checked otherwise: both looks at a row are while it is at hand.

    Args:
        ids: As of `Embeddings`.
        vectors: As of `Embeddings`.
        space: As of `Embeddings`.
        read: Called with n before the first n rows are looked at; it may refuse them.

    Returns:
        The embeddings.

    Raises:
        InvalidInput: As `Embeddings`, or what ``read`` raises.

    Examples:
        >>> rows, counts = np.eye(2, dtype=np.float32), []
        >>> len(embeddings_as_read(("a", "b"), rows, Space("toy", "1", 2), read=counts.append)), counts
        (2, [2])
    """
    require_vectors(vectors, dim=space.dim, what=f"vectors of {space.model}", read=read)
    _require_ids(ids, len(vectors))
    return _trusted(ids, vectors, space)


def require_vectors(vectors: object, *, dim: int | None, what: str, read: Callable[[int], None] | None = None) -> None:
    """Refuse what is no finite float32 array [n, dim].

    Args:
        vectors: Anything.
        dim: The length that a row must have; any where None.
        what: What the message calls the vectors.
        read: Called with n before the first n rows are looked at.

    Raises:
        InvalidInput: It is no such array.

    Examples:
        >>> require_vectors(np.eye(2, dtype=np.float32), dim=2, what="the queries")
    """
    if read is None and _is_finite_row(vectors, dim):
        return
    if not isinstance(vectors, np.ndarray):
        raise InvalidInput(f"{what}: expected a numpy array, came {type(vectors).__name__}; use numpy.asarray")
    if vectors.dtype != np.float32:
        raise InvalidInput(f"{what}: expected float32, came {vectors.dtype}; convert with .astype('float32')")
    if vectors.ndim != 2 or (dim is not None and vectors.shape[1] != dim):
        shape = f"[n, {'d' if dim is None else dim}]"
        raise InvalidInput(f"{what}: expected shape {shape}, came {list(vectors.shape)}; one row is one vector")
    held, step = np.asarray(vectors), max(1, _NEAR_VALUES // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        part = held[start : start + step]
        if read is not None:
            read(start + len(part))
        whole = part.flags.c_contiguous and isfinite(np.vdot(part, part))  # which overflows without a warning
        if not whole and not (np.isfinite(part.max(initial=0)) and np.isfinite(part.min(initial=0))):
            raise InvalidInput(f"{what}: {_not_finite(held, start, read)}; remove or re-encode them")


def _is_finite_row(vectors: object, dim: int | None) -> bool:
    """Whether they are one row, and surely finite: what a query costs beside its map is mostly this."""
    if type(vectors) is not np.ndarray or vectors.shape != (1, dim) or vectors.dtype != np.float32:
        return False
    return isfinite(np.vdot(vectors, vectors))  # which overflows without a warning


def _not_finite(vectors: np.ndarray, first: int, read: Callable[[int], None] | None) -> str:
    """Which rows are not, from some row on."""
    start = first - first % (step := max(1, _CHUNK_VALUES // vectors.shape[1]))
    if read is not None:
        read(min(start + step, len(vectors)))
    finite = np.isfinite(vectors[start : start + step])
    rows = np.flatnonzero(~finite.all(axis=1)) + start
    return f"{len(rows)} of rows {start}..{start + len(finite) - 1} hold NaN or infinity, first row {rows[0]}"


def _require_ids(ids: tuple[str, ...], count: int) -> None:
    if len(ids) != count:
        raise InvalidInput(f"{count} vectors came with {len(ids)} ids; give one id a vector")
    _require_unique(ids)


def _require_unique(ids: object) -> None:
    if not isinstance(ids, tuple):
        raise InvalidInput(f"ids: expected a tuple of strings, came {type(ids).__name__}; use tuple(...)")
    if not set(map(type, ids)) <= {str} or "" in ids:  # a loop over a million ids only where one may be wrong
        for row, name in enumerate(ids):
            if not isinstance(name, str) or not name:
                raise InvalidInput(f"ids: expected non-empty strings, came {name!r} in row {row}; use str(...)")
    if repeats := len(ids) - len(set(ids)):
        name = Counter(ids).most_common(1)[0][0]
        raise InvalidInput(f"ids: {repeats} repeat, for instance {name!r}; an id names one vector")


def _trusted(ids: tuple[str, ...], vectors: np.ndarray, space: Space) -> Embeddings:
    """Embeddings from parts of ones that were checked, without checking again."""
    rows = object.__new__(Embeddings)
    for name, value in (("ids", ids), ("vectors", vectors), ("space", space)):
        object.__setattr__(rows, name, value)
    return rows
