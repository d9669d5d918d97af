"""The contract of stores: what a payload holds, and what filters select."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores.base import Condition, Filter, Store
from embridge.stores.memory import MemoryStore
from embridge.testing._expect import expect, expect_equal, expect_refusal

__all__ = ["check_columns", "check_filters", "check_names", "check_scanned_payload", "check_values"]

ExpectHits = Callable[[Hits, Hits, str], None]

_LEAST, _MOST, _ODD = -(1 << 63), (1 << 63) - 1, (1 << 53) + 1  # the last is no float
_TEXTS = ("it's", '"', "%", "_", "\\", "\\'", "a\nb", "\0", " a ", "", "ü", "u\u0308", "\U0001f600", "null", "--")
_COLUMNS: dict[str, list[Any]] = {
    "text": [None, *_TEXTS],
    "whole": [None, 0, _LEAST, _MOST, _ODD, _ODD - 1, -1, *range(1, 10)],
    "number": [0.5, None, -1e-7, 0.1, 1e300, float(_ODD - 1), -0.0, *(i / 2 for i in range(9))],
    "flag": [True, False, None, *([True, False] * 7)][:16],
}
_ORDERING = ("<", "<=", ">", ">=")
_COMPARED: tuple[tuple[str, tuple[str, ...], tuple[Any, ...]], ...] = (
    ("text", ("==", "<"), (*_TEXTS, "zz")),
    ("text", ("!=", *_ORDERING), ("it's",)),
    ("whole", ("==", "!=", *_ORDERING), (2.5, -0.5, _LEAST, _MOST, _ODD, float(_ODD - 1), 1 << 70, -1e300)),
    ("number", ("==", "!=", *_ORDERING), (0, 0.1, _ODD, _ODD - 2, -(10**400), np.float32(0.5), np.int64(1))),
    ("flag", ("==", "!=", "<"), (True, np.False_)),
)
_NAMES = ("select", "null", "true", "order", "Brand", "brand", "ID", "größe", "rowid", "distance", "score")


def _rows(space: Space, count: int, *, start: int = 0) -> Embeddings:
    vectors = np.random.default_rng(start).normal(size=(count, space.dim)).astype(np.float32)
    return Embeddings(tuple(f"row {start + i:02d}" for i in range(count)), vectors, space)


def _held(store: Store) -> dict[str, list[Any]]:
    """The columns, without NUL where the store cannot hold it."""
    if store.capabilities.nul:
        return _COLUMNS
    return _COLUMNS | {"text": [None if value is None else value.replace("\0", "?") for value in _COLUMNS["text"]]}


def check_values(store: Store, space: Space) -> None:
    """Values come back as they were, odd texts and numbers of 64 bits too; what no column holds is refused."""
    columns, rows = _held(store), _rows(space, len(_COLUMNS["text"]))
    store.upsert(rows, columns)
    expect_equal(columns, store.payload(space, list(rows.ids)), "payload with odd values, read back")
    check_scanned_payload(store, space, columns, rows.ids)
    one = {name: [values[5]] for name, values in columns.items()}
    for column, value in (
        *(("whole", value) for value in (1 << 63, _LEAST - 1, 0.5, True, "1")),
        *(("number", value) for value in (float("nan"), float("inf"), _ODD, "1", False)),
        *(("text", value) for value in (1, b"a", ["a"], {"a": 1}, datetime.date(2026, 3, 1), "\ud83d")),
        *(("flag", value) for value in (1, 0.0, "true")),
    ):
        spoilt = one | {column: [value]}
        expect_refusal(
            InvalidInput, partial(store.upsert, rows.take([0]), spoilt), f"{value!r} in a column of {column}"
        )
    if not store.capabilities.nul:
        expect_refusal(InvalidInput, lambda: store.upsert(rows.take([0]), one | {"text": ["\0"]}), "a text with NUL")
    expect_equal(columns, store.payload(space, list(rows.ids)), "payload after refused writes")
    store.upsert(rows.take([0]), one | {"number": [7], "flag": [np.False_], "whole": [np.int32(7)]})
    back = store.payload(space, list(rows.ids[:1]))
    expect_equal(([7.0], [False], [7]), (back["number"], back["flag"], back["whole"]), "a whole number among others")


def check_scanned_payload(store: Store, space: Space, columns: dict[str, list[Any]], ids: Sequence[str]) -> None:
    """A scan brings the payload along that rows of these ids have: the columns that are asked for, in parts."""
    for chosen, size in ((list(columns), 1_000), (list(columns)[:0:-1], 5), ([], 7)):
        found: dict[str, tuple[Any, ...]] = {}
        for rows, payload in store.scan_with_payload(space, chosen, rows=size):
            what = f"a scan with payload of {chosen}"
            expect(0 < len(rows) <= size, f"{what}: expected 1 to {size} rows a part, came {len(rows)}")
            expect_equal(chosen, list(payload), f"{what}: the columns")
            values = [payload[name] for name in chosen] or [[None] * len(rows)]
            found |= dict(zip(rows.ids, zip(*values, strict=True), strict=True))
        expected = zip(*[columns[name] for name in chosen] or [[None] * len(ids)], strict=True)
        expect_equal(dict(zip(ids, expected, strict=True)), found, f"a scan with payload of {chosen}")
    unknown = lambda: list(store.scan_with_payload(space, ["unknown"]))  # noqa: E731
    expect_refusal(InvalidInput, unknown, "a scan with a payload column that is not there")


def check_columns(store: Store, space: Space) -> None:
    """A column may begin with rows that have no value, and takes the kind of the first value that comes."""
    nothing: dict[str, list[Any]] = {name: [None, None] for name in _COLUMNS}
    store.upsert(_rows(space, 2), nothing)
    query = _rows(space, 1)
    for column, operator, value in (("text", "!=", "a"), ("text", "<", 1), ("flag", "==", True)):
        if store.capabilities.filter:
            condition = Condition(column, operator, value)  # type: ignore[arg-type]
            found = store.search(query, 3, filter=(condition,))
            expect_equal(((),), found.ids, f"search with {condition}, no value yet")
    for start, name in enumerate(_COLUMNS, 2):
        values = {other: [_COLUMNS[name][3]] if other == name else [None] for other in _COLUMNS}
        store.upsert(_rows(space, 1, start=start), values)
    whole = store.payload(space, [f"row {i:02d}" for i in range(2 + len(_COLUMNS))])
    expected = {
        name: [None, None, *(_COLUMNS[name][3] if name == other else None for other in _COLUMNS)] for name in _COLUMNS
    }
    expect_equal(expected, whole, "payload of columns that began without a value")
    mixed = _rows(space, 2, start=20)
    refused = {**nothing, "text": ["a", 1]}
    expect_refusal(InvalidInput, lambda: store.upsert(mixed, refused), "a column of text and numbers")
    store.upsert(mixed, {**nothing, "number": [1, 2.5]})
    expect_equal([1.0, 2.5], store.payload(space, list(mixed.ids))["number"], "whole numbers beside others")


def check_names(store: Store, space: Space) -> None:
    """Columns may be called what a query language has words for, and ids may be any text of Unicode."""
    rows = _rows(space, 2)
    for name in ("id", "vector", "_distance", "two words", "a.b", "a`b", 'a"b', ""):
        expect_refusal(InvalidInput, partial(store.upsert, rows, {name: [1, 2]}), f"a column called {name!r}")
    texts = [name for name in _TEXTS if name and (store.capabilities.nul or "\0" not in name)]
    ids = (*texts, "x" * 3_000, "id", "0")
    odd = Embeddings(ids, np.eye(len(ids), space.dim, dtype=np.float32) + 1, space)
    payload = {name: [f"{name} {i}" for i in range(len(ids))] for name in _NAMES}
    store.upsert(odd, payload)
    expect_equal(payload, store.payload(space, list(ids)), "payload of odd ids and columns")
    in_order = store.ids(space, limit=len(ids) + 1)
    expect_equal(sorted(ids), in_order if store.capabilities.ids_in_order else sorted(in_order), "odd ids in order")
    expect_equal(ids, store.fetch(space, ids).ids, "fetch of odd ids")
    for name in ids:
        following = in_order[in_order.index(name) + 1 :][:1]
        expect_equal(following, store.ids(space, after=name, limit=1), f"ids after {name!r:.40}")
    for name in _NAMES if store.capabilities.filter else ():
        found = store.search(odd.take([0]), 3, filter=(Condition(name, "==", f"{name} 2"),))
        expect_equal(((ids[2],),), found.ids, f"filter on a column called {name!r}")
    half = Embeddings(("\ud83d",), odd.vectors[:1], space)
    expect_refusal(InvalidInput, lambda: store.upsert(half, {name: ["a"] for name in _NAMES}), "an id of half a pair")


def check_filters(store: Store, space: Space, expect_hits: ExpectHits) -> None:
    """Every operator selects what it selects in `MemoryStore`; rows without a value meet no condition."""
    reference = MemoryStore(space)
    rows = _rows(space, len(_COLUMNS["text"]))
    for each in (reference, store):
        each.upsert(rows, _held(store))
    for conditions in _filters():
        expected, actual = (each.search(rows.take([0]), len(rows), filter=conditions) for each in (reference, store))
        expect_hits(expected, actual, f"search with {conditions}")
    unknown = (Condition("unknown", "==", 1),)
    expect_refusal(InvalidInput, lambda: store.search(rows, 1, filter=unknown), "filter on an unknown column")
    for column, value in (("text", 1), ("text", True), ("whole", "1"), ("whole", True), ("flag", 1), ("number", "a")):
        other = (Condition(column, "<", value),)
        expect_refusal(InvalidInput, partial(store.search, rows, 1, filter=other), f"filter of {column} by {value!r}")


def _filters() -> list[Filter]:
    single = [
        (Condition(column, operator, value),)  # type: ignore[arg-type]
        for column, operators, values in _COMPARED
        for value in values
        for operator in operators
    ]
    several = [(Condition(column, "in", values),) for column, _, values in _COMPARED]
    none = [(Condition("whole", "in", (0.5, 1e300)),), (Condition("text", "==", "a"), Condition("whole", ">", 0))]
    both = [(Condition("text", "!=", "it's"), Condition("number", ">", 0.5)), (Condition("flag", "in", (True,)),)]
    return [*single, *several, *none, *both]
