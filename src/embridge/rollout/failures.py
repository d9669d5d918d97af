"""Items that could not be had: which, and why. Their old rows stay, and are found through the bridge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embridge.errors import StoreError
from embridge.rollout._notes import listed_ids, require_kinds, write_pages
from embridge.stores.documents import Documents

__all__ = ["Failures", "read_failures", "record_failures"]

_NAME = "failures"
_REASONS, _ATTEMPTS = 1_000, 50


@dataclass(frozen=True, slots=True)
class Failures:
    """Items that could not be had when the backfill asked for them last.

    Attributes:
        count: All of them.
        reasons: Why, by id, of the first thousand.
        ids: Of the others.

    Examples:
        >>> "a" in Failures(2, {"a": "it is gone"}, frozenset({"b"})).all_ids
        True
    """

    count: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)
    ids: frozenset[str] = frozenset()

    @property
    def all_ids(self) -> frozenset[str]:
        """The ids that are known."""
        return self.ids | self.reasons.keys()


def read_failures(documents: Documents) -> Failures:
    """Those that were recorded.

    Args:
        documents: Of the store.

    Returns:
        The failures; none where nothing was recorded.

    Raises:
        StoreError: The record was damaged.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> read_failures(MemoryDocuments()).count
        0
    """
    if not (written := documents.read(_NAME)):
        return Failures()
    require_kinds(written, _NAME, {"count": int, "reasons": dict})
    return Failures(written["count"], written["reasons"], frozenset(listed_ids(documents, _NAME)))


def record_failures(documents: Documents, reasons: Mapping[str, str]) -> None:
    """Record the failures of now, in place of those before.

    Args:
        documents: Of the store.
        reasons: Why an item could not be had, by id.

    Raises:
        StoreError: Others write at every attempt.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> documents = MemoryDocuments()
        >>> record_failures(documents, {"a": "it is gone"})
        >>> read_failures(documents).reasons
        {'a': 'it is gone'}
    """
    names = list(reasons)
    new = {
        "count": len(names),
        "reasons": {name: reasons[name] for name in names[:_REASONS]},
        "ids": [],
        "pages": write_pages(documents, _NAME, names[_REASONS:]),
    }
    for _ in range(_ATTEMPTS):
        present = documents.read(_NAME)
        if present == new or (present is None and not names) or documents.swap(_NAME, present, new):
            return
    raise StoreError("others wrote at every attempt; apply again")
