"""The contract of stores."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.nearest import Hits, top_k
from embridge.space import Space
from embridge.stores.base import Store
from embridge.stores.memory import MemoryStore
from embridge.testing._expect import expect, expect_close, expect_equal, expect_refusal
from embridge.testing._store_payload import check_columns, check_filters, check_names, check_values
from embridge.testing._store_rows import (
    check_deleting,
    check_documents,
    check_reading,
    check_two_spaces,
    expect_vectors,
    vectors_of,
)

__all__ = ["MakeStore", "check_store"]

MakeStore = Callable[[Sequence[Space], Path], Store]
"""Gives the store kept at a location (a folder that need not exist), empty where nothing was kept, with the spaces."""

_ROWS, _DIM, _K = 40, 6, 5
_COSINE, _DOT, _L2 = (Space("contract", "1", _DIM, metric) for metric in ("cosine", "dot", "l2"))
_ABILITIES = (("exact_scores", "scores"), ("payload", "payload"), ("filter", "filters"), ("persistent", "reopening"))
_QUOTES = "it's 'quoted' \"twice\"; -- \\ % _"


def check_store(make_store: MakeStore) -> list[str]:
    """Assert the contract of `embridge.stores.Store`.

    - adding a space twice is adding it once; rows and queries of a space that was not added are refused with
      `SpaceMismatch`, also at the same dim;
    - writing twice is writing once, and replaces rows of the same id; ``count`` and ``payload`` follow;
    - ``scan`` and ``raw`` give every row once, in parts; ``ids`` pages in order; ``fetch`` leaves out what is not there;
    - vectors of two spaces stand side by side: ``missing`` lists what a backfill has to do, ``drop_space`` ends one;
    - deleted rows are gone from all spaces;
    - ``swap_state`` lets exactly one of two writers win, which every client sees;
    - ``search`` equals the exact `MemoryStore` for all metrics (nine of ten hits, where not exact), gives fewer hits
      where there are fewer rows, and none without rows; the score of a hit is what the metric says; rows of one score
      come in order of id, and zeros are not found under cosine;
    - payload values come back as they were, by id and in a scan: text of any characters, numbers of 64 bits, and None;
      columns may begin with None; what is none of these, and a value of another kind than its column's, is refused with
      `InvalidInput`;
    - every filter operator selects what it selects in `MemoryStore`: rows without a value meet no condition;
    - columns that other rows lack, filters on unknown columns, unknown ids, k and limit below 1 are refused with
      `InvalidInput`, and the rows stand.

    Args:
        make_store: Called with spaces and a location (see `MakeStore`). A persistent store that is asked for the same
            location again must hold what was written.

    Returns:
        What was skipped because the store's ``capabilities`` say that it cannot do it.

    Raises:
        AssertionError: It does something else; the message says what was expected and what came.

    Examples:
        >>> check_store(lambda spaces, location: MemoryStore(*spaces))
        ['reopening: capabilities.persistent is False']
    """
    with tempfile.TemporaryDirectory() as folder:
        locations = (Path(folder) / str(i) for i in range(1_000))
        _check_spaces(make_store([_COSINE], next(locations)))
        _check_writing(make_store([_COSINE], next(locations)))
        for check in (check_reading, check_two_spaces, check_deleting):
            check(make_store([_COSINE], next(locations)), _COSINE)
        _check_refusals(make_store([_COSINE], next(locations)))
        for space in (_COSINE, _DOT, _L2):
            _check_search(make_store([space], next(locations)), space)
            _check_ties(make_store([space], next(locations)), space)
        able = make_store([], next(locations)).capabilities
        for check in (check_values, check_columns, check_names) if able.payload else ():
            check(make_store([_COSINE], next(locations)), _COSINE)
        location = next(locations)
        check_documents(make_store([], location), (lambda: make_store([], location)) if able.persistent else None)
        if able.filter:
            check_filters(make_store([_COSINE], next(locations)), _COSINE, _expect_hits)
        if able.persistent:
            _check_reopening(make_store, next(locations))
    return [f"{what}: capabilities.{name} is False" for name, what in _ABILITIES if not getattr(able, name)]


def _rows(space: Space = _COSINE, *, seed: int = 0) -> Embeddings:
    """Rows whose ids are neither in order nor plain."""
    vectors = np.random.default_rng(seed).normal(size=(_ROWS, space.dim)).astype(np.float32)
    return Embeddings(tuple(f"it's row {(7 * i) % _ROWS} ü" for i in range(_ROWS)), vectors, space)


def _payload() -> dict[str, list[Any]]:
    kinds = [_QUOTES, "plain", "other", ""]
    return {
        "kind": [kinds[i % 4] for i in range(_ROWS)],
        "number": list(range(_ROWS)),
        "fraction": [i / _ROWS for i in range(_ROWS)],
        "flag": [i % 3 == 0 for i in range(_ROWS)],
    }


def _check_spaces(store: Store) -> None:
    store.add_space(_COSINE)
    expect_equal([_COSINE], store.spaces(), "spaces after adding one twice")
    other = replace(_COSINE, revision="2")
    store.upsert(_rows())
    store.add_space(_COSINE)
    expect_equal(_ROWS, store.count(_COSINE), "count after adding the space again")
    rows = _rows(other)
    for what, call in {
        "upsert": lambda: store.upsert(rows),
        "search": lambda: store.search(rows, 1),
        "scan": lambda: list(store.scan(other)),
        "count": lambda: store.count(other),
        "payload": lambda: store.payload(other, list(rows.ids[:1])),
    }.items():
        expect_refusal(SpaceMismatch, call, f"{what} with another space of the same dim")
    store.add_space(other)
    expect_equal({_COSINE, other}, set(store.spaces()), "spaces after adding a second")
    store.upsert(rows.take([0]))
    expect_equal((_ROWS, 1), (store.count(_COSINE), store.count(other)), "counts of two spaces")


def _check_writing(store: Store) -> None:
    rows, payload = _rows(), _payload()
    expect_equal(0, store.count(_COSINE), "count of a new store")
    changed = _rows(seed=1).take([4, 2])
    for part, rows_of_part in ((rows.take([]), 0), (rows, _ROWS), (rows, _ROWS), (changed, 2)):
        values = {name: column[:rows_of_part] for name, column in payload.items()}
        store.upsert(part, values if store.capabilities.payload and rows_of_part else None)
    expect_equal(_ROWS, store.count(_COSINE), "count after writing the same rows twice and replacing two")
    expected = {
        **dict(zip(rows.ids, rows.vectors, strict=True)),
        **dict(zip(changed.ids, changed.vectors, strict=True)),
    }
    written = {name: vector.tobytes() for name, vector in expected.items()}
    expect_vectors(store, written, vectors_of(store.scan(_COSINE)), "a scan")
    if not store.capabilities.payload:
        return
    expect_equal([0, 1], store.payload(_COSINE, list(changed.ids))["number"], "payload of replaced rows")
    others = [name for name in rows.ids[::-1] if name not in changed.ids]
    row_of = {name: row for row, name in enumerate(rows.ids)}
    read = {name: [values[row_of[one]] for one in others] for name, values in payload.items()}
    expect_equal(read, store.payload(_COSINE, others), "payload in the order asked for")


def _check_refusals(store: Store) -> None:
    rows, numbers = _rows(), {"number": list(range(_ROWS))}
    store.upsert(rows, numbers if store.capabilities.payload else None)
    refused = {
        "search with k = 0": lambda: store.search(rows, 0),
        "payload of an unknown id": lambda: store.payload(_COSINE, ["nobody"]),
        "payload with a column that other rows lack": lambda: store.upsert(rows, numbers | {"unknown": [0] * _ROWS}),
    }
    if store.capabilities.payload:
        refused["payload of another length"] = lambda: store.upsert(rows, {"number": [1]})
        if not store.capabilities.shared_rows:
            refused["payload without a column that other rows have"] = lambda: store.upsert(rows)
    for what, call in refused.items():
        expect_refusal(InvalidInput, call, what)
    expect_equal(_ROWS, store.count(_COSINE), "count after refused writes")
    if store.capabilities.payload:
        expect_equal(numbers, store.payload(_COSINE, list(rows.ids)), "payload after refused writes")


def _check_search(store: Store, space: Space) -> None:
    queries = _rows(space, seed=2).take(range(8))
    for hits in (store.search(queries, _K), store.search(queries.take([]), _K)):
        expect(not any(hits.ids), f"search of no rows: expected no hits, came {hits.ids}")
    reference = MemoryStore(space)
    for each in (reference, store):
        each.upsert(_rows(space))
    exact, what = store.capabilities.exact, f"search by {space.metric}"
    for k in (_K, 10 * _ROWS):
        expected, actual = (each.search(queries, k) for each in (reference, store))
        _expect_hits(expected, actual, f"{what}, k = {k}", exact=exact)
        if store.capabilities.exact_scores:
            _expect_scores(queries, actual, what)


def _expect_scores(queries: Embeddings, hits: Hits, what: str) -> None:
    """Whatever rows were found, their scores are what the metric says."""
    stored = _rows(queries.space)
    row_of = {name: row for row, name in enumerate(stored.ids)}
    for i, ids in enumerate(hits.ids):
        rows = stored.vectors[[row_of[name] for name in ids]]
        one = top_k(queries.vectors[[i]], rows, len(ids), metric=queries.space.metric)
        exact = one.scores[0][np.argsort(one.rows[0])]
        expect_close(exact, hits.scores[i, : len(ids)], f"{what}: scores of the hits", tolerance=1e-4)


def _check_ties(store: Store, space: Space) -> None:
    """Rows of one score in order of id, wherever k cuts; zeros have no direction."""
    vectors = np.zeros((_ROWS, space.dim), np.float32)
    vectors[:-1, 0] = 1
    rows = _rows(space).with_vectors(vectors, space)
    store.upsert(rows)
    alike, query = sorted(rows.ids[:-1]), rows.take([0])
    hits = store.search(rows.take([0, _ROWS - 1]), _K)
    if store.capabilities.exact:
        expect_equal(tuple(alike[:_K]), hits.ids[0], f"search by {space.metric}: rows of one score")
    if space.metric == "cosine":
        expect_equal((), hits.ids[1], "search by cosine for zeros")
        missing = set(alike) - set(store.search(query, 2 * _ROWS).ids[0])
        expect(not missing or not store.capabilities.exact, f"search by cosine: rows not found: {sorted(missing)}")
        expect(rows.ids[-1] not in store.search(query, 2 * _ROWS).ids[0], "search by cosine: a row of zeros was found")


def _expect_hits(expected: Hits, actual: Hits, what: str, *, exact: bool = True) -> None:
    """The same ids and scores; ids may change places where their scores are equal to rounding."""
    expect_equal(len(expected.ids), len(actual.ids), f"{what}: number of answers")
    same = sum(len(set(a) & set(b)) for a, b in zip(expected.ids, actual.ids, strict=True))
    total = sum(map(len, expected.ids))
    if not exact:
        expect(same >= 0.9 * total, f"{what}: expected nine tenths of {total} exact hits, came {same}")
        return
    expect_close(expected.scores, actual.scores, f"{what}: scores", tolerance=1e-4)
    for a, b, scores in zip(expected.ids, actual.ids, expected.scores, strict=True):
        score_of = dict(zip(a, scores, strict=True))
        moved = [y for x, y in zip(a, b, strict=True) if abs(score_of[x] - score_of.get(y, np.inf)) > 1e-4]
        expect(not moved, f"{what}: expected {a}, came {b}; out of place: {moved}")


def _check_reopening(make_store: MakeStore, location: Path) -> None:
    second = replace(_COSINE, revision="2")
    store = make_store([_COSINE, second], location)
    rows, payload = _rows(), _payload() if store.capabilities.payload else None
    store.upsert(rows, payload)
    again = make_store([], location)
    expect_equal({_COSINE, second}, set(again.spaces()), "spaces after reopening")
    expect_equal((_ROWS, 0), (again.count(_COSINE), again.count(second)), "counts after reopening")
    if payload is not None:
        expect_equal(payload, again.payload(_COSINE, list(rows.ids)), "payload after reopening")
    again.upsert(rows, payload)
    expect_equal(_ROWS, again.count(_COSINE), "count after writing to the reopened store")
    queries = _rows(seed=2).take(range(3))
    _expect_hits(store.search(queries, _K), again.search(queries, _K), "search after reopening")
