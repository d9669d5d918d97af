"""What applications that know nothing of this library write during a rollout: which rows it leaves to encode again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from embridge.space import Space
from embridge.stores.base import Store
from embridge.stores.changes import ChangeQueue, NotesChanges

__all__ = ["change_queue", "delete_revived", "foreign_writes"]

_SCANNED = "found by scanning; a row that is changed after it was encoded keeps its former new vector"


def change_queue(store: Store, old: Space, new: Space, columns: Sequence[str]) -> ChangeQueue | None:
    """The queue in which the database notes what others write.

    Args:
        store: The store.
        old: The space of the rows that are there.
        new: The space that they get a vector of.
        columns: Of the items' contents.

    Returns:
        The queue; None where the database notes nothing, or its user may not ask for that: rows are found by scanning then.

    Raises:
        StoreError: The new vectors stand where there must always be one.

    Examples:
        >>> from embridge.stores import MemoryStore
        >>> old, new = Space("mini", "1", 2), Space("mini", "2", 2)
        >>> print(change_queue(MemoryStore(old, new), old, new, ["title"]))
        None
    """
    if store.capabilities.foreign_writes != "trigger" or not isinstance(store, NotesChanges):
        return None
    return store.changes(old, new, columns)


def foreign_writes(store: Store, statements: Sequence[str]) -> str:
    """How it is noticed what others write, in words.

    Args:
        store: The store.
        statements: What its database is told to note changes; none where it is not.

    Returns:
        The words.

    Examples:
        >>> from embridge.stores import MemoryStore
        >>> foreign_writes(MemoryStore(), ())
        'found by scanning; a row that is changed after it was encoded keeps its former new vector'
    """
    if statements:
        return f"noted by the database: a trigger and a queue, {len(statements)} statements that the plan's file lists"
    if isinstance(store, NotesChanges):
        return f"{_SCANNED}, since this user may make no trigger (GRANT TRIGGER on the table, and CREATE on its schema)"
    return _SCANNED


def delete_revived(store: Store, ids: Collection[str]) -> None:
    """Delete rows that have no old vector, where it was this library that brought them back after someone else deleted them.

    Where vectors are filled into rows that are there, none was brought back: these rows are an application's, which may give
    them their vector later.

    Args:
        store: The store.
        ids: Of rows without an old vector.

    Examples:
        >>> from embridge.stores import MemoryStore
        >>> delete_revived(MemoryStore(), {"a"})
    """
    if ids and not isinstance(store, NotesChanges):
        store.delete(sorted(ids))
