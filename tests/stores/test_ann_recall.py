import shutil

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lancedb.index import IvfFlat, IvfPq

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch, StoreError
from embridge.evaluation.statistics import bootstrap_mean
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores import MemoryStore, Store, open_store
from embridge.stores import ann_recall as module
from embridge.stores.ann_recall import ann_recall, draw_queries

SPACE = Space("toy", "1", 16)
METRICS = pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])


class Returning:
    """A real store whose answers were tampered with."""

    def __init__(self, store, answers):
        self.answers = answers
        for name in {name for name in vars(Store) if not name.startswith("_")} - {"search"}:
            setattr(self, name, getattr(store, name))

    def search(self, queries, k, *, filter=()):
        ids = tuple(tuple(self.answers[name])[:k] for name in queries.ids)
        return Hits(ids, np.zeros((len(ids), max(map(len, ids))), np.float32))


def rows(n, space=SPACE, *, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, space.dim)).astype(np.float32)
    return Embeddings(tuple(f"{i:06d}" for i in range(n)), vectors, space)


def held(embeddings):
    store = MemoryStore(embeddings.space)
    store.upsert(embeddings)
    return store


def named(vectors, space, names):
    return Embeddings.of(np.array(vectors, np.float32), space, list(names))


@pytest.fixture(params=["memory", "lancedb"])
def empty(request, tmp_path):
    def make(space):
        store = MemoryStore() if request.param == "memory" else open_store(tmp_path / "store", create=True)
        store.add_space(space)
        return store

    return make


