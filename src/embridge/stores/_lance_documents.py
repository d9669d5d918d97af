"""Documents in a small LanceDB table beside the others, so that object storage has them too."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, final

from embridge.errors import StoreError, require
from embridge.stores.documents import Document, locked

__all__ = ["DOCUMENTS", "LanceDocuments", "made_once"]

DOCUMENTS = "embridge_documents"
_ATTEMPTS = 100
_TIDIED_EVERY, _KEPT = 64, timedelta(minutes=10)  # every change leaves a version of the table, with three files


@final
class LanceDocuments:
    """All documents of a database in one row with a version.

    A write is an update of the row of the version that was read. LanceDB tests the condition again if another commit came
    first, so of two writers one updates no row.

    Args:
        database: The connection; it has to see what others write.
        prefix: Of the names, to keep the documents of one table apart from those of another.
        asked: Calls LanceDB, and gives its errors as one of ours.
    """

    def __init__(self, database: Any, prefix: str, asked: Callable[[Callable[[], Any]], Any]) -> None:
        self._database, self._prefix, self._asked = database, prefix, asked

    def read(self, name: str) -> dict[str, Any] | None:
        document: dict[str, Any] | None = self._asked(lambda: self._read(name))
        return document

    def swap(self, name: str, expected: Document | None, new: Document) -> bool:
        return bool(self._asked(lambda: self._swapped(name, expected, new)))

    def _read(self, name: str) -> dict[str, Any] | None:
        table = self._table()
        return None if table is None else _row(table)[1].get(self._prefix + name)

    def _swapped(self, name: str, expected: Document | None, new: Document) -> bool:
        name, table = self._prefix + name, self._table() or self._made()
        for _ in range(_ATTEMPTS):
            version, documents = _row(table)
            if documents.get(name) != expected:
                return False
            values = {"version": version + 1, "documents": json.dumps(documents | {name: dict(new)})}
            if table.update(where=f"version = {version}", values=values).rows_updated == 1:
                if (version + 1) % _TIDIED_EVERY == 0:
                    _tidy(table)
                return True  # not one, where another document of the row was changed meanwhile, or this one
        raise StoreError(f"{DOCUMENTS}: documents were changed by others {_ATTEMPTS} times in a row; try again")

    def _table(self) -> Any:
        try:
            return self._database.open_table(DOCUMENTS)
        except ValueError as error:
            if "not found" in str(error):
                return None
            raise

    def _made(self) -> Any:
        """The table, made here or by another process at the same moment."""
        pa = require("pyarrow", extra="lancedb")
        first = pa.table({"version": pa.array([0], pa.int64()), "documents": ["{}"]})
        return made_once(self._database, DOCUMENTS, first)


def _tidy(table: Any) -> None:
    """Delete the versions of the table that nobody can still be reading; one that fails is for the next to do."""
    with suppress(ValueError, RuntimeError, OSError):
        table.optimize(cleanup_older_than=_KEPT)


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
