"""Chroma: a client of a server or of a folder, whose errors are this library's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from embridge.errors import InvalidInput, SettingsError, StoreError, require
from embridge.stores.urls import StoreUrl, without_passwords

__all__ = ["ChromaClient"]

_T = TypeVar("_T")
_TOKEN, _PORTS = "CHROMA_TOKEN", {"http": 8000, "https": 443}
_PAGE, _PATIENCE_SECONDS, _BUSY_SECONDS = 500, 20, 300  # to connect; to answer, which a large write may take
_RESTART_SECONDS, _PAUSE_SECONDS = 5.0, 0.1  # how long a server that was there may be away
_LONGEST = 400  # of a message


class ChromaClient:
    """Collections by name. What fails is asked once more where that does no harm, and told in one line.

    Raises `StoreError` where there is no such server or folder.
    """

    def __init__(self, url: StoreUrl, *, create: bool) -> None:
        self.where = f"{url}"
        unknown = url.options.keys() - {"tenant", "database"}
        if unknown:
            raise SettingsError(f"{url}: unknown {', '.join(sorted(unknown))}; expected ?tenant=NAME&database=NAME")
        self._chroma = require("chromadb", extra="chroma")
        self._errors = require("chromadb.errors", extra="chroma")
        httpx = require("httpx", extra="chroma")
        self._transport: tuple[type[Exception], ...] = (httpx.TransportError, ConnectionError)
        self._late, self._was_there = httpx.TimeoutException, False
        self._collections: dict[str, Any] = {}
        self._database = {name: value for name, value in url.options.items() if value}
        self._client = self._server(url) if url.is_remote else self._folder(Path(url.location), create=create)
        self._was_there = url.is_remote

    def collection(self, name: str) -> Any:
        """A collection; raises `StoreError` where there is none."""
        if name not in self._collections:
            get = self._client.get_collection
            self._collections[name] = self.ask(lambda: get(name, embedding_function=None), of=name)
        return self._collections[name]

    def on(self, name: str, call: Callable[[Any], _T]) -> _T:
        """What a call gives of a collection, which may have been made anew by others."""
        try:
            return self.ask(lambda: call(self.collection(name)), of=name)
        except _Gone:
            self._collections.pop(name, None)
            return self.ask(lambda: call(self.collection(name)), of=name)

    def collections(self) -> list[Any]:
        """All collections."""
        found: list[Any] = []
        while True:
            start = len(found)
            found += self.ask(lambda start=start: self._client.list_collections(limit=_PAGE, offset=start))  # type: ignore[misc]
            if len(found) < start + _PAGE:
                return found

    def make(self, name: str, *, metadata: dict[str, Any] | None = None, space: str = "l2", again: bool) -> bool:
        """Make a collection; where it is there, False, or nothing happens if ``again`` is allowed."""
        make = self._client.get_or_create_collection if again else self._client.create_collection
        configuration = {"hnsw": {"space": space}}
        try:
            made = self._ask(
                lambda: make(name, metadata=metadata, configuration=configuration, embedding_function=None)
            )
        except _There:
            return False
        self._collections[name] = made
        return True

    def drop(self, name: str) -> None:
        """Delete a collection, if it is there."""
        self._collections.pop(name, None)
        try:
            self._ask(lambda: self._client.delete_collection(name))
        except _Gone:
            return

    @property
    def most_rows(self) -> int:
        """How many rows one request may write."""
        if "most" not in self.__dict__:
            self.most = int(self.ask(self._client.get_max_batch_size))
        return self.most

    def ask(self, call: Callable[[], _T], *, of: str = "") -> _T:
        """What a call gives that may be made again; a server that was there, and starts again, is waited for."""
        began, tries = time.monotonic(), 0
        while True:
            try:
                return self._ask(call)
            except _Unreached as error:
                waits = self._was_there and not isinstance(error.__cause__, self._late)
                waits, tries = waits and time.monotonic() < began + _RESTART_SECONDS, tries + 1
                if tries > 1 and not waits:
                    raise
                time.sleep(_PAUSE_SECONDS if waits else 0)
            except _Gone as error:
                raise _Gone(f"{self.where}: there is no collection {of!r}; {self._there()}") from error

    def _server(self, url: StoreUrl) -> Any:
        place = urlsplit(url.location)
        if place.scheme not in _PORTS or not place.hostname:
            raise SettingsError(f"{url} is no server's address; expected chroma:http://HOST:8000/COLLECTION")
        host, port = place.hostname, place.port or _PORTS[place.scheme]
        self._ask(lambda: self._require_server(f"{place.scheme}://{host}:{port}"))
        settings = self._chroma.config.Settings(anonymized_telemetry=False)
        make = self._chroma.HttpClient
        made = self._ask(lambda: make(host, port, place.scheme == "https", _headers(), settings, **self._database))
        with suppress(
            AttributeError
        ):  # where a later release keeps its session elsewhere: it waits for ever, as it is made
            made._server._session.timeout = require("httpx", extra="chroma").Timeout(
                _BUSY_SECONDS, connect=_PATIENCE_SECONDS
            )
        return made

    def _folder(self, folder: Path, *, create: bool) -> Any:
        if not create and not (folder / "chroma.sqlite3").is_file():
            raise StoreError(
                f"{folder} holds no Chroma database (chroma.sqlite3); expected a folder of PersistentClient"
            )
        make, settings = self._chroma.PersistentClient, self._chroma.config.Settings
        try:  # as others in this process have it, which has to be the same; from 1.5 on it sends nothing either way
            return self._ask(lambda: make(folder, settings(), **self._database))
        except _There:
            return self._ask(lambda: make(folder, settings(anonymized_telemetry=False), **self._database))

    def _require_server(self, address: str) -> None:
        """Refuse what is no Chroma server, or lets us not in; its own client does not say which, and waits for ever."""
        tenant, database = (self._database.get(name, f"default_{name}") for name in ("tenant", "database"))
        path = f"{address}/api/v2/tenants/{quote(tenant, safe='')}/databases/{quote(database, safe='')}"
        get = require("httpx", extra="chroma").get
        answer = get(path, headers=_headers(), timeout=_PATIENCE_SECONDS, verify=address.startswith("https"))
        if answer.status_code in (401, 403):
            raise StoreError(f"{self.where} refuses access ({answer.status_code}): set {_TOKEN} to a token that may")
        if answer.status_code == 404 and "error" in answer.text:
            raise StoreError(f"{self.where}: there is no tenant {tenant!r} with a database {database!r}")
        if answer.status_code != 200 or '"name"' not in answer.text:
            raise StoreError(
                f"{self.where}: what answers there is no Chroma server of version 1 (status {answer.status_code})"
            )

    def _ask(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except (InvalidInput, StoreError):
            raise
        except self._transport as error:
            raise _Unreached(self._told(error, "cannot be reached")) from error
        except self._errors.NotFoundError as error:
            raise _Gone(self._told(error, "has no such collection, tenant or database")) from error
        except (self._errors.ChromaAuthError, self._errors.AuthorizationError) as error:
            raise StoreError(self._told(error, f"refuses access: set {_TOKEN} to a token that may")) from error
        except Exception as error:  # of the server in a thread, of its client, of a folder: anything
            raise self._mapped(error) from error

    def _mapped(self, error: Exception) -> StoreError:
        text = f"{error}"
        if "already exists" in text:
            return _There(self._told(error, "has it already"))
        if "Could not connect" in text:
            return _Unreached(self._told(error, "cannot be reached"))
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403) or "Unauthorized" in text or "Forbidden" in text:
            return StoreError(self._told(error, f"refuses access: set {_TOKEN} to a token that may"))
        return StoreError(self._told(error, "failed"))

    def _told(self, error: Exception, what: str) -> str:
        text = without_passwords(" ".join(str(error).split()) or type(error).__name__)
        token = os.environ.get(_TOKEN)
        text = text.replace(token, "***") if token else text
        return f"{self.where} {what}: {text[:_LONGEST]}"

    def _there(self) -> str:
        names = sorted(one.name for one in self.collections() if "--embridge" not in one.name)
        return f"there are {', '.join(names[:10])}" if names else "it has none"


class _Unreached(StoreError):
    """No server answered; it may at the next try."""


class _Gone(StoreError):
    """There is no such collection."""


class _There(StoreError):
    """There is such a collection already."""


def _headers() -> dict[str, str] | None:
    token = os.environ.get(_TOKEN)
    return {"Authorization": f"Bearer {token}", "x-chroma-token": token} if token else None