@pytest.mark.slow
@METRICS
@pytest.mark.parametrize("one_set", [False, True])
@pytest.mark.parametrize("chunk_rows", [7, 1_000])
def test_an_exact_store_loses_nothing(empty, metric, one_set, chunk_rows, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_ROWS", chunk_rows)
    space = Space("toy", "1", 16, metric)
    store = empty(space)
    store.upsert(rows(60, space))
    queries = draw_queries(store, space, 20) if one_set else rows(20, space, seed=1)
    found = ann_recall(store, queries, 5, one_set=one_set)
    assert found.shares.tolist() == [1.0] * 20
    assert (found.mean.low, found.mean.value, found.mean.high) == (1.0, 1.0, 1.0)
    assert found.search_p50_milliseconds > 0


@pytest.mark.slow
@given(data=st.data(), metric=st.sampled_from(["cosine", "dot", "l2"]), one_set=st.booleans())
def test_shares_are_those_of_a_naive_count(data, metric, one_set):
    """Few values a vector, so that ties and zeros are everywhere."""
    space = Space("toy", "1", 2, metric)
    values = st.lists(st.tuples(*[st.integers(-1, 1)] * 2), min_size=3, max_size=12)
    vectors = np.array(data.draw(values.filter(lambda v: sum(map(any, v)) > 1)), np.float32)
    stored = named(vectors, space, map(str, range(len(vectors))))
    k = data.draw(st.integers(1, 5))
    queries = stored.take(np.flatnonzero(vectors.any(axis=1))[:3])
    answers = {name: data.draw(st.lists(st.sampled_from(stored.ids), unique=True)) for name in queries.ids}
    found = ann_recall(Returning(held(stored), answers), queries, k, one_set=one_set)
    for query, share in zip(queries.ids, found.shares, strict=True):
        scores = {name: score(queries, query, stored, name) for name in stored.ids if not (one_set and name == query)}
        rivals = {name: s for name, s in scores.items() if metric != "cosine" or vectors[int(name)].any()}
        wanted = min(k, len(rivals))
        least = sorted(rivals.values())[-wanted]
        returned = [name for name in answers[query][: k + one_set] if name in scores][:k]
        assert share == min(1, sum(scores[name] >= least - 1e-9 for name in returned) / wanted)


def score(queries, query, stored, name):
    x, y = queries.vectors[queries.ids.index(query)].astype(float), stored.vectors[stored.ids.index(name)].astype(float)
    if queries.space.metric == "l2":
        return -((x - y) ** 2).sum()
    lengths = np.linalg.norm(x) * np.linalg.norm(y) if queries.space.metric == "cosine" else 1
    return x @ y / lengths if lengths else 0.0


def test_any_of_the_items_that_tie_at_the_k_th_is_right():
    space = Space("toy", "1", 2, "l2")
    stored = named([[0, 0], [1, 0], [0, 1], [-1, 0], [5, 5]], space, "abcde")
    query = named([[0, 0]], space, "q")
    for second, share in (("b", 1.0), ("c", 1.0), ("d", 1.0), ("e", 0.5)):
        assert ann_recall(Returning(held(stored), {"q": ["a", second]}), query, 2).shares.tolist() == [share]


def test_what_is_missing_unknown_or_named_twice_is_not_right():
    space = Space("toy", "1", 2, "l2")
    stored = named([[0, 0], [1, 0], [2, 0], [3, 0]], space, "abcd")
    queries = named([[0, 0]] * 4, space, "qrst")
    answers = {"q": ["a"], "r": ["a", "gone"], "s": ["a", "a"], "t": []}
    found = ann_recall(Returning(held(stored), answers), queries, 2)
    assert found.shares.tolist() == [0.5, 0.5, 0.5, 0.0]
    assert found.mean == bootstrap_mean(found.shares, seed=0)
    assert found.to_dict() | {"search_p50_milliseconds": 0} == {
        "k": 2, "queries": 4, "recall": 0.375, "low": found.mean.low, "high": found.mean.high,
        "search_p50_milliseconds": 0,
    }  # fmt: skip


def test_a_row_left_out_makes_room_for_the_next():
    space = Space("toy", "1", 2, "l2")
    stored = named([[0, 0], [1, 0], [3, 0], [7, 0]], space, "abcd")
    full = {"a": ["a", "b", "c"], "d": ["d", "c", "b"]}
    assert ann_recall(Returning(held(stored), full), stored.take([0, 3]), 2, one_set=True).shares.tolist() == [1, 1]
    unaware = {"a": ["b", "c", "d"], "d": ["b", "a", "c"]}  # an index may even miss the row itself
    assert ann_recall(Returning(held(stored), unaware), stored.take([0, 3]), 2, one_set=True).shares.tolist() == [
        1,
        0.5,
    ]


@pytest.mark.slow
def test_rows_of_zeros_may_be_found_but_need_not(empty):
    space = Space("toy", "1", 2)
    store = empty(space)
    store.upsert(named([[1, 0], [0, 0], [-1, 0.1], [0, 0]], space, "abcd"))
    assert ann_recall(store, named([[1, 0], [0, 1]], space, "qr"), 2).shares.tolist() == [1, 1]
    assert ann_recall(store, named([[1, 0]], space, "q"), 4).shares.tolist() == [1]
    assert set(draw_queries(store, space, 10).ids) == {"a", "c"}


@pytest.mark.slow
@METRICS
def test_fewer_rows_than_k(empty, metric):
    space = Space("toy", "1", 16, metric)
    store = empty(space)
    store.upsert(rows(3, space))
    assert ann_recall(store, rows(2, space, seed=1), 10).shares.tolist() == [1, 1]
    assert ann_recall(store, draw_queries(store, space, 10), 10, one_set=True).shares.tolist() == [1, 1, 1]


@pytest.mark.slow
def test_drawn_queries_are_stored_rows_and_depend_on_the_seed_alone(empty, monkeypatch):
    store, stored = empty(SPACE), rows(500)
    store.upsert(stored)
    drawn = draw_queries(store, SPACE, 40)
    np.testing.assert_array_equal(drawn.vectors, stored.vectors[[int(i) for i in drawn.ids]])
    assert len(set(drawn.ids)) == 40
    assert set(draw_queries(store, SPACE, 40, seed=1).ids) != set(drawn.ids)
    monkeypatch.setattr(module, "_CHUNK_ROWS", 33)
    assert draw_queries(store, SPACE, 40).ids == drawn.ids
    assert sorted(draw_queries(store, SPACE, 900).ids) == list(stored.ids)


@pytest.mark.slow
def test_draws_are_even():
    store = held(rows(40))
    counts = np.zeros(40)
    for seed in range(400):
        counts[[int(i) for i in draw_queries(store, SPACE, 10, seed=seed).ids]] += 1
    assert np.abs(counts - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_what_cannot_be_measured_says_why(empty):
    store = empty(SPACE)
    with pytest.raises(InvalidInput, match="the store has no rows to find"):
        ann_recall(store, rows(2), 3)
    with pytest.raises(InvalidInput, match=r"no row of toy@1 .* can be a query"):
        draw_queries(store, SPACE, 3)
    store.upsert(rows(1))
    with pytest.raises(InvalidInput, match="the store has no rows to find"):
        ann_recall(store, rows(1), 3, one_set=True)
    with pytest.raises(InvalidInput, match=r"expected k >= 1 and at least one query, came k=0 and 1 queries"):
        ann_recall(store, rows(1), 0)
    with pytest.raises(InvalidInput, match="came k=3 and 0 queries"):
        ann_recall(store, rows(1).take([]), 3)
    zero = rows(2).with_vectors(np.stack([np.ones(16), np.zeros(16)]).astype(np.float32), SPACE)
    with pytest.raises(InvalidInput, match="1 queries are zeros, first row 1"):
        ann_recall(store, zero, 3)
    with pytest.raises(SpaceMismatch, match="search: came vectors of toy@2"):
        ann_recall(store, rows(1, Space("toy", "2", 16)), 3)


def test_progress_is_told():
    said = []
    ann_recall(held(rows(30)), rows(4, seed=1), 3, progress=lambda done, total, what: said.append((done, total, what)))
    assert said == [*((i, 4, "search by the store") for i in range(1, 5)), (30, 30, "exact search")]


@pytest.fixture
def lance(tmp_path):
    store = open_store(tmp_path / "store", create=True)
    store.add_space(SPACE)
    store.upsert(rows(3_000), {"number": list(range(3_000))})
    return store


def table_of(store, space=SPACE):
    return lancedb.connect(str(store.path)).open_table(f"space_{space.id}")


def recall(store):
    return ann_recall(store, rows(50, seed=1), 10).mean.value


@pytest.mark.slow
def test_a_crude_index_costs_recall_and_the_store_says_that_it_is_not_exact(lance):
    assert lance.capabilities.exact
    assert recall(lance) == 1.0
    table = table_of(lance)
    table.create_index("vector", config=IvfPq(distance_type="cosine", num_partitions=8, num_sub_vectors=1))
    assert not lance.capabilities.exact
    assert not open_store(lance.path).capabilities.exact
    assert 0 < recall(lance) < 0.8
    table.drop_index("vector_idx")
    assert lance.capabilities.exact
    assert recall(lance) == 1.0


@pytest.mark.slow
def test_an_index_on_a_second_space_counts_and_one_on_the_payload_does_not(lance):
    table_of(lance).create_scalar_index("id")
    table_of(lance).create_scalar_index("number")
    database = lancedb.connect(str(lance.path))
    photos = pa.FixedSizeListArray.from_arrays(pa.array(rows(300).vectors.reshape(-1)), 16)
    database.create_table("photos", pa.table({"vector": photos})).create_index("vector", config=IvfFlat())
    assert lance.capabilities.exact
    second = Space("toy", "2", 16)
    lance.add_space(second)
    lance.upsert(rows(300, second))
    table_of(lance, second).create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=2))
    assert not lance.capabilities.exact


def test_the_capabilities_of_a_store_whose_table_is_gone_are_a_store_error(lance):
    shutil.rmtree(lance.path / f"space_{SPACE.id}.lance")
    with pytest.raises(StoreError, match=rf"{lance.path} cannot be read: .*restore it from a copy"):
        _ = lance.capabilities
