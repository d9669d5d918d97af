"""Stores that can say beforehand what a rollout has their database do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from embridge.space import Space

__all__ = ["SaysStatements"]


@runtime_checkable
class SaysStatements(Protocol):
    """A store whose changes of tables are statements that people can read.

    Examples:
        >>> from embridge.stores import MemoryStore
        >>> isinstance(MemoryStore(), SaysStatements)
        False
    """

    def statements(self, old: Space, new: Space) -> tuple[str, ...]:
        """What makes room for a new space beside an old one; what drops the old one, last and marked as such."""
        ...
