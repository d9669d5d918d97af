"""FAISS files: search. The index proposes rows, which are scored again from their vectors and ordered by id where equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.nearest import Hits, rerank
from embridge.query.arrays import hits_of
from embridge.space import Metric
from embridge.stores._faiss_index import faiss_module
from embridge.stores._faiss_rows import FaissRows

__all__ = ["nearest"]

_Found = tuple[np.ndarray, np.ndarray]  # rows and scores, best first
_MORE, _WIDER = 16, 4  # candidates beyond k, and how much more where these do not settle it
_ROUNDING = 2.0**-22


def nearest(held: FaissRows, queries: Embeddings, k: int) -> Hits:
    """The k nearest rows of every query."""
    metric = queries.space.metric
    found: list[_Found] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
    lengths = np.sqrt(np.einsum("nd,nd->n", queries.vectors, queries.vectors, dtype=np.float64))
    asked = np.flatnonzero(lengths) if metric == "cosine" else np.arange(len(queries))
    if len(held) and len(asked):
        scaled = _scaled(queries.vectors[asked], lengths[asked], metric)
        search = _exactly if held.exact else _approximately
        for row, one in zip(asked.tolist(), search(held, queries.vectors[asked], scaled, k, metric), strict=True):
            found[row] = one
    names = [tuple(held.texts[row] for row in rows.tolist()) for rows, _ in found]
    return hits_of(names, [values for _, values in found])


def _scaled(vectors: np.ndarray, lengths: np.ndarray, metric: Metric) -> np.ndarray:
    """What an index is asked: under cosine, at length one."""
    return np.ascontiguousarray(vectors / lengths[:, None] if metric == "cosine" else vectors, np.float32)


def _exactly(held: FaissRows, queries: np.ndarray, scaled: np.ndarray, k: int, metric: Metric) -> list[_Found]:
    """By exhaustive search, with as many candidates as it takes to be sure whatever float32 rounds."""
    index, rows = held.proposer(metric)
    found: list[_Found] = [_settled(held, queries[0], np.empty(0, np.int64), k, metric)] * len(queries)
    margin = _margin(held, scaled, metric)
    open_queries, width = np.arange(len(queries)), k + _MORE
    while len(open_queries):
        width = min(width, index.ntotal)
        scores, labels = index.search(scaled[open_queries], width) if width else (np.empty((0, 0)), [])
        undecided = []
        for i, values, names in zip(open_queries.tolist(), scores, labels, strict=True):
            sure = bool(np.isfinite(values).all())
            candidates = (names if rows is None else rows[names]) if sure else _all_rows(held, metric)
            found[i] = _settled(held, queries[i], candidates, k, metric)
            last = float(-values[-1] if metric == "l2" else values[-1])
            if sure and width < index.ntotal and not found[i][1][-1] > last + margin[i]:
                undecided.append(i)
        open_queries, width = np.array(undecided, np.int64), width * _WIDER
    return found


def _margin(held: FaissRows, scaled: np.ndarray, metric: Metric) -> np.ndarray:
    """How far a float32 score may be from the exact one, for every query; twice that, since two are compared."""
    longest = 1.0 if metric == "cosine" else float(held.lengths.max(initial=0.0, where=np.isfinite(held.lengths)))
    lengths = np.sqrt(np.einsum("nd,nd->n", scaled, scaled, dtype=np.float64))
    size = (lengths + longest) ** 2 if metric == "l2" else lengths * longest
    return size * _ROUNDING * (scaled.shape[1] + 8)


def _all_rows(held: FaissRows, metric: Metric) -> np.ndarray:
    usable = np.isfinite(held.lengths)
    return np.flatnonzero(usable & (held.lengths > 0) if metric == "cosine" else usable)


def _approximately(held: FaissRows, queries: np.ndarray, scaled: np.ndarray, k: int, metric: Metric) -> list[_Found]:
    """By the index as it is; where it gives fewer than there are, by all of an inverted file's lists."""
    index = held.index
    width = min(2 * k + _MORE, len(index))
    labels = index.core.search(scaled, width, params=_parameters(held))[1]
    short = np.flatnonzero((labels >= 0).sum(axis=1) < min(k, len(index)))
    if len(short) and index.ivf is not None:
        labels[short] = index.core.search(scaled[short], width, params=_parameters(held, everywhere=True))[1]
    found = []
    for query, names in zip(queries, labels, strict=True):
        rows = np.searchsorted(index.labels, names[names >= 0]) if index.ivf is not None else names[names >= 0]
        if metric == "cosine" and len(rows):
            rows = rows[held.vectors(rows).any(axis=1)]
        found.append(_settled(held, query, rows, k, metric))
    return found


def _parameters(held: FaissRows, *, everywhere: bool = False) -> Any:
    """How widely an index looks: as the URL says, else as the file does."""
    faiss, index = faiss_module(), held.index
    if index.ivf is not None:
        nprobe = index.ivf.nlist if everywhere else held.nprobe or index.ivf.nprobe
        parameters = faiss.SearchParametersIVF(nprobe=min(nprobe, index.ivf.nlist))
    elif index.hnsw is not None:
        parameters = faiss.SearchParametersHNSW(efSearch=held.ef or index.hnsw.hnsw.efSearch)
    else:
        return None
    for part in reversed(index.outer):
        if type(part).__name__ == "IndexPreTransform":
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        else:
            parameters = faiss.IndexRefineSearchParameters(k_factor=part.k_factor, base_index_params=parameters)
    return parameters


def _settled(held: FaissRows, query: np.ndarray, rows: np.ndarray, k: int, metric: Metric) -> _Found:
    """The k best of some rows, by exact scores and then by id."""
    if not len(rows):
        return np.empty(0, np.int64), np.empty(0, np.float32)
    ordered = rows[np.argsort(held.place[rows], kind="stable")]
    ranking = rerank(query[None], held.vectors(ordered), np.arange(len(ordered))[None], k, metric=metric)
    return ordered[ranking.rows[0]], ranking.scores[0]
