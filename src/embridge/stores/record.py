"""What a store is and can do, as data: one record beside each name in the table of stores."""

from __future__ import annotations

from dataclasses import dataclass

from embridge.stores.base import Capabilities

__all__ = ["StoreRecord"]


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """Where a store is, and what a new one can do.

    Attributes:
        module: The module to import.
        attribute: The class in it.
        capabilities: What it can do while nothing but this library has written to it; an index that its vendor builds
            may make it approximate, which ``Store.capabilities`` says then.
        extra: The extra to install; None where the base install is enough.

    Examples:
        >>> exact = Capabilities(exact=True, filter=True, persistent=False)
        >>> StoreRecord("embridge.stores.memory", "MemoryStore", exact).extra is None
        True
    """

    module: str
    attribute: str
    capabilities: Capabilities
    extra: str | None = None
