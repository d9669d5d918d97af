"""FAISS files: one of them with its ids, as it was when it was read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from embridge.errors import InvalidInput, StoreError
from embridge.space import Metric
from embridge.stores._faiss_ids import IdFile
from embridge.stores._faiss_index import FaissIndex, faiss_module
from embridge.stores.places import IndexState, RawRows

__all__ = ["FaissRows"]

_UNIT = 1e-6  # what float32 leaves of a length that was made one
_CHUNK = 65_536


class FaissRows:
    """Rows of an index by id. Nothing changes them; what is asked for often is kept.

    ``listed`` are ids by number, where a file of them is beside; ``stored`` are vectors by number, the same way. ``nprobe``
    and ``ef`` say how widely an index looks, where it should not be as the file says.
    """

    nprobe: int | None = None
    ef: int | None = None

    def __init__(
        self, index: FaissIndex, listed: IdFile | None = None, stored: np.ndarray | None = None, *, what: str
    ) -> None:
        self.index, self.listed, self.stored, self.what = index, listed, stored, what
        self.whole = listed is None or listed.whole
        numbers = index.numbers
        if listed is None:
            self.texts = list(map(str, numbers.tolist()))
            return
        held, most = len(listed.texts), int(numbers.max(initial=-1))
        if most >= held or (not index.mapped and held != len(index)) or int(numbers.min(initial=0)) < 0:
            raise StoreError(
                f"{what} holds {len(index)} rows (numbers up to {most}), and the file beside it {held} ids; expected one id "
                "a row, by number. Are they of another index?"
            )
        self.texts = [listed.texts[number] for number in numbers.tolist()] if index.mapped else listed.texts

    def __len__(self) -> int:
        return len(self.index)

    def vectors(self, rows: np.ndarray | slice) -> np.ndarray:
        """Float32 [n, d]; those in the file beside, where one is, else those of the index."""
        if self.stored is None:
            return self.index.vectors(rows)
        return np.ascontiguousarray(self.stored[self.index.numbers[rows]], dtype=np.float32)

    def parts(self, rows: int) -> Iterator[tuple[slice, RawRows]]:
        """All rows, at most so many at once, and which they are."""
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            yield part, RawRows(tuple(self.texts[part]), self.vectors(part))

    def numbers_of(self, ids: Sequence[str]) -> np.ndarray:
        """The numbers in the index of the rows of those ids."""
        numbers: np.ndarray = self.index.numbers[np.array([self.row_of[one] for one in ids], np.int64)]
        return numbers

    @property
    def exact(self) -> bool:
        """Whether search finds the nearest rows, always."""
        return self.index.flat and self.stored is None

    @property
    def exact_scores(self) -> bool:
        """Whether vectors are what was put in."""
        return self.index.lossless or self.stored is not None

    def states(self, name: str) -> list[IndexState]:
        """The index as one that is built on vectors, under that name; a flat one is none."""
        if self.index.flat:
            return []
        ivf = self.index.ivf
        remark = "" if ivf is None else f"a search looks into {self.nprobe or ivf.nprobe} of {ivf.nlist} lists"
        return [IndexState(name, self.index.kind, self.index.metric, len(self), 0, remark)]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Rows by id."""
        rows = {text: row for row, text in enumerate(self.texts)}
        if len(rows) < len(self.texts):
            twice = next(text for row, text in enumerate(self.texts) if rows[text] != row)
            raise StoreError(
                f"{self.what}: {len(self.texts) - len(rows)} ids repeat, first {twice!r}; expected one row each"
            )
        return rows

    @cached_property
    def in_order(self) -> list[int]:
        """Rows in order of id."""
        key: Any = (lambda row: int(self.texts[row])) if self.whole else self.texts.__getitem__
        return sorted(range(len(self.texts)), key=key)

    def following(self, after: str | None) -> int:
        """Where in order those begin that come after an id, which need not be there."""
        if after is None:
            return 0
        if not self.whole:
            return bisect_right(self.in_order, after, key=self.texts.__getitem__)
        if not after.removeprefix("-").isdecimal():
            raise InvalidInput(f"ids: {self.what} has whole numbers as ids, came {after!r:.60}")
        return bisect_right(self.in_order, int(after), key=lambda row: int(self.texts[row]))

    @cached_property
    def place(self) -> np.ndarray:
        """Of every row, where it is in order of id."""
        places = np.empty(len(self), np.int64)
        places[self.in_order] = np.arange(len(self))
        return places

    @cached_property
    def lengths(self) -> np.ndarray:
        """Of every vector, in float64."""
        parts = (self.vectors(slice(start, start + _CHUNK)) for start in range(0, len(self), _CHUNK))
        squares = [np.einsum("nd,nd->n", part, part, dtype=np.float64) for part in parts]
        return np.sqrt(np.concatenate(squares)) if squares else np.empty(0)

    @cached_property
    def _unit(self) -> bool:
        return bool((abs(self.lengths - 1) < _UNIT).all())

    @cached_property
    def _scaled(self) -> tuple[Any, np.ndarray]:
        """A flat index of the vectors at length one, without those of zeros; and the rows that they are of."""
        index, rows = (
            faiss_module().IndexFlatIP(self.index.dim),
            np.flatnonzero(np.isfinite(self.lengths) & (self.lengths > 0)),
        )
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            vectors = self.vectors(part) / self.lengths[part, None]
            index.add(np.ascontiguousarray(vectors, np.float32))
        return index, rows

    @cached_property
    def _copies(self) -> dict[str, Any]:
        return {}

    def proposer(self, metric: Metric) -> tuple[Any, np.ndarray | None]:
        """An exhaustive index that compares as the metric does, and its rows where it has not all of them."""
        if metric == self.index.metric:
            return self.index.core, None
        if metric == "cosine":
            return (self.index.core, None) if self.index.metric == "dot" and self._unit else self._scaled
        if metric not in self._copies:  # of an index that compares otherwise
            faiss = faiss_module()
            copy = faiss.IndexFlat(self.index.dim, faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)
            copy.add(self.vectors(slice(None)))
            self._copies[metric] = copy
        return self._copies[metric], None
