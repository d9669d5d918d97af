"""The nearest points of Qdrant, with the scores, ties and filters of the exact store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.nearest import Hits, search
from embridge.query.arrays import hits_of
from embridge.stores._qdrant_engine import ID_KEY, Engine, VectorInfo, matrix, row_id, vector_of
from embridge.stores._qdrant_filters import all_of, key_path, meet, narrowed
from embridge.stores.base import Filter
from embridge.stores.places import Place

__all__ = ["Searched", "nearest"]

_FURTHER, _MOST_FURTHER = 8, 4_096  # rows fetched beyond k, where more may score as the k-th does
_GROWTH = 4  # of what is fetched where too few of it meet the filter
_CANDIDATES = 100  # at least, where Qdrant compares by something else
_QUERIES = 64  # in a request
_MANY = 10_000
_ROUNDING, _ZERO = 1e-5, 1e-7

_Found = tuple[tuple[str, ...], np.ndarray]


@dataclass(frozen=True, slots=True)
class Searched:
    """What is searched.

    Attributes:
        engine: Of the collection.
        place: Of the vectors.
        info: What Qdrant says of them.
        own: Whether ids are kept in the payload.
        exact: Whether Qdrant looks at all rows.
    """

    engine: Engine
    place: Place
    info: VectorInfo
    own: bool
    exact: bool

    def rescored(self, queries: Embeddings) -> bool:
        """Whether scores are computed here: Qdrant's are rounded, quantised, or of another metric."""
        return self.engine.rounded or not self.info.exact or self.info.metric != queries.space.metric


def nearest(searched: Searched, queries: Embeddings, k: int, filter: Filter) -> Hits:
    """The k best rows of every query, best first, by id where scores are equal."""
    found: list[_Found] = [((), np.empty(0, np.float32))] * len(queries)
    asked = queries.vectors.any(axis=1) if queries.space.metric == "cosine" else np.ones(len(queries), bool)
    rows = np.flatnonzero(asked)
    for start in range(0, len(rows), _QUERIES):
        part = rows[start : start + _QUERIES]
        for row, one in zip(part.tolist(), _of_some(searched, queries.take(part), k, filter), strict=True):
            found[row] = one
    return hits_of([ids for ids, _ in found], [values for _, values in found])


def _of_some(searched: Searched, queries: Embeddings, k: int, filter: Filter) -> list[_Found]:
    """Asked again for more where what came may not be all of the best that meet the filter."""
    found: list[_Found] = [((), np.empty(0, np.float32))] * len(queries)
    pending, limit = list(range(len(queries))), _capped(searched, _first_limit(searched, queries, k))
    while pending:
        answers, left = _asked(searched, queries.take(pending), limit, filter), []
        for row, records in zip(pending, answers, strict=True):
            good = _usable(searched, queries, records, filter)
            if len(records) < limit or (len(good) >= k and not _tied(searched, good, records, k)):
                found[row] = _scored(searched, queries.take([row]), good, k)
            else:
                left.append(row)
        pending, limit = left, _capped(searched, limit * _GROWTH)
    return found


def _capped(searched: Searched, limit: int) -> int:
    """Not far more than there are: Qdrant makes room for what is asked for."""
    return limit if limit <= _MANY else min(limit, searched.engine.count(searched.place.table) + 1)


def _first_limit(searched: Searched, queries: Embeddings, k: int) -> int:
    if searched.info.metric not in (queries.space.metric, "cosine"):
        return max(_CANDIDATES, _GROWTH * k)
    return k + _FURTHER if searched.exact else k if searched.info.exact else 2 * k


def _asked(searched: Searched, queries: Embeddings, limit: int, filter: Filter) -> Sequence[Sequence[Any]]:
    vectors, cosine = queries.vectors, "cosine" in (searched.info.metric, queries.space.metric)
    if cosine:  # the length of a query changes no order, and large ones leave float32
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return searched.engine.search(
        searched.place,
        vectors,
        limit=limit,
        where=all_of(narrowed(filter)),
        payload=[*([ID_KEY] if searched.own else []), *dict.fromkeys(key_path(one.column) for one in filter)],
        with_vectors=searched.rescored(queries),
    )


def _usable(searched: Searched, queries: Embeddings, records: Sequence[Any], filter: Filter) -> Sequence[Any]:
    """Those that meet the filter, and that the metric ranks."""
    good = [one for one in records if meet(one.payload, filter)] if filter else records
    if queries.space.metric != "cosine" or not any(abs(one.score) < _ZERO for one in good):
        return good
    doubtful = [one for one in good if abs(one.score) < _ZERO]
    if not searched.rescored(queries):
        ids = [str(one.id) if not isinstance(one.id, int) else one.id for one in doubtful]
        doubtful = list(searched.engine.retrieve(searched.place.table, ids, vector=searched.place.vector))
    zeros = {one.id for one in doubtful if not np.any(vector_of(one, searched.place.vector) or 0)}
    return [one for one in good if one.id not in zeros]


def _tied(searched: Searched, good: Sequence[Any], records: Sequence[Any], k: int) -> bool:
    """Whether the last row may score as the k-th does, and rows that did not come too."""
    if not searched.exact or len(records) >= k + _MOST_FURTHER:
        return False
    kth, last = good[k - 1].score, records[-1].score
    return bool(abs(kth - last) <= (_ROUNDING * (1 + abs(kth)) if searched.engine.rounded else 0))


def _scored(searched: Searched, query: Embeddings, records: Sequence[Any], k: int) -> _Found:
    ids = [row_id(one, own=searched.own) for one in records]
    if searched.rescored(query):
        return _rescored(searched, query, dict(zip(ids, records, strict=True)), k)
    scores = np.array([one.score for one in records], np.float32)
    if query.space.metric == "l2":
        scores = -scores * scores
    order = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))[:k]
    return tuple(ids[row] for row in order), scores[order]


def _rescored(searched: Searched, query: Embeddings, records: dict[str, Any], k: int) -> _Found:
    names = sorted(records)
    lists = [vector_of(records[name], searched.place.vector) for name in names]
    vectors = matrix(lists, query.space.dim)
    ranked = np.isfinite(vectors).all(axis=1)
    if query.space.metric == "cosine":
        ranked &= vectors.any(axis=1)
    if not ranked.any():
        return (), np.empty(0, np.float32)
    gallery = Embeddings(tuple(names[row] for row in np.flatnonzero(ranked)), vectors[ranked], query.space)
    hits = search(query, gallery, k)
    return hits.ids[0], hits.scores[0]
