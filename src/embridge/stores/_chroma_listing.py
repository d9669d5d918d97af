"""Chroma: ids in order, page by page. Chroma orders nothing, so one reading of all ids serves many pages."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from embridge.stores._chroma_client import ChromaClient
from embridge.stores._chroma_rows import ids_among, ids_in

__all__ = ["Listings"]

_LEAST_SECONDS, _TIMES = (
    5.0,
    20,
)  # a listing serves so long, or so many times what it took: reading costs a twentieth at most


@dataclass(frozen=True, slots=True)
class _Listing:
    """Ids of a collection after one, without those of another collection, as they were."""

    of: tuple[str, str | None]
    after: str | None
    names: list[str]
    count: int  # of the collection
    seconds: float  # that it took
    made: float = field(default_factory=time.monotonic)


@final
class Listings:
    """Pages of the ids of collections.

    A first page is read anew. Those that follow are looked up in what was read then, as long as the collection has as many
    rows, and for some time; rows that are gone meanwhile are left out.
    """

    def __init__(self, client: ChromaClient) -> None:
        self._client = client
        self._kept: _Listing | None = None

    def page(self, name: str, after: str | None, limit: int, *, without: str | None = None) -> list[str]:
        """Up to so many ids, in order, that come after one, of the rows that another collection has not."""
        kept = self._kept
        if kept is None or after is None or not self._serves(kept, (name, without), after):
            self._kept = kept = self._read(name, without, after)
            return kept.names[:limit]
        page: list[str] = []
        start = bisect_right(kept.names, after)
        while len(page) < limit and start < len(kept.names):
            part = kept.names[start : start + limit - len(page)]
            page += self._still(part, name, without)
            start += len(part)
        if not page:
            self._kept = None
        return page

    def _serves(self, kept: _Listing, of: tuple[str, str | None], after: str) -> bool:
        if kept.of != of or (kept.after is not None and after < kept.after):
            return False
        late = time.monotonic() - kept.made > max(_LEAST_SECONDS, _TIMES * kept.seconds)
        return not late and self._count(of[0]) == kept.count

    def _read(self, name: str, without: str | None, after: str | None) -> _Listing:
        began, count = time.monotonic(), self._count(name)
        others = set() if without is None else {one for page in ids_in(self._client, without) for one in page}
        names = [
            one
            for page in ids_in(self._client, name)
            for one in page
            if one not in others and (after is None or one > after)
        ]
        return _Listing((name, without), after, sorted(names), count, time.monotonic() - began)

    def _still(self, names: Sequence[str], name: str, without: str | None) -> list[str]:
        there = ids_among(self._client, name, names)
        others = set() if without is None else ids_among(self._client, without, names)
        return [one for one in names if one in there and one not in others]

    def _count(self, name: str) -> int:
        return int(self._client.on(name, lambda one: one.count()))
