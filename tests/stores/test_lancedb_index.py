"""Whatever index LanceDB has built, the score of a hit is what the space's metric says."""

import lancedb
import numpy as np
import pytest
from lancedb import index as lance

from embridge.adapters import Identity, Linear, Provenance, Upgrade
from embridge.embeddings import Embeddings
from embridge.nearest import search
from embridge.query import MixedSearch
from embridge.space import Space
from embridge.stores import Condition, open_store

KINDS = {
    "IVF_FLAT": (lance.IvfFlat, {}),
    "IVF_SQ": (lance.IvfSq, {}),
    "IVF_PQ": (lance.IvfPq, {"num_sub_vectors": 4}),
    "IVF_RQ": (lance.IvfRq, {}),
    "HNSW_FLAT": (lance.HnswFlat, {}),
    "HNSW_PQ": (lance.HnswPq, {"num_sub_vectors": 4}),
    "HNSW_SQ": (lance.HnswSq, {}),
}
CODED = ("IVF_PQ", "HNSW_SQ")
ROWS, DIM, K = 300, 8, 10


def vectors(space, count=ROWS, *, seed=0, prefix=""):
    """Of all lengths, so that cosine and dot differ."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, space.dim)) * random.uniform(0.2, 5, (count, 1))
    return Embeddings.of(values.astype(np.float32), space, [f"{prefix}{row:04d}" for row in range(count)])


def built(path, rows, kind, *, metric=None, payload=None):
    """A store of those rows, and an index of that kind on their table."""
    store = open_store(path, create=True)
    store.add_space(rows.space)
    store.upsert(rows, payload)
    maker, settings = KINDS[kind]
    table = lancedb.connect(str(path)).open_table(f"space_{rows.space.id}")
    config = maker(distance_type=metric or rows.space.metric, num_partitions=1, **settings)
    table.create_index("vector", config=config)
    return store


def expect_exact_scores(hits, queries, rows):
    every = search(queries, rows, len(rows))
    for found, scores, ids, exact in zip(hits.ids, hits.scores, every.ids, every.scores, strict=True):
        score_of = dict(zip(ids, exact.tolist(), strict=True))
        assert scores[: len(found)].tolist() == [score_of[name] for name in found]
        assert (np.diff(scores[: len(found)]) <= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        *((kind, "cosine") for kind in sorted(KINDS)),
        *((kind, "dot") for kind in CODED),
        *((kind, "l2") for kind in CODED),
    ],
)
def test_scores_through_an_index_are_exact(tmp_path, kind, metric):
    space = Space("toy", "1", DIM, metric)
    rows, queries = vectors(space), vectors(space, 4, seed=1)
    number = [row % 50 for row in range(ROWS)]
    store = built(tmp_path / "store", rows, kind, payload={"number": number})
    assert not store.capabilities.exact
    assert store.capabilities.exact_scores
    expect_exact_scores(store.search(queries, K), queries, rows)
    whole = store.search(queries, 2 * ROWS)
    assert [len(set(ids)) for ids in whole.ids] == [ROWS] * 4, "k beyond the rows"
    expect_exact_scores(whole, queries, rows)

    met = store.search(queries, 6, filter=(Condition("number", "==", 7),))
    assert [set(ids) for ids in met.ids] == [{rows.ids[row] for row in range(7, ROWS, 50)}] * 4, "a filter, met first"
    expect_exact_scores(met, queries, rows)

    later = vectors(space, 30, seed=3, prefix="later ")
    store.upsert(later, {"number": [0] * 30})  # no index covers these
    both = Embeddings(rows.ids + later.ids, np.concatenate([rows.vectors, later.vectors]), space)
    every = store.search(later.take(range(4)), 2 * ROWS)
    assert [set(both.ids) - set(ids) for ids in every.ids] == [set()] * 4
    expect_exact_scores(every, later.take(range(4)), both)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*CODED, "IVF_RQ"])
def test_mixed_search_keeps_the_old_rows_beside_an_index(tmp_path, kind):
    """With 2 cos - 1 in the place of the cosine, a raw merge would put every old row behind the new ones."""
    old, new = Space("old", "1", DIM), Space("new", "1", DIM)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(DIM, DIM)))[0].astype(np.float32)
    gallery, queries = vectors(new), vectors(new, 6, seed=1)
    upgrade = Upgrade(Identity(new, new), Linear(new, old, rotation), Provenance("rotation"))
    stored = built(tmp_path / "old", upgrade.bridge(gallery), kind)
    renewed = gallery.take(range(0, ROWS, 2))
    fresh = built(tmp_path / "new", renewed, "IVF_FLAT")
    exact, done = search(queries, gallery, K), set(renewed.ids)

    def old_share(hits):
        return np.mean([name not in done for ids in hits.ids for name in ids])

    for merge, share in (("raw", old_share(exact)), ("rrf", 0.5)):
        mixed = MixedSearch(stored.search, fresh.search, upgrade, merge, backfilled=done.intersection)
        assert old_share(mixed.search(queries, K)) == pytest.approx(share, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "other"), [("cosine", "l2"), ("l2", "cosine"), ("dot", "cosine")])
def test_an_index_of_another_metric_is_passed_by(tmp_path, metric, other, capfd):
    space = Space("toy", "1", DIM, metric)
    rows, queries = vectors(space), vectors(space, 5, seed=1)
    store = built(tmp_path / "store", rows, "IVF_PQ", metric=other)
    assert store.capabilities.exact
    capfd.readouterr()
    found, exact = store.search(queries, K), search(queries, rows, K)
    assert found.ids == exact.ids
    np.testing.assert_array_equal(found.scores, exact.scores)
    assert capfd.readouterr().err == "", "LanceDB complains of every such query"


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_without_an_index_scores_are_those_of_exact_search(tmp_path, metric):
    """Small dots too, which vanish in LanceDB's 1 - dot."""
    space = Space("toy", "1", DIM, metric)
    rows = vectors(space)
    small = rows.with_vectors(rows.vectors * np.float32(1e-6), space)
    store = open_store(tmp_path / "store", create=True)
    store.add_space(space)
    store.upsert(small)
    found, exact = store.search(small.take(range(9)), K), search(small.take(range(9)), small, K)
    assert found.ids == exact.ids
    np.testing.assert_array_equal(found.scores, exact.scores)
