"""Chroma: search, with scores of the space's metric and rows of one score in order of id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.nearest import Hits, rerank
from embridge.query.arrays import hits_of
from embridge.space import Metric
from embridge.stores._chroma_client import ChromaClient
from embridge.stores._chroma_rows import metric_of, vectors

__all__ = ["nearest"]

_QUERIES, _MORE = 64, 8  # queries a request; candidates beyond k
_AMONG = 20_000  # ids that one request may name
_UNSURE = 1e-5  # a cosine that zeros could have

_Found = list[tuple[str, float]]


def nearest(
    client: ChromaClient,
    name: str,
    queries: Embeddings,
    k: int,
    *,
    where: dict[str, Any] | None,
    among: list[str] | None,
) -> Hits:
    """The k nearest rows of every query, of those that Chroma may find."""
    metric = queries.space.metric
    asked = np.flatnonzero(queries.vectors.any(axis=1)) if metric == "cosine" else np.arange(len(queries))
    found: list[_Found] = [[] for _ in range(len(queries))]
    settings = [{"where": where}] if among is None else [{"ids": part} for part in _parts(among)]
    for start in range(0, len(asked), _QUERIES):
        rows = asked[start : start + _QUERIES]
        for setting in settings:
            hits = _asked(client, name, queries.vectors[rows], k + _MORE, setting)
            for row, one in zip(rows.tolist(), hits, strict=True):
                found[row] += one
    as_asked = metric_of(client.collection(name)) == metric
    for row in asked.tolist():
        found[row] = _settled(client, name, queries.vectors[row], found[row], metric, as_asked=as_asked)[:k]
    return hits_of([tuple(name for name, _ in one) for one in found], [[score for _, score in one] for one in found])


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    return (list(ids[start : start + _AMONG]) for start in range(0, len(ids), _AMONG))


def _asked(client: ChromaClient, name: str, queries: np.ndarray, k: int, setting: dict[str, Any]) -> list[_Found]:
    """Ids and scores by the metric of the collection; a larger score is nearer."""
    answer = client.on(
        name, lambda one: one.query(query_embeddings=queries, n_results=k, include=["distances"], **setting)
    )
    offset = 0.0 if metric_of(client.collection(name)) == "l2" else 1.0
    return [
        [(one, offset - distance) for one, distance in zip(ids, distances, strict=True)]
        for ids, distances in zip(answer["ids"], answer["distances"], strict=True)
    ]


def _settled(
    client: ChromaClient, name: str, query: np.ndarray, found: _Found, metric: Metric, *, as_asked: bool
) -> _Found:
    """Hits in order; scored again where the collection compares otherwise, and without rows of zeros under cosine."""
    if not as_asked:
        return _again(client, name, query, [one for one, _ in found], metric)
    if metric == "cosine":
        unsure = [one for one, score in found if abs(score) < _UNSURE]
        if unsure:
            ids, rows = vectors(client, name, unsure)
            zeros = {one for one, row in zip(ids, rows, strict=True) if not row.any()}
            found = [hit for hit in found if hit[0] not in zeros]
    return sorted(((one, float(np.float32(score))) for one, score in found), key=lambda hit: (-hit[1], hit[0]))


def _again(client: ChromaClient, name: str, query: np.ndarray, found: list[str], metric: Metric) -> _Found:
    ids, rows = vectors(client, name, sorted(found))
    order = (
        [i for i in np.argsort(np.array(ids, object)).tolist() if metric != "cosine" or rows[i].any()] if ids else []
    )
    if not order:
        return []
    ranking = rerank(query[None], rows[order], np.arange(len(order))[None], len(order), metric=metric)
    return [(ids[order[row]], float(score)) for row, score in zip(ranking.rows[0], ranking.scores[0], strict=True)]
