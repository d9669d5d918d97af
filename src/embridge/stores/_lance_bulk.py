"""Filling a LanceDB table that stands beside another: rows are read and checked by where they lie, and appended in bulk."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.stores._bulk import LackingRows
from embridge.stores._lance_columns import as_table, kinds_of_source, payload_of, ready
from embridge.stores._lance_reads import Ask, has_vector
from embridge.stores._lance_rows import Source, texts_of
from embridge.stores._lance_writes import drop_repeats, ended
from embridge.stores._measurable import require_measurable
from embridge.stores.base import Payload
from embridge.stores.checks import require_ids, require_payload

__all__ = ["LanceBulk"]

_ATTEMPTS = 20
_MOST_ROWS = 2_000_000  # of both tables, whose ids are in memory
_COMMIT_ROWS = 4_096  # LanceDB takes longer for a row of larger ones
_OLD_SECONDS, _QUIET_SECONDS = 10.0, 60.0
_TIDIED_COMMITS, _TIDIED_SHARE = 64, 1 / 8
_KEPT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """Where rows lay, and what they were, in the order of their places; by which version of their table."""

    places: np.ndarray
    table: Any
    version: int


@final
@dataclass(slots=True, eq=False)
class LanceBulk:
    """One pass.

    Rows are appended as long as nobody else writes to the new table, which its version says. A writer that comes in between may
    give a row of the same batch a vector at the same moment: that is seen by the version too, and one of the two is deleted.
    With others at work, rows are merged in, which LanceDB keeps apart itself.
    """

    asked: Ask
    new: Source
    old: Source
    column: str
    _listed: int = field(default=-1, init=False)  # the version of the old table at the last look
    _known: int = field(default=-1, init=False)  # the version of the new table of which all ids are known
    _quiet_from: float = field(default=0.0, init=False)  # when the new table counts as written by nobody else
    _looked: float = field(default=0.0, init=False)
    _moved: bool = field(default=False, init=False)
    _commits: int = field(default=0, init=False)
    _tidied: int = field(default=0, init=False)
    _written: int = field(default=0, init=False)

    @property
    def settled(self) -> bool:
        """As `Bulk` says."""
        return self.asked(lambda: (self.old.table.version, self.new.table.version)) == (self._listed, self._known)

    @property
    def possible(self) -> bool:
        """Whether the ids fit into memory, and the column is there."""
        tables = (self.new.table, self.old.table)
        known = self.column in self.old.table.schema.names
        return known and self.asked(lambda: sum(table.count_rows() for table in tables)) <= _MOST_ROWS

    def rows(self, size: Callable[[], int], without: Container[str]) -> Iterator[LackingRows]:
        """As `Bulk` says."""
        vain = 0
        while vain < _ATTEMPTS and size():
            names, places = self.asked(self._lacking)
            start, self._moved, vain = 0, False, vain + 1
            while start < len(names) and (wanted := size()) and not (self._moved or self._is_old()):
                part = slice(start, start + wanted)
                picked = [row for row, name in enumerate(names[part], start) if name not in without]
                found = self.asked(partial(self._read, [names[row] for row in picked], places[picked]))
                if found.ids:
                    vain = 0
                    yield found
                start += wanted
            if start >= len(names) and not self._moved:
                return

    def write(self, rows: Embeddings, payload: Payload, lacking: LackingRows) -> Sequence[str]:
        """As `Bulk` says."""
        columns = require_payload(payload, len(rows))
        require_ids(rows.ids)
        require_measurable(rows, engine="LanceDB")
        self.asked(lambda: self._insert(as_table(rows, ready(self.new, columns), self.new), rows.ids))
        return self.asked(lambda: self._changed(rows.ids, lacking))

    def _is_old(self) -> bool:
        """Whether others may have seen to rows, or brought some, since the last look."""
        if time.monotonic() - self._looked < _OLD_SECONDS:
            return False
        return not self.settled

    def _lacking(self) -> tuple[list[str], np.ndarray]:
        """The ids of all rows without a new vector, each once, and where they lie."""
        self._looked = time.monotonic()
        self._listed, self._known = int(self.old.table.version), int(self.new.table.version)
        query, where = self.old.table.search().select([self.old.place.id]), has_vector(self.old)
        everywhere = not where or self.old.table.count_rows(where) == self.old.table.count_rows()
        query = query if everywhere and self._listed == self.old.table.version else query.where(where)
        rows = query.with_row_id(True).to_arrow()
        held = set[str | None]()
        if self.new.table.count_rows():
            held = set(_texts(self.new.table.search().select([self.new.place.id]).to_arrow(), self.new))
        names, places = _texts(rows, self.old), rows["_rowid"].to_numpy()
        lacking = set(names).difference(held, [None])
        if len(lacking) < len(names):
            first = {name: row for row, name in reversed(list(enumerate(names))) if name in lacking}
            kept = sorted(first.values())
            names, places = [names[row] for row in kept], places[kept]
        return names, places  # type: ignore[return-value]

    def _read(self, names: Sequence[str], places: np.ndarray) -> LackingRows:
        """Those of the rows that lie where they lay."""
        version, kinds = int(self.old.table.version), kinds_of_source(self.old)
        found, order = self._at(places, list(dict.fromkeys([self.column, *kinds]))), np.argsort(places)
        there = np.searchsorted(places[order], found["_rowid"].to_numpy())
        expected = [names[row] for row in order[there].tolist()]
        same = [row for row, (a, b) in enumerate(zip(_texts(found, self.old), expected, strict=True)) if a == b]
        self._moved |= len(same) < len(names)
        found = found if len(same) == len(found) else found.take(same)
        read = _Read(found["_rowid"].to_numpy(), found, version)
        ids = tuple(expected[row] for row in same)
        return LackingRows(ids, found[self.column].to_pylist(), payload_of(found, kinds), read)

    def _at(self, places: np.ndarray, columns: Sequence[str]) -> Any:
        """Rows that lie at these places now, in the order of their places."""
        chosen = list(dict.fromkeys([self.old.place.id, *columns]))
        query = self.old.table.take_row_ids(places.tolist())
        return query.with_row_id().select(chosen).to_arrow().sort_by("_rowid")

    def _insert(self, data: Any, names: Sequence[str]) -> None:
        """Append while all ids of the new table are known and nobody else is seen there; else merge in what it lacks."""
        table, raced = self.new.table, False
        if (version := int(table.version)) != self._known and table.count_rows() == 0:
            self._known = version
        for start in range(0, len(data), _COMMIT_ROWS):
            part = data.slice(start, _COMMIT_ROWS)
            known = int(table.version) == self._known and self._commits > 0
            alone = known and time.monotonic() >= self._quiet_from
            version = ended(partial(_appended if alone else _merged, self.new, part))
            if version != self._known + 1:
                raced |= alone
                version, self._quiet_from = -1, time.monotonic() + _QUIET_SECONDS
            self._known = version
            self._commits += 1
        if raced:
            drop_repeats(self.new, names)
        self._tidy(len(data))

    def _changed(self, names: Sequence[str], lacking: LackingRows) -> list[str]:
        """The rows that are gone from where they lay, or are not what they were; none where the table is as it was."""
        read: _Read = lacking.kept
        if int(self.old.table.version) == read.version:
            return []
        found = self._at(read.places, read.table.column_names[:-1])
        expected = read.table.take(np.flatnonzero(np.isin(read.places, found["_rowid"].to_numpy())))
        if found.equals(expected):
            same = set(_texts(found, self.old))
        else:
            both = zip(_texts(found, self.old), found.to_pylist(), expected.to_pylist(), strict=True)
            same = {name for name, now, before in both if now == before}
        return [name for name in names if name not in same]

    def _tidy(self, rows: int) -> None:
        """Make large files of small ones now and then: reads slow down with their number. Old versions of the table go."""
        self._written += rows
        if (
            self._commits - self._tidied < _TIDIED_COMMITS
            or self._written < _TIDIED_SHARE * self.new.table.count_rows()
        ):
            return
        with suppress(ValueError, RuntimeError, OSError):  # another's commit came first
            ended(lambda: self.new.table.optimize(cleanup_older_than=_KEPT))
        self._written, self._tidied, self._known, self._looked = 0, self._commits, -1, 0.0


def _appended(source: Source, part: Any) -> int:
    return int(source.table.add(part).version)


def _merged(source: Source, part: Any) -> int:
    merge = source.table.merge_insert(source.place.id)
    return int(merge.when_not_matched_insert_all().execute(part).version)


def _texts(found: Any, source: Source) -> list[str | None]:
    return [text for chunk in found[source.place.id].chunks for text in texts_of(chunk)]
