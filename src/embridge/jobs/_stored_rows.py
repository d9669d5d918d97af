"""Rows of a store with their items: drawn by id, read in parts, what is missing counted and left out."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from xxhash import xxh3_64_intdigest

from embridge.embeddings import Embeddings, concatenate
from embridge.errors import InvalidInput, SettingsError, StoreError
from embridge.items import ItemSource, read_items
from embridge.jobs._held_space import held_space
from embridge.progress import Progress
from embridge.settings import OldModelSettings
from embridge.space import Space
from embridge.stores import Declaration, Store, open_store, parse_url

__all__ = ["OpenedStore", "StoredRows", "drawn_ids", "kind_of_reason", "opened_store", "read_stored_rows"]

_PAGE_ROWS, _PART_ROWS = 65_536, 1_000
_OF_ONE_ROW = re.compile(r"'[^']*'|\S*[/\\]\S*|\d[\d,.]*")
_TRIES = 8  # single rows that fail before a store is taken for broken


@dataclass(frozen=True, slots=True, eq=False)
class OpenedStore:
    """The store of a settings file, the space that is meant, and where its items come from."""

    store: Store
    space: Space
    declaration: Declaration
    source: ItemSource
    where: str


@dataclass(frozen=True, slots=True, eq=False)
class StoredRows:
    """Rows of a store: their vectors as they are, and their items.

    texts: one a row; None where items are images, which are read when they are encoded. rows: how many the store has.
    missing: why rows were left out, and how many of each. repeats: rows whose text another row has.
    """

    where: str
    source: ItemSource
    encoder: str | None
    options: Mapping[str, Any]
    vectors: Embeddings
    texts: list[str] | None
    rows: int
    missing: Mapping[str, int]
    repeats: int = 0

    def __str__(self) -> str:
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in sorted(self.missing.items()))
        left_out = f", {sum(self.missing.values()):,} without a usable item or vector ({reasons})" if reasons else ""
        repeats = f", {self.repeats:,} repeats dropped" if self.repeats else ""
        return f"{len(self.vectors):,} of {self.rows:,} rows of {self.where}{left_out}{repeats}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        counts = {"rows": self.rows, "used": len(self.vectors), "repeats": self.repeats, "missing": dict(self.missing)}
        return counts | {"space": self.vectors.space.to_dict() | {"id": self.vectors.space.id}}


@contextmanager
def opened_store(old: OldModelSettings) -> Iterator[OpenedStore]:
    """The store that ``old`` names, to read from.

    Raises `SettingsError` where nothing says which space is meant, or where its items come from.
    """
    assert old.store is not None
    where = str(parse_url(old.store))
    store = open_store(old.store, declarations=old.declarations)
    try:
        space = held_space(store, None if old.space is None else old.space.model, where=where, key="space")
        declaration = store.declaration(space)
        yield OpenedStore(store, space, declaration, _source(old, declaration, where), where)
    finally:
        store.close()


def drawn_ids(store: Store, space: Space, count: int, *, seed: int, usable: Callable[[str], bool]) -> list[str]:
    """So many ids of a space's rows, or all where there are fewer, in an order that the seed and the ids alone decide."""
    drawn: list[tuple[int, str]] = []
    after: str | None = None
    while page := store.ids(space, after=after, limit=_PAGE_ROWS):
        keyed = ((xxh3_64_intdigest(name.encode(), seed=seed), name) for name in page if usable(name))
        drawn = heapq.nsmallest(count, [*drawn, *keyed])
        after = page[-1]
    return [name for _, name in drawn]


def read_stored_rows(
    opened: OpenedStore, ids: Sequence[str], *, distinct: bool, progress: Progress, optional: Collection[str] = ()
) -> StoredRows:
    """Vectors and texts of those rows; rows without a usable one are left out and counted.

    distinct: whether a row whose text an earlier one has is left out too. optional: ids that may be none of the store's.
    """
    parts: list[Embeddings] = []
    texts: dict[str, str] = {}
    missing: Counter[str] = Counter()
    seen: set[str] = set()
    repeats = 0
    for start in range(0, len(ids), _PART_ROWS):
        names = ids[start : start + _PART_ROWS]
        rows = _usable_rows(opened.store, opened.space, names, missing, optional)
        if opened.source.modality == "text":
            items = read_items(opened.source, opened.store, opened.space, rows.ids)
            missing.update(map(kind_of_reason, items.missing.values()))
            present = dict(zip(items.ids, items.items, strict=True))
            new = {name: text for name, text in present.items() if not (distinct and _is_seen(text.strip(), seen))}
            repeats += len(present) - len(new)
            texts |= new
            rows = rows.take([row for row, name in enumerate(rows.ids) if name in new])
        parts.append(rows)
        progress(min(start + _PART_ROWS, len(ids)), len(ids), f"read {opened.where}")
    vectors = concatenate(parts) if parts else _none(opened.space)
    held = [texts[name] for name in vectors.ids] if opened.source.modality == "text" else None
    total = opened.store.count(opened.space)
    encoder, options = opened.declaration.encoder, opened.declaration.options
    return StoredRows(opened.where, opened.source, encoder, options, vectors, held, total, dict(missing), repeats)


def _is_seen(text: str, seen: set[str]) -> bool:
    known = text in seen
    seen.add(text)
    return known


def kind_of_reason(reason: str) -> str:
    """Reasons without what differs from row to row, so that they can be counted."""
    return _OF_ONE_ROW.sub("…", reason.partition(": ")[0])[:80]


def _usable_rows(
    store: Store, space: Space, ids: Sequence[str], missing: Counter[str], optional: Collection[str]
) -> Embeddings:
    """The rows of those ids whose vectors can be used; the others are counted, unless all fail."""
    failures: list[Exception] = []

    def fetched(names: Sequence[str]) -> list[Embeddings]:
        try:
            return [store.fetch(space, names)]
        except (StoreError, InvalidInput) as error:
            if len(names) == 1:
                failures.append(error)
            if len(names) == len(ids) == 1 or len(failures) >= _TRIES:
                raise
            half = len(names) // 2
            return [*fetched(names[:half]), *fetched(names[half:])] if half else []

    rows = concatenate([_none(space), *fetched(ids)])
    if failures:
        missing["vectors that cannot be used"] += len(failures)
    expected = len(set(ids) - set(optional) | set(rows.ids))
    if gone := expected - len(rows) - len(failures):
        missing["rows that are gone"] += gone
    return rows


def _none(space: Space) -> Embeddings:
    return Embeddings((), np.empty((0, space.dim), np.float32), space)


def _source(old: OldModelSettings, declaration: Declaration, where: str) -> ItemSource:
    if old.items is not None:
        return old.items.to_source()
    if not declaration.items:
        raise SettingsError(
            f"{where}: nothing says where the text or the image of a row comes from; say it in old.items, such as items: "
            "{text: title}, or to embridge adopt (--text COLUMN)"
        )
    return ItemSource.from_dict(declaration.items)
