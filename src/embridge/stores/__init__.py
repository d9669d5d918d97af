"""Vector databases behind one protocol, one vendor a file; `open_store` imports only the one asked for."""

from __future__ import annotations

from pathlib import Path

from embridge.stores.base import Condition, Filter, Payload, Store
from embridge.stores.memory import MemoryStore

__all__ = ["Condition", "Filter", "MemoryStore", "Payload", "Store", "open_store"]


def open_store(path: Path | str, *, create: bool = False) -> Store:
    """The LanceDB store in a folder; raises `StoreError` where there is none and ``create`` is not set.

    >>> from embridge import Space
    >>> open_store("shop", create=True).add_space(Space("toy", "1", 2))
    >>> [space.model for space in open_store("shop").spaces()]
    ['toy']
    """
    from embridge.stores.lancedb import LanceStore  # the vendor's library loads only when it is used

    return LanceStore(path, create=create)
