"""Writes of LanceDB: whole or not at all, also when interrupted, and refused where its float32 cannot follow."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.stores._lance_columns import as_table, ready
from embridge.stores._lance_rows import Source

__all__ = ["ended", "require_measurable", "written"]

_T = TypeVar("_T")
_ATTEMPTS = 5
_SHORTEST, _LONGEST = 1e-15, 1e15  # beyond, LanceDB's squared lengths leave float32


def ended(write: Callable[[], _T]) -> _T:
    """The write's result; an interrupt waits for its end, since LanceDB would write on in a thread of its own."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        return write()  # interrupts do not reach it, or end the process at once
    noted: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: noted.append((number, frame)))
    try:
        return write()
    finally:
        signal.signal(signal.SIGINT, handler)
        if noted:
            handler(*noted[0])


def written(source: Source, rows: Embeddings, columns: dict[str, list[Any]]) -> None:
    """Write rows in one commit, replacing those of the same id; again, where another writer changed the columns meanwhile."""
    for attempt in range(_ATTEMPTS):
        try:
            data = as_table(rows, ready(source, columns), source)
            merge = source.table.merge_insert(source.place.id)
            merge.when_matched_update_all().when_not_matched_insert_all().execute(data)
            return
        except InvalidInput:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            overtaken = "conflict" in str(error) or "already exists" in str(error)
            if not overtaken or attempt == _ATTEMPTS - 1:
                raise


def require_measurable(rows: Embeddings) -> None:
    """Refuse vectors whose squared length LanceDB cannot compute; zeros are none of them."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows.vectors, rows.vectors, dtype=np.float64))
    bad = lengths > _LONGEST
    if rows.space.metric == "cosine":
        bad |= (lengths > 0) & (lengths < _SHORTEST)
    if bad.any():
        row = int(bad.argmax())
        raise InvalidInput(
            f"{int(bad.sum())} vectors are too long or too short for LanceDB's float32, first {rows.ids[row]!r} of length "
            f"{lengths[row]:g}; scale them, to length one where cosine compares them"
        )
