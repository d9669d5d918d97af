"""Notes of a rollout in documents beside the rows: what each says is checked, and lists of ids may be of any length."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from embridge.errors import StoreError
from embridge.stores.documents import Document, Documents

__all__ = ["add_ids", "checked_ids", "damaged_note", "listed_ids", "remove_ids", "require_kinds", "write_pages"]

_PAGE_IDS = 5_000  # which are written again with each id that is added
_ATTEMPTS = 50


def require_kinds(document: Mapping[str, Any], name: str, kinds: Mapping[str, type]) -> None:
    """Refuse a document that does not hold values of these kinds.

    Raises:
        StoreError: It does not.
    """
    for key, kind in kinds.items():
        if type(document.get(key)) is not kind:
            raise damaged_note(name, f"its {key} is {document.get(key)!r:.80}")


def damaged_note(name: str, what: str) -> StoreError:
    """The error of a document that was changed by hand, or by a fault."""
    return StoreError(
        f"the document {name!r} of the rollout is damaged: {what}; restore it from a copy of the database. Or call embridge "
        "rollback, drop the new space, and delete the document: embridge apply --again begins anew then"
    )


def checked_ids(document: Mapping[str, Any] | None, name: str) -> list[str]:
    """The ids that one document holds.

    Raises:
        StoreError: It holds something else.
    """
    ids = (document or {}).get("ids", [])
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise damaged_note(name, f"its ids are {ids!r:.80}")
    return ids


def listed_ids(documents: Documents, name: str) -> list[str]:
    """The ids of a list; they may repeat.

    Raises:
        StoreError: A document of it is damaged.
    """
    head = documents.read(name)
    pages = (_page(name, number) for number in range(*_pages(head, name)))
    return [one for page in pages for one in checked_ids(documents.read(page), page)] + checked_ids(head, name)


def add_ids(documents: Documents, name: str, ids: Collection[str]) -> None:
    """Add ids to a list, whose first document is put aside where it is full.

    Raises:
        StoreError: Others write at every attempt, or a document is damaged.
    """
    for _ in range(_ATTEMPTS):
        head = documents.read(name)
        held, (first, end) = checked_ids(head, name), _pages(head, name)
        names = sorted({*held, *ids})
        if names == held:
            return
        if held and len(names) > _PAGE_IDS:
            _write(documents, _page(name, end), {"ids": held})  # the same, if others are there first
            documents.swap(name, head, {"ids": [], "pages": [first, end + 1]})
        elif documents.swap(name, head, {"ids": names, "pages": [first, end]}):
            return
    raise StoreError("others wrote at every attempt; write again")


def remove_ids(documents: Documents, name: str, ids: Collection[str]) -> None:
    """Remove ids from a list; those that are added meanwhile stay.

    Raises:
        StoreError: Others write at every attempt, or a document is damaged.
    """
    gone = frozenset(ids)
    for _ in range(_ATTEMPTS):
        head = documents.read(name)
        if head is None:
            return
        first, end = _pages(head, name)
        kept = [number for number in range(first, end) if _pruned(documents, _page(name, number), gone)]
        left = [one for one in checked_ids(head, name) if one not in gone]
        new = {
            "ids": left,
            "pages": [min(kept, default=end), end],
        }  # no number is used twice: some may still write there
        if head == new or documents.swap(name, head, new):
            return
    raise StoreError("others wrote at every attempt; try again")


def write_pages(documents: Documents, name: str, ids: Sequence[str]) -> list[int]:
    """Write a list in place of the one before, but for its first document, which is to hold these ``pages``.

    Raises:
        StoreError: Others write at every attempt.
    """
    parts = [ids[start : start + _PAGE_IDS] for start in range(0, len(ids), _PAGE_IDS)]
    for number, part in enumerate(parts):
        _write(documents, _page(name, number), {"ids": list(part)})
    return [0, len(parts)]


def _pruned(documents: Documents, page: str, gone: frozenset[str]) -> bool:
    """Remove ids from a page; whether any are left."""
    held = checked_ids(documents.read(page), page)
    left = [one for one in held if one not in gone]
    if left != held:
        _write(documents, page, {"ids": left})
    return bool(left)


def _write(documents: Documents, name: str, new: Document) -> None:
    for _ in range(_ATTEMPTS):
        present = documents.read(name)
        if present == new or documents.swap(name, present, new):
            return
    raise StoreError("others wrote at every attempt; try again")


def _pages(head: Mapping[str, Any] | None, name: str) -> tuple[int, int]:
    """The number of the first page, and of the one after the last."""
    pages = (head or {}).get("pages", [0, 0])
    if not isinstance(pages, list) or len(pages) != 2 or not all(type(one) is int and one >= 0 for one in pages):
        raise damaged_note(name, f"its pages are {pages!r:.80}")
    return pages[0], pages[1]


def _page(name: str, number: int) -> str:
    return f"{name}/{number:06d}"
