"""What a worker knows of a gallery: where its rows lie, in which order, and how they are mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embridge.adapters.base import Adapter
from embridge.embeddings import require_vectors
from embridge.errors import InvalidInput
from embridge.nearest._parts import blocks

__all__ = ["Cut", "Rows", "stamp_of"]

_BLOCKS = 4  # that are searched at once


@dataclass(frozen=True, slots=True)
class Cut:
    """The first numbers of every vector."""

    dim: int

    def apply(self, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(rows[:, : self.dim])


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one array on disk, as an evaluation orders and maps them.

    Attributes:
        path: A file of float32 numbers, row after row.
        start: Where they begin, in bytes.
        shape: How many rows, and of how many numbers, it holds.
        stamp: Its bytes and the time of its last change, when it was looked at.
        order: A file of the row numbers [n], in the order of the evaluation; as they lie where None.
        steps: What maps them, block by block.
        kept: Which rows are meant, ascending; all where None.
    """

    path: Path
    start: int
    shape: tuple[int, int]
    stamp: tuple[int, int]
    order: Path | None = None
    steps: tuple[Adapter | Cut, ...] = ()
    kept: np.ndarray | None = None

    @classmethod
    def of(cls, path: Path, start: int, shape: tuple[int, int]) -> Rows:
        """Those of a file as it is now."""
        return cls(path, start, shape, stamp_of(path))

    def portions(self, numbers: range) -> Iterator[tuple[int, np.ndarray]]:
        """Of the blocks of these numbers: the number of a row among those meant, and the vectors from there on."""
        some = blocks(self.shape[0])[numbers.start : numbers.stop]
        for first in range(0, len(some), _BLOCKS):
            part = some[first : first + _BLOCKS]
            whole = slice(part[0].start, part[-1].stop)
            if self.kept is None:
                yield whole.start, self._mapped(part)
                continue
            start, stop = np.searchsorted(self.kept, [whole.start, whole.stop])
            if start < stop:
                yield int(start), self._mapped(part)[self.kept[start:stop] - whole.start]

    def _mapped(self, part: list[slice]) -> np.ndarray:
        if not self.steps:
            return self._read(slice(part[0].start, part[-1].stop))
        mapped = []
        for block in part:
            rows = self._read(block)
            for step in self.steps:
                rows = step.apply(rows)
                if isinstance(step, Adapter) and not step.bounded:
                    require_vectors(rows, dim=step.target.dim, what=f"vectors of {step.target.model}")
            mapped.append(rows)
        return mapped[0] if len(mapped) == 1 else np.concatenate(mapped)

    def _read(self, part: slice) -> np.ndarray:
        if stamp_of(self.path) != self.stamp:
            raise InvalidInput(f"{self.path} was changed while it was searched; start again")
        held = np.memmap(self.path, np.float32, "r", self.start, self.shape)
        if self.order is None:
            return np.asarray(held)[part]
        order = np.load(self.order, mmap_mode="r")
        return np.asarray(held)[order[part]]


def stamp_of(path: Path) -> tuple[int, int]:
    """The bytes of a file and the time of its last change; of one that is gone, neither."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
