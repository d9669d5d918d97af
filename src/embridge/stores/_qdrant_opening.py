"""From a URL to the Qdrant that it names."""

from __future__ import annotations

import os
from pathlib import Path

from embridge.errors import SettingsError, StoreError
from embridge.stores._qdrant_client import ClientEngine, local_engine, server_engine
from embridge.stores._qdrant_documents import ServerDocuments
from embridge.stores._qdrant_edge import CONFIG, EdgeEngine
from embridge.stores._qdrant_engine import Engine, shared_engine
from embridge.stores.documents import Documents, FileDocuments
from embridge.stores.urls import StoreUrl

__all__ = ["documents_of", "engine_of"]

_OPTIONS = ("api_key", "engine", "timeout")
_ENGINES = ("local", "edge")
_TIMEOUT = "60"


def engine_of(url: StoreUrl, *, create: bool) -> Engine:
    """The engine that a URL names; raises `StoreError` where there is none, `SettingsError` for options it has not."""
    unknown = [name for name in url.options if name not in _OPTIONS]
    kind = url.options.get("engine")
    if unknown or (kind is not None and kind not in _ENGINES):
        raise SettingsError(f"{url}: options are {', '.join(_OPTIONS)}, and engine is {' or '.join(_ENGINES)}")
    if url.is_remote:
        return _server(url)
    folder = Path(url.location)
    if not create and not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise StoreError(f"{folder} {what}; expected a folder of Qdrant")
    if kind is None:
        kind = "edge" if (folder / url.table / CONFIG).is_file() else "local"
    if kind == "edge":
        edge: EdgeEngine = shared_engine("edge", folder, lambda: _edge(folder))
        return edge
    if not create and not (folder / "meta.json").is_file():
        raise StoreError(f"{folder} holds neither a folder of qdrant-client (meta.json) nor a shard {url.table!r}")
    local: ClientEngine = shared_engine("local", folder, lambda: local_engine(folder))
    return local


def documents_of(engine: Engine, url: StoreUrl, name: str) -> Documents:
    """Where documents of a collection stand: in the server, or in a file beside it."""
    if isinstance(engine, ClientEngine) and engine.remote:
        return ServerDocuments(engine, name)
    return FileDocuments(Path(url.location) / f"embridge_{name}.json")


def _edge(folder: Path) -> EdgeEngine:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error}") from error
    return EdgeEngine(folder)


def _server(url: StoreUrl) -> ClientEngine:
    timeout = url.options.get("timeout", _TIMEOUT)
    if not timeout.isdecimal() or int(timeout) < 1:
        raise SettingsError(f"{url}: timeout is a whole number of seconds from 1 on, came {timeout!r}")
    api_key = url.options.get("api_key") or os.environ.get("QDRANT_API_KEY", "")
    return server_engine(url.location, api_key=api_key, timeout=int(timeout))
