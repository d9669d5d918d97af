"""Vector databases behind one protocol, one vendor a file; `open_store` imports only the one it opens."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from embridge.stores.base import Condition, Filter, Payload, Store
from embridge.stores.capabilities import Capabilities
from embridge.stores.documents import Documents, FileDocuments
from embridge.stores.memory import MemoryStore
from embridge.stores.places import Declaration, Place, Table
from embridge.stores.record import StoreRecord
from embridge.stores.urls import StoreUrl, absolute_url, parse_url

__all__ = [
    "STORES",
    "Capabilities",
    "Condition",
    "Declaration",
    "Filter",
    "MemoryStore",
    "Payload",
    "Place",
    "Store",
    "StoreRecord",
    "StoreUrl",
    "Table",
    "absolute_url",
    "open_store",
    "parse_url",
]

STORES: dict[str, StoreRecord] = {
    "memory": StoreRecord(
        "embridge.stores.memory",
        "MemoryStore",
        "open_memory",
        Capabilities(exact=True, filter=True, persistent=False, shared_rows=True),
    ),
    "lancedb": StoreRecord(
        "embridge.stores.lancedb",
        "LanceStore",
        "open_lance",
        Capabilities(exact=True, filter=True, persistent=True, adopt=True, foreign_writes="scan"),
        extra="lancedb",
    ),
    "postgresql": StoreRecord(
        "embridge.stores.postgres",
        "PostgresStore",
        "open_postgres",
        Capabilities(
            exact=True,
            filter=True,
            persistent=True,
            nul=False,
            adopt=True,
            shared_rows=True,
            atomic_switch=True,
            foreign_writes="trigger",
        ),
        extra="postgres",
    ),
    "qdrant": StoreRecord(
        "embridge.stores.qdrant",
        "QdrantStore",
        "open_qdrant",
        Capabilities(
            exact=True,
            filter=True,
            persistent=True,
            keeps_lengths=False,
            ids_in_order=False,
            adopt=True,
            shared_rows=True,
            foreign_writes="scan",
        ),
        extra="qdrant",
    ),
    "chroma": StoreRecord(
        "embridge.stores.chroma",
        "ChromaStore",
        "open_chroma",
        Capabilities(exact=False, filter=True, persistent=True, adopt=True, keeps_lengths=False, foreign_writes="scan"),
        extra="chroma",
    ),
    "faiss": StoreRecord(
        "embridge.stores.faiss",
        "FaissStore",
        "open_faiss",
        Capabilities(exact=True, filter=False, persistent=True, payload=False, adopt=True, foreign_writes="scan"),
        extra="faiss",
    ),
}


def open_store(
    url: Path | str | StoreUrl, *, create: bool = False, declarations: Path | str | Documents | None = None
) -> Store:
    """Open a store by its URL.

    Args:
        url: ``lancedb:FOLDER[#TABLE]``, ``postgresql://…?table=TABLE``, ``qdrant:…``, ``chroma:…``, ``faiss:FILE`` or
            ``memory:``; see `embridge.stores.parse_url`. A path alone is a folder of LanceDB.
        create: Make it where it is not there.
        declarations: A JSON file that says of which spaces the vectors are, and keeps the state of a rollout, in place of
            the database: for users who may only read there. Or any other place of such documents.

    Returns:
        The store.

    Raises:
        SettingsError: It is no such URL.
        StoreError: There is none, and ``create`` is not set, or it cannot be reached.
        MissingExtra: The store's extra is not installed.

    Examples:
        >>> from embridge import Space
        >>> open_store("shop", create=True).add_space(Space("toy", "1", 2))
        >>> [space.model for space in open_store("shop").spaces()]
        ['toy']
    """
    place = url if isinstance(url, StoreUrl) else parse_url(url)
    record = STORES[place.kind]
    documents = FileDocuments(declarations) if isinstance(declarations, (Path, str)) else declarations
    opened: Store = getattr(import_module(record.module), record.open)(place, create=create, documents=documents)
    return opened
