"""The contract of stores: reading by parts and by id, deleting, several spaces, and the documents beside the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.space import Space
from embridge.stores.base import Store
from embridge.testing._expect import expect, expect_close, expect_equal, expect_refusal

__all__ = [
    "check_deleting",
    "check_documents",
    "check_reading",
    "check_two_spaces",
    "expect_vectors",
    "vectors_of",
]

Reopen = Callable[[], Store] | None
_ROWS = 40


def _rows(space: Space, count: int = _ROWS, *, seed: int = 0) -> Embeddings:
    vectors = np.random.default_rng(seed).normal(size=(count, space.dim)).astype(np.float32)
    return Embeddings(tuple(f"row {(7 * i) % count:02d} ü" for i in range(count)), vectors, space)


def vectors_of(parts: Iterable[Embeddings]) -> dict[str, bytes]:
    """Vectors by id; an id that comes twice is refused."""
    found: dict[str, bytes] = {}
    for part in parts:
        expect(len(part) > 0, "a scan: expected no empty part")
        for name, vector in zip(part.ids, part.vectors, strict=True):
            expect(name not in found, f"a scan gave {name!r} twice")
            found[name] = vector.tobytes()
    return found


def expect_vectors(store: Store, expected: dict[str, bytes], actual: dict[str, bytes], what: str) -> None:
    """The same to the bit, or the same at length one where the store keeps no lengths; of a space compared by cosine."""
    if store.capabilities.keeps_lengths:
        expect_equal(expected, actual, f"vectors of {what}")
        return
    expect_equal(sorted(expected), sorted(actual), f"ids of {what}")
    for name, written in expected.items():
        vectors = [np.frombuffer(each, np.float32) for each in (written, actual[name])]
        units = [vector / (np.linalg.norm(vector) or 1) for vector in vectors]
        expect_close(units[0], units[1], f"direction of {name!r} in {what}")
        before, length = (float(np.linalg.norm(vector)) for vector in vectors)
        kept = not before or min(abs(length - 1), abs(length - before)) < 1e-5
        expect(kept, f"length of {name!r} in {what}: expected 1 or {before}, came {length}")


def check_reading(store: Store, space: Space) -> None:
    """`scan` gives every row once, `ids` pages in order, `fetch` gives what is there."""
    expect_equal({}, vectors_of(store.scan(space)), "scan without rows")
    expect_equal([], store.ids(space, limit=5), "ids without rows")
    rows = _rows(space)
    store.upsert(rows)
    written = dict(zip(rows.ids, (vector.tobytes() for vector in rows.vectors), strict=True))
    for size in (7, 1_000):
        parts = list(store.scan(space, rows=size))
        expect(max(map(len, parts)) <= size, f"scan of {size} rows a part: came {[len(part) for part in parts]}")
        expect_vectors(store, written, vectors_of(parts), "a scan")
    place = store.declaration(space).place
    raw = [name for part in store.raw(place, rows=9) for name in part.ids]
    expect_equal(sorted(rows.ids), sorted(raw), "ids of raw rows")
    names: list[str] = []
    for _ in range(_ROWS):
        names += store.ids(space, after=names[-1] if names else None, limit=7)
    in_order = sorted(rows.ids) if store.capabilities.ids_in_order else store.ids(space, limit=_ROWS)
    expect_equal(sorted(rows.ids), sorted(in_order), "all ids in one page")
    expect_equal(in_order, names, "pages of ids")
    expect_equal([], store.ids(space, after=in_order[-1], limit=1), "ids after the last")
    chosen = [rows.ids[3], "nobody", rows.ids[1], rows.ids[3]]
    fetched = store.fetch(space, chosen)
    expect_equal((rows.ids[3], rows.ids[1]), fetched.ids, "ids of a fetch")
    expect_vectors(store, {name: written[name] for name in fetched.ids}, vectors_of([fetched]), "a fetch")
    expect_equal(0, len(store.fetch(space, [])), "fetch of no ids")
    everything = store.fetch(space, rows.ids * 250)
    expect_equal(rows.ids, everything.ids, "fetch of ten thousand ids")
    for what, call in {
        "scan": lambda: list(store.scan(space, rows=0)),
        "ids": lambda: store.ids(space, limit=0),
    }.items():
        expect_refusal(InvalidInput, call, f"{what} with a limit of 0")


def check_two_spaces(store: Store, space: Space) -> None:
    """Vectors of two spaces side by side: the work list of a backfill, and the end of one of them."""
    other = replace(space, revision="2", dim=space.dim + 3)
    store.add_space(other)
    old, new = _rows(space), _rows(other, seed=1)
    store.upsert(old)
    in_order = store.ids(space, limit=_ROWS)
    expect_equal(in_order, store.missing(other, space, limit=_ROWS), "missing before a backfill")
    store.upsert(new.take(range(10)))
    left = [name for name in in_order if name not in new.ids[:10]]
    expect_equal(left[:4], store.missing(other, space, limit=4), "missing, the first four")
    expect_equal(left[4:9], store.missing(other, space, after=left[3], limit=5), "missing after an id")
    expect_equal([], store.missing(space, other, limit=5), "missing in the old space")
    expect_equal((_ROWS, 10), (store.count(space), store.count(other)), "counts in the middle of a backfill")
    expect_equal(_ROWS, len(vectors_of(store.scan(space))), "rows of the old space")
    hits = store.search(new.take([0]), _ROWS)
    expect(set(hits.ids[0]) <= set(new.ids[:10]), "search in the new space: found rows that have no vector of it")
    expect_equal(new.ids[:2], store.fetch(other, [new.ids[0], new.ids[1], left[0]]).ids, "fetch in the new space")
    alone = new.with_vectors(new.vectors, other)
    stranger = Embeddings(("only new",), alone.vectors[:1], other)
    store.upsert(stranger)
    expect_equal(["only new"], store.missing(space, other, limit=5), "an item that the new space alone has")
    foreign = replace(space, revision="3")
    for what, call in {
        "missing in": lambda: store.missing(foreign, space, limit=1),
        "missing of": lambda: store.missing(space, foreign, limit=1),
        "ids": lambda: store.ids(foreign, limit=1),
        "fetch": lambda: store.fetch(foreign, ["a"]),
        "drop_space": lambda: store.drop_space(foreign),
        "declaration": lambda: store.declaration(foreign),
    }.items():
        expect_refusal(SpaceMismatch, call, f"{what} a space that is not held")
    before = vectors_of(store.scan(space))
    store.drop_space(other)
    expect_equal([space], store.spaces(), "spaces after dropping one")
    expect_equal(before, vectors_of(store.scan(space)), "the old rows after dropping the new space")
    expect_refusal(SpaceMismatch, lambda: store.count(other), "count of a dropped space")
    store.add_space(other)
    expect_equal(0, store.count(other), "count of a space that was dropped and added")


def check_deleting(store: Store, space: Space) -> None:
    """Deleted rows are gone from every space, unknown ids change nothing, and what is left is found."""
    other = replace(space, revision="2")
    store.add_space(other)
    rows = _rows(space)
    payload = {"number": list(range(_ROWS))} if store.capabilities.payload else None
    for each in (rows, rows.with_vectors(rows.vectors, other)):
        store.upsert(each, payload)
    gone = [*rows.ids[:3], "nobody", rows.ids[0]]
    store.delete(gone)
    store.delete(gone)
    store.delete([])
    expect_equal((_ROWS - 3, _ROWS - 3), (store.count(space), store.count(other)), "counts after deleting three rows")
    hits = store.search(rows.take([0]), _ROWS)
    expect(not set(hits.ids[0]) & set(gone), "search found rows that were deleted")
    expect_equal(0, len(store.fetch(space, gone)), "fetch of deleted rows")
    if store.capabilities.payload:
        expect_refusal(InvalidInput, lambda: store.payload(space, gone[:1]), "payload of a deleted row")
        expect_equal([5], store.payload(space, [rows.ids[5]])["number"], "payload of a row that stayed")
        expect_equal([5, None], store.column(space, [rows.ids[5], "nobody"], "number"), "a column by id")
        expect_refusal(InvalidInput, lambda: store.column(space, [], "unknown"), "a column that is not there")
    store.upsert(rows.take([0]), None if payload is None else {"number": [9]})
    expect_equal(_ROWS - 2, store.count(space), "count after writing a deleted row again")


def check_documents(store: Store, reopen: Reopen) -> None:
    """Of writers that expect the same state exactly one wins; another client sees what was written."""
    expect_equal(None, store.read_state(), "the state of a new store")
    first: dict[str, Any] = {"schema": "check/1", "step": 1, "share": 0.25, "name": "größe 'x' \"y\"", "list": [None]}
    expect(store.swap_state(None, first), "swap_state from nothing: expected True, came False")
    expect(not store.swap_state(None, {"step": 2}), "swap_state from nothing, though there is a state: came True")
    expect_equal(first, store.read_state(), "the state read back")
    again = store if reopen is None else reopen()
    expect_equal(first, again.read_state(), "the state read by another client")
    second = first | {"step": 2}
    expect(again.swap_state(first, second), "swap_state by another client: expected True, came False")
    expect(not store.swap_state(first, first | {"step": 3}), "swap_state from a state that is past: came True")
    expect_equal(second, store.read_state(), "the state that another client wrote")
    name = "journal/000001"
    expect(store.documents.swap(name, None, first), f"swap of the document {name}: expected True, came False")
    expect_equal(first, again.documents.read(name), f"the document {name}")
    expect_refusal(
        SpaceMismatch, lambda: store.count(Space("nothing", "1", 2)), "a store whose only document is its state"
    )
