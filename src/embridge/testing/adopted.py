"""The contract of stores for tables that were there before: adopted, read, written beside others, given back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import SpaceMismatch, StoreError
from embridge.space import Metric, Space
from embridge.stores.base import Condition, Store
from embridge.stores.documents import Documents, FileDocuments, declarations
from embridge.stores.memory import MemoryStore
from embridge.stores.places import Declaration, Place
from embridge.testing._expect import expect, expect_close, expect_equal, expect_refusal
from embridge.testing._store_payload import check_scanned_payload
from embridge.testing._store_rows import vectors_of

__all__ = ["ForeignTable", "MakeForeign", "check_adopted_store"]

_ROWS, _DIM, _K = 24, 5, 6
_IDS: dict[str, list[Any]] = {
    "text": [f"it's {(7 * i) % _ROWS:02d} ü" for i in range(_ROWS)],
    "whole numbers": [10 ** (i % 10) * 10 + i - 13 for i in range(_ROWS)],
    "numbers without a sign": [10 ** (i % 10) * 10 + i for i in range(_ROWS)],
    "UUIDs": [UUID(int=(i * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128)) for i in range(_ROWS)],
}
_COLUMNS: dict[str, list[Any]] = {
    "title": [None if i % 7 == 3 else f"a 'title' {i} größe" for i in range(_ROWS)],
    "price": [None if i % 5 == 2 else i / 4 for i in range(_ROWS)],
    "stock": [None if i % 11 == 4 else 2**53 + i for i in range(_ROWS)],
    "sold": [None if i % 6 == 5 else i % 2 == 0 for i in range(_ROWS)],
}


@dataclass(frozen=True)
class ForeignTable:
    """A table that someone else made, with the database's own client.

    Attributes:
        open: Gives a store of the URL of the table, each time a client of its own; the documents are passed on.
        place: Where its vectors stand.
        snapshot: Gives all that the table held when it was made as the database's own client reads it now, rows in order of
            id; without what was added to rows since. Of anything that compares by ``==``.

    Examples:
        >>> table = ForeignTable(lambda documents: MemoryStore(), Place("items"), lambda: [])
        >>> table.snapshot()
        []
    """

    open: Callable[[Documents | None], Store]
    place: Place
    snapshot: Callable[[], Any]


MakeForeign = Callable[[Sequence[Any], np.ndarray, Mapping[str, Sequence[Any]], Metric, Path], ForeignTable | None]
"""Makes a table of ids (text, int or `UUID`), vectors, columns and a metric at a location (a folder that need not exist).

