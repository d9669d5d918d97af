"""Documents in a table beside the rows, ``embridge_documents``; each table of a schema has its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, final

from embridge.errors import StoreError
from embridge.stores._postgres_catalog import quoted, unescaped
from embridge.stores._postgres_sessions import Sessions
from embridge.stores.documents import STATE, Document

__all__ = ["TABLE", "PostgresDocuments"]

TABLE = "embridge_documents"
_CREATE = """
CREATE TABLE IF NOT EXISTS {table}
(of_table text, name text, document text NOT NULL, PRIMARY KEY (of_table, name))
"""


@final
class PostgresDocuments:
    """Documents of one table. The side table is made with the first document."""

    def __init__(self, sessions: Sessions, schema: str, table: str) -> None:
        self._sessions, self._schema, self._table = sessions, schema, table
        self._sql = quoted(schema, TABLE)
        self._is_there = False

    @property
    def creation(self) -> str:
        """The statement that makes the side table."""
        return " ".join(_CREATE.format(table=self._sql).split())

    def read(self, name: str) -> dict[str, Any] | None:
        text = self._text(name)
        return None if text is None else self._parsed(name, text)

    def swap(self, name: str, expected: Document | None, new: Document) -> bool:
        """The change itself is not repeated on a lost connection: nobody knows then whether it was made."""
        text, written = self._text(name), json.dumps(new)  # which finds a connection that is alive
        if (None if text is None else self._parsed(name, text)) != expected:
            return False
        what, key = f"write the document {name!r}", (self._table, name)
        if text is None:
            self._sessions.run(self._create, what=what)
            insert = f"INSERT INTO {self._sql} VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
            return self._changed(insert, (*key, written), what)
        update = f"UPDATE {self._sql} SET document = %s WHERE of_table = %s AND name = %s AND document = %s"
        return self._changed(update, (written, *key, text), what)

    def change(self, connection: Any, name: str, change: Callable[[dict[str, Any]], Document]) -> None:
        """Change a document that is there, in the transaction of a connection."""
        select = f"SELECT document FROM {self._sql} WHERE of_table = %s AND name = %s FOR UPDATE"
        (text,) = connection.execute(select, (self._table, name)).fetchone()
        update = f"UPDATE {self._sql} SET document = %s WHERE of_table = %s AND name = %s"
        connection.execute(update, (json.dumps(change(self._parsed(name, text))), self._table, name))

    def _parsed(self, name: str, text: str) -> dict[str, Any]:
        try:
            document = json.loads(text)
            if not isinstance(document, dict):
                raise ValueError("it is no object")
        except (ValueError, RecursionError) as error:
            advice = "write {} there, and the journal says what it was" if name == STATE else "restore it from a copy"
            where = f"{self._sessions.url}: the document {name!r} in {self._sql}"
            raise StoreError(f"{where} is damaged: {error}; {advice}") from error
        return document

    def _changed(self, statement: str, values: tuple[str, ...], what: str) -> bool:
        changed = self._sessions.run(lambda connection: connection.execute(statement, values), what=what, again=False)
        return int(changed.rowcount) == 1

    def _text(self, name: str) -> str | None:
        def read(connection: Any) -> str | None:
            if not self._is_there:
                there = "SELECT to_regclass(%s) IS NOT NULL"
                self._is_there = connection.execute(there, (unescaped(self._sql),)).fetchone()[0]
            if not self._is_there:
                return None
            select = f"SELECT document FROM {self._sql} WHERE of_table = %s AND name = %s"
            found = connection.execute(select, (self._table, name)).fetchone()
            return None if found is None else str(found[0])

        return self._sessions.run(read, what="read declarations")

    def _create(self, connection: Any) -> None:
        with suppress(*self._sessions.taken):  # someone else was first, by a moment
            connection.execute(_CREATE.format(table=self._sql), ())
