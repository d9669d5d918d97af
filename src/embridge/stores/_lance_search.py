"""Queries to a table of LanceDB, their hits scored from their stored vectors as the space's metric says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import require
from embridge.nearest import search
from embridge.space import Space
from embridge.stores._lance_adopt import index_metrics
from embridge.stores._lance_rows import Source, rows_of

__all__ = ["Found", "is_approximate", "nearest", "nearest_of_parts"]

Found = tuple[tuple[str, ...], np.ndarray]

_MOST_FETCHED = 1 << 31
_AT_ONCE, _BYTES = 64, 1 << 26  # queries, and bytes of their rows
_FURTHER, _MOST_FURTHER = 8, 4_096  # rows fetched beyond k, where more may score as the k-th does
_ROUNDING = 1e-5  # of LanceDB's distances, in float32
_SCALE = 2.0**60  # of a query by dot: LanceDB computes 1 - dot, in which a small dot would vanish


def nearest(source: Source, queries: Embeddings, k: int, where: str, index: bool | None) -> list[Found]:
    """The k best rows of every query: ids and scores, best first, by id where scores are equal.

    Args:
        source: The table of the queries' space.
        queries: Some. LanceDB is asked for many at once, which takes a fraction of the time that each of them takes alone.
        k: How many.
        where: A condition in SQL; empty for none.
        index: Whether a vector index is of the space's metric; None where there is none at all.

    Returns:
        Ids and scores. Without a usable index, whatever scores as the k-th does has been looked at, some thousand rows far.
    """
    exact, further = not index and not _is_half(source), 0 if index else _FURTHER
    vectors = [_vector(query, queries.space, exact=exact) for query in queries.vectors]
    best: list[Found] = [((), np.empty(0, np.float32))] * len(queries)
    pending = [row for row, vector in enumerate(vectors) if vector is not None]
    while pending:
        limit, later = min(k + further, _MOST_FETCHED), []
        step = max(1, min(_AT_ONCE, _BYTES // (4 * queries.space.dim * limit)))
        for start in range(0, len(pending), step):
            part = pending[start : start + step]
            found = _found(source, [vectors[row] for row in part], limit, (queries.space.metric, where, index))
            for row, rows in zip(part, found, strict=True):
                if index or len(rows) < limit or further >= _MOST_FURTHER or not _tied(rows, k):
                    best[row] = _scored(rows_of(rows, source), queries.take([row]), k)
                else:
                    later.append(row)
        pending, further = later, further * 4
    return best


def _found(source: Source, vectors: list[Any], limit: int, how: tuple[str, str, bool | None]) -> list[Any]:
    """The rows that LanceDB gives for every query, the nearest first. how: metric, condition, and whether an index may serve."""
    metric, where, index = how
    query = vectors[0] if len(vectors) == 1 else vectors
    asked = source.table.search(query, vector_column_name=source.place.vector).distance_type(metric)
    asked = asked.limit(limit).select([*source.columns, "_distance"])
    if index is False:
        asked = asked.bypass_vector_index()
    found = (asked.where(where, prefilter=True) if where else asked).to_arrow()
    if len(vectors) == 1:
        return [found]
    number = found["query_index"].to_numpy()
    found = found.take(np.lexsort((found["_distance"].to_numpy(), number)))
    ends = np.cumsum(np.bincount(number, minlength=len(vectors))).tolist()
    return [found.slice(start, end - start) for start, end in zip([0, *ends], ends, strict=False)]


def nearest_of_parts(parts: Iterable[Embeddings], queries: Embeddings, k: int) -> list[Found]:
    """The same of many queries, in one pass over all rows: for columns that LanceDB does not search."""
    best: list[list[tuple[float, str]]] = [[] for _ in range(len(queries))]
    cosine = queries.space.metric == "cosine"
    asked = [row for row in range(len(queries)) if not cosine or queries.vectors[row].any()]
    for part in parts if asked else ():
        ranked = _in_order(part, queries.space)
        if not len(ranked):
            continue
        hits = search(queries.take(asked), ranked, k)
        for row, names, scores in zip(asked, hits.ids, hits.scores.tolist(), strict=True):
            both = best[row] + [(-score, name) for name, score in zip(names, scores, strict=False)]
            best[row] = sorted(both)[:k]
    return [(tuple(name for _, name in one), np.array([-score for score, _ in one], np.float32)) for one in best]


def is_approximate(source: Source, metric: str) -> bool:
    """Whether search may miss some of the nearest rows: through an index, or where LanceDB compares in float16."""
    return _is_half(source) or metric in index_metrics(source.table, source.place.vector)


def _is_half(source: Source) -> bool:
    return bool(require("pyarrow", extra="lancedb").types.is_float16(source.vectors.value_type))


def _vector(vector: np.ndarray, space: Space, *, exact: bool) -> np.ndarray | None:
    """What is asked for: under cosine and dot the length of a query changes no order; None for one without a direction."""
    wide = vector.astype(np.float64)
    length = float(np.linalg.norm(wide))
    if space.metric == "cosine":
        return (wide / length).astype(np.float32) if length else None
    if space.metric == "dot" and exact and length:
        return (wide / length * _SCALE).astype(np.float32)
    return vector


def _tied(found: Any, k: int) -> bool:
    """Whether the last row may score as the k-th does, and rows that were not fetched too."""
    distances = found["_distance"].to_numpy()
    return bool(distances[-1] <= distances[k - 1] + _ROUNDING * (1 + abs(distances[k - 1])))


def _scored(rows: Embeddings, query: Embeddings, k: int) -> Found:
    ranked = _in_order(rows, query.space)
    if not len(ranked):
        return (), np.empty(0, np.float32)
    hits = search(query, ranked, k)
    return hits.ids[0], hits.scores[0]


def _in_order(rows: Embeddings, space: Space) -> Embeddings:
    """The rows by id, without zeros where cosine compares them."""
    order = np.argsort(np.array(rows.ids, object), kind="stable")
    return rows.take(order[rows.vectors[order].any(axis=1)] if space.metric == "cosine" else order)