None where the database has no such ids.
"""


def check_adopted_store(make_foreign: MakeForeign) -> list[str]:
    """Assert what `embridge.stores.Store` promises of tables that were there before.

    - an undeclared table is described and holds no space; adopting it changes no row of it, and every client sees it;
    - wrong dims, unknown columns and a second space for one place are refused;
    - count, ids, scan, fetch, payload, search and filters say what `MemoryStore` says of the same rows, for ids of text, whole
      numbers and UUIDs, and for all metrics;
    - a new space stands beside the adopted one, is filled row by row, and leaves the user's rows as they were;
    - dropping the vectors, interrupted before or after the declaration changes, is done by doing it again;
    - rows that are written and deleted through the store are so for everyone;
    - a declaration may stand in a file of one's own instead of the database.

    Args:
        make_foreign: Makes a table with the database's own client; see `MakeForeign`.

    Returns:
        The kinds of ids that the database has not.

    Raises:
        AssertionError: It does something else; the message says what was expected and what came.

    Examples:
        >>> check_adopted_store(lambda ids, vectors, columns, metric, location: None)
        ['ids that are text', 'ids that are whole numbers', 'ids that are numbers without a sign', 'ids that are UUIDs']
    """
    skipped = []
    with tempfile.TemporaryDirectory() as folder:
        locations = (Path(folder) / str(i) for i in range(1_000))
        made: list[str] = []
        for kind, ids in _IDS.items():
            if kind == "numbers without a sign" and "whole numbers" in made:
                continue
            table = _made(make_foreign, ids, "cosine", next(locations))
            if table is None:
                skipped.append(f"ids that are {kind}")
                continue
            made.append(kind)
            _check_adopting(table, next(locations).with_suffix(".json"))
            _check_reading(table, ids, "cosine")
            _check_writing(table, ids)
            if len(made) == 1:
                _check_interrupted_dropping(make_foreign, ids, locations)
        for metric in ("dot", "l2") if made else ():
            ids = _IDS[made[0]]
            table = _made(make_foreign, ids, metric, next(locations))
            if table is not None:
                table.open(None).adopt(Declaration(_space(metric), table.place))
                _check_reading(table, ids, metric)
    return skipped


def _space(metric: str = "cosine", revision: str = "1") -> Space:
    return Space("contract", revision, _DIM, metric)  # type: ignore[arg-type]


def _vectors(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(_ROWS, _DIM)).astype(np.float32)


def _made(make: MakeForeign, ids: Sequence[Any], metric: Metric, location: Path) -> ForeignTable | None:
    return make(ids, _vectors(), _COLUMNS, metric, location)


def _reference(ids: Sequence[Any], metric: str) -> MemoryStore:
    store = MemoryStore(_space(metric))
    store.upsert(Embeddings.of(_vectors(), _space(metric), list(map(str, ids))), _COLUMNS)
    return store


def _check_adopting(table: ForeignTable, file: Path) -> None:
    before, store = table.snapshot(), table.open(None)
    expect_equal([], store.spaces(), "spaces before adopting")
    described = {one.name: one for one in store.tables()}
    expect(table.place.table in described, f"tables: expected {table.place.table!r} among them, came {list(described)}")
    one = described[table.place.table]
    expect_equal(_ROWS, one.rows, "rows of an undeclared table")
    expect(table.place.vector in one.vectors, f"vectors: expected {table.place.vector!r}, came {dict(one.vectors)}")
    expect(one.vectors[table.place.vector].dim in (_DIM, None), f"dim of the vectors: came {dict(one.vectors)}")
    expect_equal(_ROWS, sum(len(part.ids) for part in store.raw(table.place)), "raw rows before adopting")
    space, elsewhere = _space(), Place(table.place.table, "no_such_vectors", table.place.id)
    for what, wrong in {
        "of another dim": Declaration(replace(space, dim=_DIM + 1), table.place),
        "that are not there": Declaration(space, elsewhere),
    }.items():
        expect_refusal(StoreError, lambda wrong=wrong: store.adopt(wrong), f"adopting vectors {what}")  # type: ignore[misc]
    documents = FileDocuments(file)
    declared = Declaration(space, table.place, "clip:models/old", {"text": "title"})
    beside = table.open(documents)
    beside.adopt(declared)
    expect_equal([space], table.open(documents).spaces(), "spaces declared in a file")
    expect_equal([], table.open(None).spaces(), "spaces in the database, when a file holds the declaration")
    store.adopt(declared)
    store.adopt(declared)
    expect_equal([space], store.spaces(), "spaces after adopting twice")
    expect_equal(declared, table.open(None).declaration(space), "the declaration, read by another client")
    other = Declaration(replace(space, revision="2"), table.place)
    expect_refusal(StoreError, lambda: store.adopt(other), "adopting one place for a second space")
    expect_equal(before, table.snapshot(), "the user's rows after adopting")
    store.forget(space)
    expect_refusal(SpaceMismatch, lambda: store.count(space), "count of a forgotten space")
    store.adopt(declared)


def _check_reading(table: ForeignTable, ids: Sequence[Any], metric: str) -> None:
    before, store, space = table.snapshot(), table.open(None), _space(metric)
    reference, names = _reference(ids, metric), list(map(str, ids))
    in_order = list(map(str, sorted(ids)))
    expect_equal(_ROWS, store.count(space), "count of adopted rows")
    expect_equal(in_order[:10], store.ids(space, limit=10), "ids in order")
    expect_equal(in_order[10:], store.ids(space, after=in_order[9], limit=_ROWS), "ids after one")
    _expect_vectors(vectors_of(reference.scan(space)), vectors_of(store.scan(space, rows=7)), "a scan")
    chosen = [names[5], "nobody", names[2]]
    expect_equal((names[5], names[2]), store.fetch(space, chosen).ids, "fetch by id")
    if store.capabilities.payload:
        expect_equal(reference.payload(space, names), _read(store.payload(space, names)), "payload of adopted rows")
        check_scanned_payload(store, space, _COLUMNS, names)
        expect_equal([_COLUMNS["title"][0], None], store.column(space, [names[0], "nobody"], "title"), "a column by id")
    queries = Embeddings.of(_vectors(1)[:4], space)
    filters = [
        (),
        (Condition("title", "!=", "x"), Condition("price", "<", 4.0)),
        (Condition("stock", ">=", 2**53 + 9),),
        (Condition("sold", "==", True),),
        (Condition("title", "in", ("a 'title' 1 größe", "nothing")),),
    ]
    for conditions in filters if store.capabilities.filter else filters[:1]:
        expected, actual = (each.search(queries, _K, filter=conditions) for each in (reference, store))
        what = f"search by {metric} of adopted rows with {conditions}"
        if store.capabilities.exact:
            expect_equal(expected.ids, actual.ids, what)
            expect_close(expected.scores, actual.scores, f"{what}: scores", tolerance=1e-4)
        else:
            for a, b in zip(expected.ids, actual.ids, strict=True):
                expect(len(set(a) & set(b)) >= 0.8 * len(a), f"{what}: expected {a}, came {b}")
    expect_equal(before, table.snapshot(), "the user's rows after reading")


def _read(payload: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns that the table was made with; a database may have more of its own."""
    return {name: payload.get(name, []) for name in _COLUMNS}


