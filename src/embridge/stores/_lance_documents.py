"""Documents in a small LanceDB table beside the others, so that object storage has them too."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, final

from embridge.errors import StoreError, require
from embridge.stores._lance_filters import literal
from embridge.stores.documents import JOURNAL, Document, locked

__all__ = ["DOCUMENTS", "ENTRIES", "KEY", "LanceDocuments", "made_once"]

DOCUMENTS, ENTRIES = "embridge_documents", "embridge_journal"
KEY = b"lance-schema:unenforced-primary-key"
"""In a field's metadata; without it LanceDB lets two writers at once insert the same id twice."""
_ATTEMPTS = 100
_TIDIED_EVERY, _KEPT = 64, timedelta(minutes=10)  # every change leaves a version of the table, with three files
_MOST_ENTRIES, _LEFT = 32, 16  # of the journal, in the row; so many of them stay when the others are put aside


@final
class LanceDocuments:
    """All documents of a database in one row with a version.

    A write is an update of the row of the version that was read. LanceDB tests the condition again if another commit came
    first, so of two writers one updates no row.

    Who reads one document reads the row. So the journal's earlier entries are put into a table of their own, or the row would
    grow with every move. An entry that stands in both, after a kill, is the row's.

    Args:
        database: The connection; it has to see what others write.
        prefix: Of the names, to keep the documents of one table apart from those of another.
        asked: Calls LanceDB, and gives its errors as one of ours.
    """

    def __init__(self, database: Any, prefix: str, asked: Callable[[Callable[[], Any]], Any]) -> None:
        self._database, self._prefix, self._asked = database, prefix, asked
        self._aside = prefix + JOURNAL

    def read(self, name: str) -> dict[str, Any] | None:
        document: dict[str, Any] | None = self._asked(lambda: self._read(name))
        return document

    def swap(self, name: str, expected: Document | None, new: Document) -> bool:
        return bool(self._asked(lambda: self._swapped(name, expected, new)))

    def _read(self, name: str) -> dict[str, Any] | None:
        table = self._table(DOCUMENTS)
        return None if table is None else self._in(_row(table)[1], self._prefix + name)

    def _in(self, documents: Mapping[str, Any], name: str) -> dict[str, Any] | None:
        """A document of the row, or an entry of the journal that was put aside."""
        if name in documents or not 0 < self._number(name) <= self._put_aside(documents):
            return documents.get(name)
        table = self._table(ENTRIES)
        found = None if table is None else table.search().where(f"name = {literal(name)}").limit(1).to_arrow()
        rows = [] if found is None else found.to_pylist()
        try:
            return dict(json.loads(rows[0]["entry"])) if rows else None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"the table {ENTRIES} is damaged ({error}); restore an earlier version of it") from error

    def _swapped(self, name: str, expected: Document | None, new: Document) -> bool:
        name, table = self._prefix + name, self._table(DOCUMENTS) or self._made()
        for _ in range(_ATTEMPTS):
            version, documents = _row(table)
            if self._in(documents, name) != expected:
                return False
            changed = documents | {name: dict(new)}
            if _updated(table, version, changed):
                self._tidy(table, version + 1, changed)
                return True  # not one, where another document of the row was changed meanwhile, or this one
        raise StoreError(f"{DOCUMENTS}: documents were changed by others {_ATTEMPTS} times in a row; try again")

    def _tidy(self, table: Any, version: int, documents: Mapping[str, Any]) -> None:
        """Put entries of the journal aside, and delete versions that nobody can still be reading, each now and then.

        What fails is for the next to do.
        """
        with suppress(ValueError, RuntimeError, OSError, StoreError):
            entries = sorted(filter(self._number, documents), key=self._number)
            if len(entries) > _MOST_ENTRIES:
                self._put(table, version, documents, entries[:-_LEFT])
            if version % _TIDIED_EVERY == 0:
                table.optimize(cleanup_older_than=_KEPT)

    def _put(self, table: Any, version: int, documents: Mapping[str, Any], names: Sequence[str]) -> None:
        """Put entries aside: first they stand in their own table, then the row is without them."""
        aside = self._table(ENTRIES) or self._made_aside()
        rows = {"name": list(names), "entry": [json.dumps(documents[name]) for name in names]}
        merge = aside.merge_insert("name").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(require("pyarrow", extra="lancedb").table(rows, aside.schema))
        aside.optimize(cleanup_older_than=_KEPT)
        last = max(self._number(names[-1]), self._put_aside(documents))
        kept = {name: one for name, one in documents.items() if name not in names} | {self._aside: {"put_aside": last}}
        _updated(table, version, kept)

    def _number(self, name: str) -> int:
        """Of an entry of the journal; 0 for other documents."""
        number = name.removeprefix(self._prefix + JOURNAL)
        return int(number) if number != name and number.isascii() and number.isdigit() else 0

    def _put_aside(self, documents: Mapping[str, Any]) -> int:
        """The number of the last entry that was put aside."""
        return int(documents.get(self._aside, {}).get("put_aside", 0))

    def _table(self, name: str) -> Any:
        try:
            return self._database.open_table(name)
        except ValueError as error:
            if "not found" in str(error):
                return None
            raise

    def _made(self) -> Any:
        """The table, made here or by another process at the same moment."""
        pa = require("pyarrow", extra="lancedb")
        first = pa.table({"version": pa.array([0], pa.int64()), "documents": ["{}"]})
        return made_once(self._database, DOCUMENTS, first)

    def _made_aside(self) -> Any:
        pa = require("pyarrow", extra="lancedb")
        name = pa.field("name", pa.string(), nullable=False, metadata={KEY: "true"})
        return made_once(self._database, ENTRIES, pa.schema([name, pa.field("entry", pa.string())]).empty_table())


def made_once(database: Any, name: str, rows: Any) -> Any:
    """A table that is there, or is made of these rows.

    Of two that make a table at the same moment, LanceDB may let the later one overwrite the other. So in a folder, a lock
    keeps them apart; in object storage there is none, and tables are to be made by one process.
    """
    folder = Path(database.uri)
    with locked(folder / DOCUMENTS) if folder.is_dir() else nullcontext():
        try:
            return database.create_table(name, rows)
        except ValueError as error:
            if "already exists" not in str(error):
                raise
            return database.open_table(name)


def _row(table: Any) -> tuple[int, dict[str, Any]]:
    rows = table.search().limit(2).to_arrow().to_pylist()
    try:
        (row,) = rows
        return int(row["version"]), dict(json.loads(row["documents"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the table {DOCUMENTS} is damaged ({error}); restore an earlier version of it") from error


def _updated(table: Any, version: int, documents: Mapping[str, Any]) -> bool:
    """Write the row anew, if it is still of that version."""
    values = {"version": version + 1, "documents": json.dumps(documents)}
    return bool(table.update(where=f"version = {version}", values=values).rows_updated == 1)
