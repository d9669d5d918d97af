"""Rows of a file of vectors a range at a time, by whoever has the range: its reader needs nothing of the rest of the file.

What is checked of a range is what `read_vectors` checks of a file: numbers, checksums, lengths.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.space import Space
from embridge.vector_files._groups import group_batches, part_groups, table_ids
from embridge.vector_files._npy import NpyFile, checksums, misbound, opened_npy, sidecar_of
from embridge.vector_files._numbers import as_float32
from embridge.vector_files._said import settled_space, stored_suffix
from embridge.vector_files._tables import column_names, rows_of, table_batches, table_space

__all__ = ["Divided", "Range", "divided"]

_ROWS = 16_384  # of a table read at once
_RANGE_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Range:
    """Some rows of a file: of an npy, or a row group of one file of a table.

    Attributes:
        path: The file, or of a folder the file in it.
        first: The number of its first row in the whole.
        rows: How many.
        cast: Whether float16 and float64 are cast.
        group: The row group; None for a whole file.
        names: The columns of ids and vectors, of a table.
        npy: How the bytes of an npy lie.
    """

    path: Path
    first: int
    rows: int
    cast: bool
    dim: int
    group: int | None = None
    names: tuple[str, str] | None = None
    npy: _Bytes | None = None

    def __str__(self) -> str:
        return f"rows {self.first} to {self.first + self.rows - 1}"

    def read(self) -> Iterator[tuple[int, np.ndarray]]:
        """The number of a row, and float32 vectors from there on, checked.

        Raises `InvalidInput` for what `read_vectors` refuses.
        """
        first = self.first
        for vectors in self._raw():
            if vectors.shape[1] != self.dim:
                raise InvalidInput(
                    f"{self.path}: row {first} has {vectors.shape[1]} numbers, and row 0 has {self.dim}; a file holds one dim"
                )
            numbers = as_float32(vectors, self.path, cast=self.cast, start=first)
            finite = np.isfinite(numbers).all(axis=1)
            if not finite.all():
                row = first + int(finite.argmin())
                raise InvalidInput(f"{self.path}: row {row} holds NaN or infinity; remove or re-encode it")
            yield first, numbers
            first += len(numbers)
        if first != self.first + self.rows:
            raise InvalidInput(
                f"{self.path} held {self.rows} rows here, and holds {first - self.first} now; start again"
            )

    def _raw(self) -> Iterator[np.ndarray]:
        if self.npy is not None:
            yield self.npy.rows(self.path, self.first, self.first + self.rows)
            return
        assert self.names is not None
        first = self.first
        for batch in group_batches(self.path, self.group, _ROWS, self.names):
            yield rows_of(batch, self.path, self.names, start=first)[1]
            first += len(batch)


@dataclass(frozen=True, slots=True)
class Divided:
    """A file as ranges that can be read apart, with what is said of the whole.

    Attributes:
        ids: Of all rows.
        space: Of the vectors.
        ranges: All of them, in order.
        plain: Whether it is an npy that can be mapped into memory as it is: float32, row after row.
        start: Where its vectors begin then, in bytes.
    """

    ids: tuple[str, ...]
    space: Space
    ranges: tuple[Range, ...]
    plain: bool = False
    start: int = 0


def divided(
    path: Path | str, *, space: Space | None = None, cast: bool = False, columns: Mapping[str, str] | None = None
) -> Divided:
    """Look at a file of vectors without reading them; the arguments are those of `read_vectors`."""
    path = Path(path)
    if stored_suffix(path, columns) == ".npy":
        with opened_npy(path) as npy:
            return _divided_npy(npy, space, cast)
    names = column_names(columns)
    batch = next(iter(table_batches(path, 1, names)), None)
    if batch is None:
        raise InvalidInput(f"{path}: no rows; nothing to read")
    dim = rows_of(batch, path, names)[1].shape[1]
    ids = table_ids(path, names[0])
    _require_ids(ids, path)
    ranges, first = [], 0
    for part, group, rows in part_groups(path):
        if rows:
            ranges.append(Range(part, first, rows, cast, dim, group, names))
        first += rows
    return Divided(ids, _settled(path, table_space(path), space, dim), tuple(ranges))


def _divided_npy(npy: NpyFile, space: Space | None, cast: bool) -> Divided:
    npy.require_bound(0)
    rows, dim = npy.vectors.shape
    as_float32(npy.vectors[:0], npy.path, cast=cast)  # kinds of numbers that are refused are so now
    if npy.caution:
        warnings.warn(npy.caution, stacklevel=5)
    ids = tuple(map(str, range(rows)) if npy.ids is None else npy.ids)
    _require_ids(ids, npy.path)
    lie = _Bytes.of(npy)
    step = max(1, _RANGE_BYTES // max(1, dim * npy.vectors.itemsize))
    ranges = tuple(
        Range(npy.path, start, min(step, rows - start), cast, dim, npy=lie.part(start, min(start + step, rows)))
        for start in range(0, rows, step)
    )
    plain = npy.vectors.dtype == np.float32 and npy.vectors.dtype.isnative and npy.vectors.flags.c_contiguous
    return Divided(ids, _settled(npy.path, npy.space, space, dim), ranges, plain, lie.start)


@dataclass(frozen=True, slots=True)
class _Bytes:
    """How an npy lies in its bytes, and the checksums of some blocks of them."""

    start: int
    size: int
    dtype: str
    shape: tuple[int, int]
    fortran: bool
    checksum: str = ""
    block_bytes: int = 1
    first_block: int = 0
    sums: tuple[str | int, ...] = ()

    @classmethod
    def of(cls, npy: NpyFile) -> _Bytes:
        fortran, said = not npy.vectors.flags.c_contiguous, npy.described
        start = npy.content.nbytes - npy.vectors.size * npy.vectors.itemsize
        lie = cls(start, npy.content.nbytes, npy.vectors.dtype.str, npy.vectors.shape, fortran)
        if said is None or not said.checksum:
            return lie
        return replace(lie, checksum=said.checksum, block_bytes=said.block_bytes, sums=said.sums)

    def part(self, start: int, stop: int) -> _Bytes:
        """With the checksums of those rows alone; all of them where rows do not lie one after the other."""
        if self.fortran or not self.checksum:
            return self
        row = (self.size - self.start) // self.shape[0]
        first = (self.start + start * row if start else 0) // self.block_bytes
        last = -(-(self.start + stop * row) // self.block_bytes)
        return replace(self, first_block=first, sums=self.sums[first:last])

    def rows(self, path: Path, start: int, stop: int) -> np.ndarray:
        """Those rows; raises `InvalidInput` where the file is another one by now."""
        size = path.stat().st_size if path.exists() else 0
        if size != self.size:
            raise InvalidInput(f"{path} had {self.size:,} bytes, and has {size:,} now; write it again")
        content = np.memmap(path, np.uint8, "r")
        blocks = np.asarray(content)[self.first_block * self.block_bytes :]
        blocks = blocks[: len(self.sums) * self.block_bytes]
        if self.checksum and tuple(checksums(blocks, self.checksum, self.block_bytes)) != self.sums:
            raise InvalidInput(misbound(path, sidecar_of(path)))
        order: Any = "F" if self.fortran else "C"
        return np.asarray(content)[self.start :].view(self.dtype).reshape(self.shape, order=order)[start:stop]


def _settled(path: Path, said: Space | None, space: Space | None, dim: int) -> Space:
    settled = settled_space(path, said, space, dim)
    if settled.dim != dim:
        raise InvalidInput(f"{path}: vectors of {settled.model}: expected {settled.dim} numbers a row, came {dim}")
    return settled


def _require_ids(ids: tuple[str, ...], path: Path) -> None:
    """Refuse what `Embeddings` refuses of ids."""
    try:
        Embeddings(ids, np.zeros((len(ids), 1), np.float32), Space("ids", "", 1))
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
