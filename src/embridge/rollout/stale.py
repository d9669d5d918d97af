"""Rows whose new vector is of a former content: written while the old model alone wrote, after a rollback."""

from __future__ import annotations

from collections.abc import Sequence

from embridge.rollout._notes import add_ids, listed_ids, remove_ids
from embridge.stores.documents import Documents

__all__ = ["forget_stale", "note_stale", "stale_rows"]

_NAME = "stale"


def note_stale(documents: Documents, ids: Sequence[str]) -> None:
    """Note rows whose new vector, if they have one, is to be made again.

    Args:
        documents: Of the store.
        ids: The rows, before they are written.

    Raises:
        StoreError: Others note rows at every attempt, or the list was damaged.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> documents = MemoryDocuments()
        >>> note_stale(documents, ["b", "a", "b"])
        >>> stale_rows(documents)
        ['a', 'b']
    """
    add_ids(documents, _NAME, ids)


def stale_rows(documents: Documents) -> list[str]:
    """The rows that were noted.

    Args:
        documents: Of the store.

    Returns:
        Their ids, in order.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> stale_rows(MemoryDocuments())
        []
    """
    return sorted(set(listed_ids(documents, _NAME)))


def forget_stale(documents: Documents, ids: Sequence[str]) -> None:
    """Forget rows that have their new vector again; those that were noted since stay.

    Args:
        documents: Of the store.
        ids: The rows.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> documents = MemoryDocuments()
        >>> note_stale(documents, ["a", "b"])
        >>> forget_stale(documents, ["a"])
        >>> stale_rows(documents)
        ['b']
    """
    remove_ids(documents, _NAME, ids)
