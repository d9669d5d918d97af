"""Chroma: rows of one collection, read in parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.space import Metric
from embridge.stores._chroma_client import ChromaClient
from embridge.stores._chroma_columns import DOCUMENT, metadatas
from embridge.stores._columns import meets
from embridge.stores.base import Filter
from embridge.stores.places import RawRows

__all__ = [
    "Record",
    "first_records",
    "ids_among",
    "ids_in",
    "matching",
    "metric_of",
    "parts_of",
    "records",
    "records_of",
    "vectors",
    "write",
]

_ID_ROWS, _ROWS = 50_000, 4_000
_RECORD = ["metadatas", "documents"]
_METRICS: dict[str, Metric] = {"cosine": "cosine", "l2": "l2", "ip": "dot"}

Record = dict[str, Any]


def metric_of(collection: Any) -> Metric:
    """What a collection compares by."""
    configuration = collection.configuration_json or {}
    index = configuration.get("hnsw") or configuration.get("spann") or {}
    space = index.get("space") or (collection.metadata or {}).get("hnsw:space") or "l2"
    return _METRICS.get(space, "l2")


def ids_in(client: ChromaClient, name: str) -> Iterator[list[str]]:
    """All ids, in pages, in Chroma's order."""
    start = 0
    while True:
        page = client.on(name, lambda one, start=start: one.get(limit=_ID_ROWS, offset=start, include=[])["ids"])  # type: ignore[misc]
        if page:
            yield page
        if len(page) < _ID_ROWS:
            return
        start += len(page)


def ids_among(client: ChromaClient, name: str, ids: Sequence[str]) -> set[str]:
    """Which of these ids are there."""
    there: set[str] = set()
    for start in range(0, len(ids), _ROWS):
        part = list(ids[start : start + _ROWS])
        there.update(client.on(name, lambda one, part=part: one.get(ids=part, include=[])["ids"]))  # type: ignore[misc]
    return there


def vectors(
    client: ChromaClient, name: str, ids: Sequence[str], dim: int | None = None
) -> tuple[list[str], np.ndarray]:
    """Ids and vectors of those rows that are there, in any order."""
    found: list[str] = []
    parts: list[np.ndarray] = []
    for start in range(0, len(ids), _ROWS):
        part = list(ids[start : start + _ROWS])
        rows = client.on(name, lambda one, part=part: one.get(ids=part, include=["embeddings"]))  # type: ignore[misc]
        found += rows["ids"]
        if rows["ids"]:
            parts.append(np.asarray(rows["embeddings"], np.float32))
    return found, np.concatenate(parts) if parts else np.empty((0, dim or 0), np.float32)


def parts_of(client: ChromaClient, name: str, rows: int) -> Iterator[RawRows]:
    """All rows: their ids as they are now, and by these the vectors, so that none is left out while others write."""
    for part in _parts_of_ids(client, name, rows):
        ids, found = vectors(client, name, part)
        if ids:
            yield RawRows(tuple(ids), found)


def records_of(client: ChromaClient, name: str, rows: int) -> Iterator[tuple[RawRows, list[Record]]]:
    """The same with metadata and document, in no more than a few thousand rows at once."""
    for part in _parts_of_ids(client, name, min(rows, _ROWS)):
        found = client.on(name, lambda one, part=part: one.get(ids=part, include=["embeddings", *_RECORD]))  # type: ignore[misc]
        if found["ids"]:
            vectors = np.asarray(found["embeddings"], np.float32)
            yield (
                RawRows(tuple(found["ids"]), vectors),
                list(map(_record, found["metadatas"], found["documents"])),
            )


def _parts_of_ids(client: ChromaClient, name: str, rows: int) -> Iterator[list[str]]:
    for page in list(ids_in(client, name)):
        yield from (page[start : start + rows] for start in range(0, len(page), rows))


def records(client: ChromaClient, name: str, ids: Sequence[str]) -> dict[str, Record]:
    """Metadata and document by id."""
    found: dict[str, Record] = {}
    for start in range(0, len(ids), _ROWS):
        part = list(ids[start : start + _ROWS])
        rows = client.on(name, lambda one, part=part: one.get(ids=part, include=_RECORD))  # type: ignore[misc]
        found |= dict(zip(rows["ids"], map(_record, rows["metadatas"], rows["documents"]), strict=True))
    return found


def first_records(client: ChromaClient, name: str, limit: int) -> list[Record]:
    """Of the first rows."""
    rows = client.on(name, lambda one: one.get(limit=limit, include=_RECORD))
    return list(map(_record, rows["metadatas"], rows["documents"]))


def matching(client: ChromaClient, name: str, where: dict[str, Any] | None, filter: Filter) -> list[str]:
    """Ids of the rows that meet all conditions, looked at one by one."""
    found, start = [], 0
    while True:
        rows = client.on(
            name,
            lambda one, start=start: one.get(where=where, limit=_ROWS, offset=start, include=_RECORD),  # type: ignore[misc]
        )
        for one, record in zip(rows["ids"], map(_record, rows["metadatas"], rows["documents"]), strict=True):
            if all(meets(record.get(condition.column), condition) for condition in filter):
                found.append(one)
        if len(rows["ids"]) < _ROWS:
            return found
        start += _ROWS


def write(client: ChromaClient, name: str, rows: Embeddings, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write rows, so many in a request as Chroma takes."""
    step = client.most_rows
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        ids, found = list(rows.ids[part]), rows.vectors[part]
        values, texts = metadatas({one: column[part] for one, column in columns.items()}, len(ids))
        client.on(
            name,
            lambda one, ids=ids, found=found, values=values, texts=texts: one.upsert(  # type: ignore[misc]
                ids=ids, embeddings=np.ascontiguousarray(found), metadatas=values, documents=texts
            ),
        )


def _record(metadata: Any, document: Any) -> Record:
    record = dict(metadata or {})
    if document is not None:
        record[DOCUMENT] = document
    return record
