"""Queries against a store that is on its way to another model: answered as its rollout stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embridge.datasets.captions import read_all_captions
from embridge.embeddings import Embeddings
from embridge.jobs._queries import holds_vectors
from embridge.rollout.gallery import Answer, Gallery
from embridge.rollout.journal import current_state
from embridge.rollout.state import serving
from embridge.stores import Filter, Store
from embridge.vector_files import read_chunks

__all__ = ["gallery_of", "gallery_search"]

_BATCH_ROWS = 256
_TAKEN = 0.0  # a draw that every canary takes: a query gets the same answer each time it is asked


def gallery_of(store: Store) -> Gallery | None:
    """The gallery of a store's rollout; None where none has begun."""
    return None if current_state(store.documents) is None else Gallery.open(store)


def gallery_search(
    gallery: Gallery, queries: Sequence[str] | Path, *, k: int, image: bool, filter: Filter
) -> Iterator[tuple[Sequence[str], Answer, dict[str, list[Any]]]]:
    """Some queries, their answer, and the payload of its hits, each hit once in the order in which they appear."""
    for names, asked in _batches(gallery, queries):
        answer = gallery.search(asked, k, filter=filter, draw=_TAKEN, modality="image" if image else "text")
        ids = list(dict.fromkeys(name for found in answer.hits.ids for name in found))
        yield names, answer, gallery.payload(ids) if ids else {}


def _batches(
    gallery: Gallery, queries: Sequence[str] | Path
) -> Iterator[tuple[Sequence[str], Sequence[str] | Embeddings]]:
    if isinstance(queries, Path) and holds_vectors(queries):
        by_old = serving(gallery.state(), client="new", draw=_TAKEN) == "old"
        space = gallery.state().old if by_old else gallery.query_space
        for chunk in read_chunks(queries, rows=_BATCH_ROWS, space=space):
            yield chunk.ids, chunk
        return
    texts = read_all_captions(queries).texts if isinstance(queries, Path) else list(queries)
    for start in range(0, len(texts), _BATCH_ROWS):
        yield texts[start : start + _BATCH_ROWS], texts[start : start + _BATCH_ROWS]
