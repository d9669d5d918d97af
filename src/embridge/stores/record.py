"""What a store is and can do, as data: one record beside each name in the table of stores."""

from __future__ import annotations

from dataclasses import dataclass

from embridge.stores.capabilities import Capabilities

__all__ = ["StoreRecord"]


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """Where a store is, and what a new one can do.

    Attributes:
        module: The module to import.
        attribute: The class in it.
        open: The function in it that opens a `StoreUrl`: ``(url, *, create, documents)``.
        capabilities: What it can do while nothing but this library has written to it; an index that its vendor builds
            may make it approximate, which ``Store.capabilities`` says then.
        extra: The extra to install; None where the base install is enough.

    Examples:
        >>> exact = Capabilities(exact=True, filter=True, persistent=False)
        >>> StoreRecord("embridge.stores.memory", "MemoryStore", "open_memory", exact).extra is None
        True
    """

    module: str
    attribute: str
    open: str
    capabilities: Capabilities
    extra: str | None = None