def _expect_vectors(expected: dict[str, bytes], actual: dict[str, bytes], what: str) -> None:
    """The same, or the same to rounding where the database normalises what it is given."""
    expect_equal(sorted(expected), sorted(actual), f"ids of {what}")
    a, b = (np.stack([np.frombuffer(each[name], np.float32) for name in sorted(each)]) for each in (expected, actual))
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b)]
    if not np.allclose(a, b, atol=1e-6):
        expect_close(units[0], units[1], what, tolerance=1e-6)


def _check_writing(table: ForeignTable, ids: Sequence[Any]) -> None:
    before, store, space = table.snapshot(), table.open(None), _space()
    new, names = replace(space, revision="new", dim=_DIM + 2), list(map(str, ids))
    store.add_space(new)
    store.add_space(new)
    expect_equal({space, new}, set(table.open(None).spaces()), "spaces with a new one beside")
    vectors = np.random.default_rng(3).normal(size=(_ROWS, _DIM + 2)).astype(np.float32)
    rows = Embeddings.of(vectors, new, names)
    payload = None if store.capabilities.shared_rows or not store.capabilities.payload else _COLUMNS
    part = None if payload is None else {name: values[:9] for name, values in payload.items()}
    store.upsert(rows.take(range(9)), part)
    expect_equal(_ROWS - 9, len(store.missing(new, space, limit=_ROWS)), "missing after nine rows")
    store.upsert(rows, payload)
    expect_equal([], store.missing(new, space, limit=_ROWS), "missing after all rows")
    expect_equal((names[4],), table.open(None).search(rows.take([4]), 1).ids[0], "search in the new space")
    expect_equal(before, table.snapshot(), "the user's rows after a backfill beside them")
    store.drop_space(new)
    expect_equal(before, table.snapshot(), "the user's rows after the new space was dropped")
    changed = Embeddings.of(-_vectors()[:1], space, names[:1])
    store.upsert(changed, None if payload is None else {name: values[:1] for name, values in payload.items()})
    found = table.open(None).search(changed, 1)
    expect_equal((names[0],), found.ids[0], "search for a row that was written again")
    if store.capabilities.payload:
        expect_equal(_COLUMNS["title"][0], store.column(space, names[:1], "title")[0], "a column of that row")
    store.delete(names[1:3])
    expect_equal(_ROWS - 2, table.open(None).count(space), "count after deleting two rows")
    store.add_space(new)
    store.upsert(rows.take([0, 5]), None if payload is None else {name: values[:2] for name, values in payload.items()})
    try:
        store.drop_space(space)
    except StoreError:  # not every database can take vectors out of a table
        expect_equal({space, new}, set(table.open(None).spaces()), "spaces after a refusal to drop one")
        expect_equal(_ROWS - 2, store.count(space), "count after a refusal to drop the space")
        return
    alone = table.open(None)
    expect_equal([new], alone.spaces(), "spaces after the adopted vectors were dropped")
    expect_equal((names[5],), alone.search(rows.take([5]), 1).ids[0], "search after the adopted vectors were dropped")
    expect_equal(2, alone.count(new), "count of the new space after the adopted vectors were dropped")


class _Interrupted(Documents):
    """Documents whose writer is stopped, just before or just after a change."""

    def __init__(self, documents: Documents, *, late: bool) -> None:
        self._documents, self._late = documents, late

    def read(self, name: str) -> dict[str, Any] | None:
        return self._documents.read(name)

    def swap(self, name: str, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        if self._late:
            self._documents.swap(name, expected, new)
        raise KeyboardInterrupt


def _check_interrupted_dropping(make: MakeForeign, ids: Sequence[Any], locations: Iterator[Path]) -> None:
    space = _space()
    for late in (False, True):
        table = _made(make, ids, "cosine", next(locations))
        documents = FileDocuments(next(locations).with_suffix(".json"))
        if table is None:
            return
        table.open(documents).adopt(Declaration(space, table.place))
        try:
            table.open(_Interrupted(documents, late=late)).drop_space(space)
        except StoreError:  # not every database can take vectors out of a table
            return
        except KeyboardInterrupt:
            pass
        if declarations(documents):
            table.open(documents).drop_space(space)
        expect_equal({}, declarations(documents), "declarations after a drop that was interrupted and done again")
        with suppress(StoreError):  # the table may have gone with its vectors
            left = [each for each in table.open(documents).tables() if each.name == table.place.table]
            held = [name for each in left for name in each.vectors]
            expect(table.place.vector not in held, f"vectors after an interrupted drop: expected none, came {held}")
