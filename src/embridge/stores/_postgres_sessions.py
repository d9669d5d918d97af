"""Connections to one PostgreSQL database: lent, taken back, made anew where one was lost; errors in one line."""

from __future__ import annotations

import os
import re
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock
from typing import Any, TypeVar, final
from urllib.parse import unquote, urlsplit

from embridge.errors import EmbridgeError, InvalidInput, StoreError, require
from embridge.stores._postgres_binary import wire_types
from embridge.stores._postgres_silence import Silence
from embridge.stores.urls import StoreUrl, without_passwords

__all__ = ["Sessions"]

_T = TypeVar("_T")

_CONNECT_SECONDS = 10
_RESTART_SECONDS = 40.0  # how long a server that was there may be away, or silent
_ANSWER_SECONDS = 5
_PAUSE_SECONDS = 0.1
_ON_ITS_WAY = "the database system is"  # starting up, shutting down, in recovery mode
_LOCK_SECONDS = 5
_IDLE = 4
_ATTEMPTS = 5
_LOST = ("08", "57P01", "57P02", "57P03")
_POOLED = ("26000", "42P05")  # a pooler that knows no prepared statements
_AGAIN = ("40001", "40P01")  # a serialisation failure, a deadlock
_OTHERS = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL(%s::int4[])
    AND coalesce(backend_type, 'client backend') = 'client backend')
