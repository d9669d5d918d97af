"""Rows that are being written this moment, noted beside them: if the writer is killed, the backfill makes them again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from uuid import uuid4

from embridge.errors import GateRefused, StoreError
from embridge.rollout.lease import is_gone, this_process
from embridge.space import Space
from embridge.stores.documents import Documents

__all__ = [
    "BACKFILL",
    "OpenWrites",
    "abandoned_rows",
    "encoded_before",
    "encoded_on_read",
    "forget_abandoned",
    "open_rows",
]

BACKFILL = "backfill"
"""The document of the backfill's own open rows."""

_NAME = "open writes"
_ATTEMPTS = 200
_SILENT_SECONDS = 600.0


@dataclass(slots=True, eq=False)
class OpenWrites:
    """The rows that one gallery is writing.

    An item has an old row and a new one, and no database writes both at once. Who is killed in between would leave a new row
    of a former content, which nobody would notice. So the ids are noted before, and struck out after.

    Attributes:
        documents: Of the store.
        clock: Gives Unix time.
    """

    documents: Documents
    clock: Callable[[], float] = time.time
    _key: str = field(default_factory=lambda: uuid4().hex, init=False, repr=False)
    _ids: Counter[str] = field(default_factory=Counter, init=False, repr=False)
    _lingering: bool = field(default=False, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    @contextmanager
    def noted(
        self, ids: Sequence[str], *, encoded: int = 0, new: Space | None = None, most: int | None = None
    ) -> Iterator[None]:
        """Within, the ids are noted; they stay noted where it ends with an error.

        Where nothing was encoded for them, they are struck out with the next ones: a commit costs more than to make a row
        once more.

        Args:
            ids: Of the rows.
            encoded: Items that will be encoded for them, which are paid for.
            new: The space of their vectors.
            most: Items that may have been encoded by then; None for any number.

        Raises:
            GateRefused: More would be encoded than may be; nothing was noted.
            StoreError: Others write at every attempt.
        """
        with self._lock:
            self._ids.update(ids)
            try:
                self._write({new.id: encoded} if new is not None else {}, most)
            except BaseException:
                self._ids.subtract(ids)
                raise
        yield
        with self._lock:
            self._ids.subtract(ids)
            self._lingering = True
            if encoded:
                self._write({}, None)

    def settle(self) -> None:
        """Strike out what was written, as the next write would."""
        with self._lock:
            if self._lingering:
                self._write({}, None)

    def _write(self, encoded: Mapping[str, int], most: int | None) -> None:
        self._ids = +self._ids
        for _ in range(_ATTEMPTS):
            present = self.documents.read(_NAME)
            written: dict[str, Any] = present or {"encoded": {}, "of": {}}
            after = {name: written["encoded"].get(name, 0) + count for name, count in encoded.items()}
            if most is not None and any(count > most for count in after.values()):
                raise GateRefused("no more items may be encoded: the spend cap would be passed")
            of = {name: value for name, value in written["of"].items() if name != self._key}
            if self._ids:
                of[self._key] = {"holder": this_process(), "ids": sorted(self._ids), "at_seconds": self.clock()}
            new = {"encoded": written["encoded"] | after, "of": of}
            if new == present or self.documents.swap(_NAME, present, new):
                self._lingering = False
                return
        raise StoreError("others wrote at every attempt; write again")


def open_rows(documents: Documents) -> list[str]:
    """The rows that somebody is writing, or was writing when he was killed, in order."""
    present = documents.read(_NAME) or {"of": {}}
    return sorted({name for one in present["of"].values() for name in one["ids"]})


def abandoned_rows(documents: Documents, old: Space) -> set[str]:
    """The rows that somebody was writing when he was killed, and nobody made again; the backfill's own too, if none runs."""
    of = (documents.read(_NAME) or {"of": {}})["of"].values()
    names = {name for one in of if is_gone(one["holder"]) for name in one["ids"]}
    backfill = documents.read(BACKFILL) or {}
    return names.union(backfill["ids"] if backfill.get("old") == old.id else ())


def forget_abandoned(documents: Documents, *, now: float) -> None:
    """Forget the rows of writers that were killed, or fell silent: they were made again."""
    for _ in range(_ATTEMPTS):
        present = documents.read(_NAME)
        if present is None:
            return
        kept = {
            key: one
            for key, one in present["of"].items()
            if not is_gone(one["holder"]) and now - one["at_seconds"] < _SILENT_SECONDS
        }
        if kept == present["of"] or documents.swap(_NAME, present, present | {"of": kept}):
            return


def encoded_before(documents: Documents, new: Space) -> int:
    """How many items the backfill encoded, in all runs."""
    return int((documents.read(BACKFILL) or {}).get("encoded", {}).get(new.id, 0))


def encoded_on_read(documents: Documents, new: Space) -> int:
    """How many items queries have encoded."""
    return int((documents.read(_NAME) or {"encoded": {}})["encoded"].get(new.id, 0))
