"""Which rows have a vector, without reading it; and whether somebody else is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from embridge.space import Space
from embridge.stores.base import Store

__all__ = ["KnowsCompany", "KnowsRows", "present"]


@runtime_checkable
class KnowsRows(Protocol):
    """A store that tells which rows it has for less than their vectors cost."""

    def among(self, space: Space, ids: Sequence[str]) -> list[str]:
        """Those of the ids whose rows have a vector of the space, in their order, each once."""
        ...


@runtime_checkable
class KnowsCompany(Protocol):
    """A store that tells whether other clients of its database would notice what it does."""

    def others(self) -> bool:
        """Whether others are connected to the database, at work or not."""
        ...


def present(store: Store, space: Space, ids: Sequence[str]) -> list[str]:
    """Those of some rows that have a vector of a space.

    Args:
        store: The store.
        space: The space.
        ids: Of the rows.

    Returns:
        Their ids in that order, each once.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings
        >>> from embridge.stores import MemoryStore
        >>> space = Space("mini", "1", 2)
        >>> store = MemoryStore(space)
        >>> store.upsert(Embeddings.of(np.eye(2, dtype=np.float32), space, ["a", "b"]))
        >>> present(store, space, ["b", "c"])
        ['b']
    """
    return store.among(space, ids) if isinstance(store, KnowsRows) else list(store.fetch(space, ids).ids)
