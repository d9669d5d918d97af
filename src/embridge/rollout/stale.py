"""Rows whose new vector is of a former content: written while the old model alone wrote, after a rollback."""

from __future__ import annotations

from collections.abc import Sequence

from embridge.errors import StoreError
from embridge.stores.documents import Documents

__all__ = ["forget_stale", "note_stale", "stale_rows"]

_NAME = "stale"
_MOST = 100_000
_ATTEMPTS = 50


def note_stale(documents: Documents, ids: Sequence[str]) -> None:
    """Note rows whose new vector, if they have one, is to be made again.

    Args:
        documents: Of the store.
        ids: The rows, before they are written.

    Raises:
        StoreError: Others note rows again and again.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> documents = MemoryDocuments()
        >>> note_stale(documents, ["b", "a", "b"])
        >>> stale_rows(documents)
        ['a', 'b']
    """
    for _ in range(_ATTEMPTS):
        present = documents.read(_NAME)
        names = sorted({*(present or {}).get("ids", []), *ids})
        if len(names) > _MOST:
            raise StoreError(
                f"more than {_MOST:,} rows were written by the old model alone while new ones are there; drop the new space"
            )
        if (present or {}).get("ids") == names or documents.swap(_NAME, present, {"ids": names}):
            return
    raise StoreError("others wrote at every attempt; write again")


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
    return list((documents.read(_NAME) or {}).get("ids", []))


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
    for _ in range(_ATTEMPTS):
        present = documents.read(_NAME)
        left = sorted(set((present or {}).get("ids", [])).difference(ids))
        if present is None or documents.swap(_NAME, present, {"ids": left}):
            return
