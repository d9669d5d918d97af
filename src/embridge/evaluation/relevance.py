"""Relevance: which gallery items are right for which query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Int64

__all__ = ["Relevance"]


@dataclass(frozen=True, slots=True)
class Relevance:
    """The right gallery ids of every query id; a query with none is not listed.

    >>> relevance = Relevance.from_pairs([("a caption", "photo 1"), ("another", "photo 1")])
    >>> sorted(relevance.inverted().relevant["photo 1"])
    ['a caption', 'another']
    """

    relevant: Mapping[str, frozenset[str]]

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]]) -> Relevance:
        """From (query id, gallery id) pairs."""
        found: dict[str, set[str]] = {}
        for query, item in pairs:
            found.setdefault(query, set()).add(item)
        if not found:
            raise InvalidInput("relevance: no pairs came; nothing could be judged")
        return cls({query: frozenset(items) for query, items in found.items()})

    def inverted(self) -> Relevance:
        """The same judgements with queries and gallery exchanged."""
        return Relevance.from_pairs((item, query) for query, items in self.relevant.items() for item in items)

    def first_hits(
        self, query_ids: Sequence[str], gallery_ids: Sequence[str], rows: Int64[np.ndarray, "q k"]
    ) -> Int64[np.ndarray, " q"]:
        """The rank (1 is best) of each query's first right item in its ranking, 0 where none is in it.

        Raises `InvalidInput` for a query without a right item in this gallery: it could only ever count as a miss.
        """
        row_of = {name: row for row, name in enumerate(gallery_ids)}
        first = np.zeros(len(query_ids), np.int64)
        for i, query in enumerate(query_ids):
            right = {row_of[item] for item in self.relevant.get(query, ()) if item in row_of}
            if not right:
                raise InvalidInput(
                    f"query {query!r} has no relevant item in this gallery of {len(gallery_ids)}; leave it out of the "
                    "queries, or add its item"
                )
            first[i] = next((rank for rank, row in enumerate(rows[i].tolist(), 1) if row in right), 0)
        return first