"""
_REFUSED = ("22", "23", "428C9", "54000")  # values, rather than the server or its user
_LEAST_SECRET = 4
_ADVICE = {
    "42501": "ask the table's owner for the right (GRANT), or keep declarations in a file of your own (declarations=FILE)",
    "25006": "the server takes no writes (a replica?); name the one that does, or keep declarations in a file of your own",
    "55P03": "someone else is at work on the table; try again when that has ended",
    "57014": "raise statement_timeout for this user, or take fewer rows at once",
    "53100": "the server's disk is full; nothing of this write was kept",
    "42P01": "it was there before; was it dropped or renamed?",
    "42703": "it was there before; was it dropped or renamed?",
    "23502": "rows with new ids need a value there: give it in the payload",
    "428C9": "the database makes these ids itself: add the row there first",
    "54000": "PostgreSQL cannot index ids this long (about 2,700 bytes); shorten them",
}


@final
class Sessions:
    """A few connections of one process to a database, safe in threads and after a fork."""

    def __init__(self, url: StoreUrl) -> None:
        self.psycopg = require("psycopg", extra="postgres")
        self.url = url
        self.wire, self._dumper = wire_types(self.psycopg)
        self._idle: list[Any] = []
        self._pids: set[int] = set()
        self._lock, self._process = Lock(), os.getpid()
        self._prepare: int | None = 5
        self._was_there = False
        self._closed, self._inherited = False, list[Any]()
        self._silence = Silence(partial(_answers, self.psycopg, url.location), _RESTART_SECONDS)
        weakref.finalize(self, self._silence.close)
        weakref.finalize(self, _close_idle, self._idle, self._process)

    def run(self, work: Callable[[Any], _T], *, what: str, again: bool = True) -> _T:
        """The work's result on a connection of its own; done once more on a new one where that was lost.

        Raises `StoreError`, or `InvalidInput` where a value was refused. Work that must not be done twice says so.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self.borrowed() as connection:
                    return work(connection)
            except UnicodeDecodeError as error:
                raise StoreError(f"{self.url}: {what}: the database holds bytes that are no UTF-8: {error}") from error
            except self.psycopg.Error as error:
                if attempt == _ATTEMPTS or not again or not self.worth_repeating(error):
                    raise self.explained(error, what) from error
        raise AssertionError("unreachable")

    def alter(self, change: Callable[[Any], None], what: str) -> None:
        """Change a table in one transaction; readers and writers wait behind whoever waits for it, so this waits briefly."""

        def alter(connection: Any) -> None:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
                change(connection)

        self.run(alter, what=what)

    def others(self) -> bool:
        """Whether somebody else is connected to the database; who may not see of whom a session is takes it for a client's."""
        return bool(
            self.run(lambda one: one.execute(_OTHERS, (sorted(self._pids),)).fetchone()[0], what="look for others")
        )

    @contextmanager
    def borrowed(self) -> Iterator[Any]:
        """A connection in autocommit mode, for one at a time."""
        connection = self._taken() or self._connected()
        try:
            with self._silence.watched(connection):
                yield connection
        except Exception:
            self._returned(connection)
            raise
        except BaseException:  # an interrupt: who knows what the server still does
            connection.close()
            raise
        self._returned(connection)

    def explained(self, error: Exception, what: str) -> EmbridgeError:
        """A database's error in one line, without passwords and without the values of rows."""
        diagnosis = getattr(error, "diag", None)
        code = getattr(error, "sqlstate", None) or ""
        message = self._line((diagnosis and diagnosis.message_primary) or str(error))
        advice = _ADVICE.get(code, "")
        text = f"{self.url}: {what}: {message}" + (f"; {advice}" if advice else "")
        return InvalidInput(text) if code.startswith(_REFUSED) else StoreError(text)

    @property
    def taken(self) -> tuple[type[Exception], ...]:
        """How the server says that a table is there, by now or since a moment."""
        errors = self.psycopg.errors
        return (errors.DuplicateTable, errors.DuplicateObject, errors.UniqueViolation)

    def close(self) -> None:
        self._closed = True
        self._silence.close()
        self.forget_idle()

    def forget_idle(self) -> None:
        with self._lock:
            _close_idle(self._idle, self._process)

    def worth_repeating(self, error: Exception) -> bool:
        """Whether another connection, or the same once more, may do; all others are as lost as this one."""
        code = getattr(error, "sqlstate", None) or ""
        if code in _POOLED:
            self._prepare = None
        lost = code.startswith(_LOST) or (not code and isinstance(error, self._broken()))
        if lost or code in _POOLED:
            self.forget_idle()
        return lost or code in _POOLED or code in _AGAIN

    def _broken(self) -> tuple[type[Exception], ...]:
        return (self.psycopg.OperationalError, self.psycopg.InterfaceError)

    def _taken(self) -> Any:
        if self._closed:
            raise StoreError(f"{self.url} was closed; open it again")
        with self._lock:
            if os.getpid() != self._process:  # a fork: these are the parent's
                self._inherited += self._idle  # kept, since closing them would end the parent's sessions
                self._idle.clear()
                self._process = os.getpid()
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
        return None

    def _returned(self, connection: Any) -> None:
        idle = self.psycopg.pq.TransactionStatus.IDLE
        if not connection.closed and connection.info.transaction_status == idle:
            with self._lock:
                if len(self._idle) < _IDLE and not self._closed:
                    self._idle.append(connection)
                    return
        connection.close()

    def _connected(self) -> Any:
        """A new connection; a server that was there, or says that it comes or goes, is waited for, unless it was just now."""
        began = time.monotonic()
        while True:
            try:
                return self._connect()
            except self.psycopg.OperationalError as error:
                line = self._line(str(error))
                self._was_there |= _ON_ITS_WAY in line
                waits = self._was_there and not self._silence.gave_up
                if time.monotonic() >= began + (_RESTART_SECONDS if waits else 0):
                    raise StoreError(f"{self.url} cannot be reached: {line}; {_what_to_check(line)}") from error
                time.sleep(_PAUSE_SECONDS)
            except self.psycopg.Error as error:
                raise StoreError(f"{self.url} cannot be opened: {self._line(str(error))}") from error

    def _connect(self) -> Any:
        chosen: dict[str, Any] = {"fallback_application_name": "embridge", "client_encoding": "utf8"}
        if "connect_timeout" not in self.url.location and "PGCONNECT_TIMEOUT" not in os.environ:
            chosen["connect_timeout"] = _ANSWER_SECONDS if self._silence.gave_up else _CONNECT_SECONDS
        connection = self.psycopg.connect(self.url.location, autocommit=True, prepare_threshold=self._prepare, **chosen)
        connection.adapters.register_dumper(self.wire, self._dumper)
        self._pids.add(connection.info.backend_pid)
        self._was_there, self._silence.gave_up = True, False
        return connection

    def _line(self, text: str) -> str:
        line = without_passwords(" ".join(text.split()))
        written = urlsplit(self.url.location).password or ""
        for secret in sorted({written, unquote(written), os.environ.get("PGPASSWORD", "")}, key=len, reverse=True):
            if len(secret) >= _LEAST_SECRET:
                line = line.replace(secret, "***")
            elif secret:  # anywhere else it may be a part of any word
                line = re.sub(
                    rf"(?<=:){re.escape(secret)}(?=@)|(?<=password ['\"]){re.escape(secret)}(?=['\"])", "***", line
                )
        return line


def _close_idle(connections: list[Any], process: int) -> None:
    while connections:
        connection = connections.pop()
        if os.getpid() == process:
            with suppress(Exception):
                connection.close()


def _answers(psycopg: Any, location: str) -> bool:
    """Whether the server says anything to somebody who connects, and be it that there are too many."""
    try:
        psycopg.connect(location, connect_timeout=_ANSWER_SECONDS, fallback_application_name="embridge").close()
    except psycopg.Error as error:
        return "FATAL" in str(error)
    return True


def _what_to_check(line: str) -> str:
    if "password" in line or "authentication" in line:
        return "look at user and password in the URL; PGPASSWORD and ~/.pgpass are read too"
    if "does not exist" in line:
        return "look at the database and the user in the URL"
    return "does the server run, and are host and port right?"
