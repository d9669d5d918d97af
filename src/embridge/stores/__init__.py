"""Vector databases behind one protocol, one vendor a file; `open_store` imports only the one it opens."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from embridge.stores.base import Capabilities, Condition, Filter, Payload, Store
from embridge.stores.memory import MemoryStore
from embridge.stores.record import StoreRecord

__all__ = [
    "STORES",
    "Capabilities",
    "Condition",
    "Filter",
    "MemoryStore",
    "Payload",
    "Store",
    "StoreRecord",
    "open_store",
]

STORES: dict[str, StoreRecord] = {
    "memory": StoreRecord(
        "embridge.stores.memory", "MemoryStore", Capabilities(exact=True, filter=True, persistent=False)
    ),
    "lancedb": StoreRecord(
        "embridge.stores.lancedb",
        "LanceStore",
        Capabilities(exact=True, filter=True, persistent=True),
        extra="lancedb",
    ),
}


def open_store(path: Path | str, *, create: bool = False) -> Store:
    """Open the LanceDB store in a folder.

    Args:
        path: The folder.
        create: Make it where it is not there.

    Returns:
        The store.

    Raises:
        StoreError: There is none, and ``create`` is not set.
        MissingExtra: The extra ``lancedb`` is not installed.

    Examples:
        >>> from embridge import Space
        >>> open_store("shop", create=True).add_space(Space("toy", "1", 2))
        >>> [space.model for space in open_store("shop").spaces()]
        ['toy']
    """
    record = STORES["lancedb"]
    store: Store = getattr(import_module(record.module), record.attribute)(path, create=create)
    return store
