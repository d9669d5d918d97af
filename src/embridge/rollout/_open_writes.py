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
from embridge.rollout._notes import checked_ids, damaged_note, require_kinds
from embridge.rollout.lease import is_gone, may_be_gone, this_process
from embridge.space import Space
from embridge.stores.documents import Documents

__all__ = [
    "BACKFILL",
    "OpenWrites",
    "abandoned_rows",
    "backfilling_rows",
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
            written = _checked(present)
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
    return sorted({name for one in _checked(documents.read(_NAME))["of"].values() for name in one["ids"]})


def abandoned_rows(documents: Documents, old: Space, *, now: float) -> set[str]:
    """The rows of writers that were killed, or may have been, which nobody made again; the backfill's own too."""
    writers = _checked(documents.read(_NAME))["of"].values()
    names = {name for one in writers if _is_silent(one, now) or may_be_gone(one["holder"]) for name in one["ids"]}
    return names.union(backfilling_rows(documents, old))


def backfilling_rows(documents: Documents, old: Space) -> list[str]:
    """The rows that the backfill is writing, or was writing when it was killed."""
    written = documents.read(BACKFILL) or {}
    return checked_ids(written, BACKFILL) if written.get("old") == old.id else []


def forget_abandoned(documents: Documents, *, now: float) -> None:
    """Forget the rows of writers that were killed, or fell silent: they were made again."""
    for _ in range(_ATTEMPTS):
        present = documents.read(_NAME)
        if present is None:
            return
        written = _checked(present)["of"]
        kept = {key: one for key, one in written.items() if not _is_silent(one, now)}
        if kept == written or documents.swap(_NAME, present, present | {"of": kept}):
            return


def encoded_before(documents: Documents, new: Space) -> int:
    """How many items the backfill encoded, in all runs."""
    if not (written := documents.read(BACKFILL)):
        return 0
    require_kinds(written, BACKFILL, {"encoded": dict})
    return _count(written["encoded"], new, BACKFILL)


def encoded_on_read(documents: Documents, new: Space) -> int:
    """How many items queries have encoded."""
    return _count(_checked(documents.read(_NAME))["encoded"], new, _NAME)


def _is_silent(writer: Mapping[str, Any], now: float) -> bool:
    """Whether a writer has ended, or wrote nothing for so long that it may have; clocks differ."""
    return is_gone(writer["holder"]) or abs(now - writer["at_seconds"]) >= _SILENT_SECONDS


def _checked(written: dict[str, Any] | None) -> dict[str, Any]:
    if not written:
        return {"encoded": {}, "of": {}}
    require_kinds(written, _NAME, {"encoded": dict, "of": dict})
    for one in written["of"].values():
        kinds = {"holder": str, "at_seconds": int | float}
        if not isinstance(one, dict) or not all(isinstance(one.get(name), kind) for name, kind in kinds.items()):
            raise damaged_note(_NAME, f"a writer is {one!r:.80}")
        checked_ids(one, _NAME)
    return written


def _count(encoded: Mapping[str, Any], new: Space, name: str) -> int:
    count = encoded.get(new.id, 0)
    if type(count) is not int or count < 0:
        raise damaged_note(name, f"so many items were encoded: {count!r:.80}")
    return count
