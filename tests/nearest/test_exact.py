import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.nearest import rerank, search, top_k
from embridge.space import Space

METRICS = ("cosine", "dot", "l2")
ALL_METRICS = pytest.mark.parametrize("metric", METRICS)
ALL_ENGINES = pytest.mark.parametrize("engine", ["numpy", "faiss"])


def pair_score(x, y, metric):
    """One pair of vectors in float64, from the definition."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    if metric == "l2":
        return -float(((x - y) ** 2).sum())
    dot = float((x * y).sum())
    if metric == "dot":
        return dot
    norm = float(np.sqrt((x * x).sum()) * np.sqrt((y * y).sum()))
    return dot / norm if norm > 0 else 0.0


def naive(queries, gallery, k, metric):
    """Score every pair, then sort by score and row."""
    rows, scores = [], []
    for query in queries:
        scored = sorted((-pair_score(query, row, metric), i) for i, row in enumerate(gallery))[:k]
        rows.append([i for _, i in scored])
        scores.append([-s for s, _ in scored])
    shape = (len(queries), min(k, len(gallery)))
    return np.array(rows, np.int64).reshape(shape), np.array(scores).reshape(shape)


def assert_exact(queries, gallery, k, metric, engine="numpy"):
    """Equal to the naive answer, where rounding in float64 may not change the order of unequal pairs."""
    came = top_k(queries, gallery, k, metric=metric, engine=engine)
    rows, scores = naive(queries, gallery, k, metric)
    np.testing.assert_allclose(came.scores, scores, rtol=1e-6, atol=1e-6)
    if metric != "cosine":  # sums of products of small whole numbers are exact
        np.testing.assert_array_equal(came.rows, rows)
        return
    for i, query in enumerate(queries):
        of_rows = [pair_score(query, gallery[j], metric) for j in came.rows[i]]
        np.testing.assert_allclose(of_rows, scores[i], atol=1e-12)
        for before, after in zip(came.rows[i], came.rows[i][1:], strict=False):
            assert before < after or not np.array_equal(gallery[before], gallery[after])


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.slow
@settings(max_examples=200)
@given(
    st.integers(0, 6),
    st.integers(1, 60),
    st.integers(1, 12),
    st.integers(1, 70),
    st.integers(0, 3),
    st.sampled_from(METRICS),
    st.sampled_from(["numpy", "faiss"]),
    st.integers(0, 2**32 - 1),
)
@example(3, 50, 4, 10, 0, "cosine", "numpy", 0)
@example(3, 50, 4, 10, 0, "l2", "faiss", 0)
def test_small_whole_numbers_with_many_ties(q, n, d, k, largest, metric, engine, seed):
    rng = np.random.default_rng(seed)
    queries, gallery = (rng.integers(-largest, largest + 1, size=(m, d)).astype(np.float32) for m in (q, n))
    assert_exact(queries, gallery, k, metric, engine)


@pytest.mark.slow
@ALL_METRICS
@ALL_ENGINES
@pytest.mark.parametrize(("q", "n", "d", "k"), [(1, 1, 1, 1), (3, 500, 33, 10), (7, 300, 512, 100), (2, 40, 3, 40)])
def test_random_vectors(metric, engine, q, n, d, k):
    queries, gallery = normal(q, d, 1), normal(n, d)
    came = top_k(queries, gallery, k, metric=metric, engine=engine)
    rows, scores = naive(queries, gallery, k, metric)
    np.testing.assert_array_equal(came.rows, rows)
    np.testing.assert_allclose(came.scores, scores, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@ALL_METRICS
@ALL_ENGINES
def test_equal_rows_come_in_order_however_many_they_are(metric, engine):
    queries = normal(3, 24, 1)
    gallery = np.repeat(normal(1, 24), 5_000, axis=0)
    came = top_k(queries, gallery, 40, metric=metric, engine=engine)
    np.testing.assert_array_equal(came.rows, np.tile(np.arange(40), (3, 1)))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@ALL_ENGINES
def test_duplicates_far_apart_come_in_order(metric, engine):
    gallery = normal(6_000, 48)
    for place in (17, 2_047, 2_048, 5_999):
        gallery[place] = gallery[3]
    came = top_k(gallery[3:4], gallery, 5, metric=metric, engine=engine)
    assert came.rows.tolist() == [[3, 17, 2_047, 2_048, 5_999]]
    np.testing.assert_array_equal(came.scores, np.repeat(came.scores[:, :1], 5, axis=1))


@pytest.mark.slow
@ALL_METRICS
@ALL_ENGINES
def test_large_galleries_agree_with_a_float64_matrix(metric, engine):
    queries, gallery = normal(20, 40, 1), normal(9_000, 40)
    wide, rows = queries.astype(np.float64), gallery.astype(np.float64)
    scores = wide @ rows.T
    if metric == "cosine":
        scores /= np.linalg.norm(wide, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
    if metric == "l2":
        scores = 2 * scores - (rows**2).sum(1) - (wide**2).sum(1)[:, None]
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :100]
    np.testing.assert_array_equal(top_k(queries, gallery, 100, metric=metric, engine=engine).rows, expected)


@ALL_METRICS
def test_faiss_answers_as_numpy_does_in_galleries_of_several_of_its_blocks(metric):
    queries, gallery = normal(5, 4, 1), normal(140_000, 4)
    gallery[135_000:] = gallery[:5_000]
    expected, came = (top_k(queries, gallery, 30, metric=metric, engine=engine) for engine in ("numpy", "faiss"))
    np.testing.assert_array_equal(came.rows, expected.rows)
    np.testing.assert_array_equal(came.scores, expected.scores)
    assert expected.rows.max() > 70_000


@ALL_METRICS
def test_a_batch_is_its_queries_one_by_one(metric):
    queries, gallery = normal(40, 32, 1), normal(3_000, 32)
    gallery[1_000:2_000] = gallery[:1_000]
    whole = top_k(queries, gallery, 30, metric=metric)
    for i in range(0, 40, 7):
        alone = top_k(queries[i : i + 1], gallery, 30, metric=metric)
        np.testing.assert_array_equal(alone.rows[0], whole.rows[i])
        np.testing.assert_array_equal(alone.scores[0], whole.scores[i])


@ALL_METRICS
@ALL_ENGINES
def test_zeros(metric, engine):
    gallery = normal(50, 8)
    gallery[[4, 30]] = 0
    queries = np.concatenate([np.zeros((1, 8), np.float32), normal(2, 8, 1)])
    came = top_k(queries, gallery, 50, metric=metric, engine=engine)
    rows, scores = naive(queries, gallery, 50, metric)
    np.testing.assert_array_equal(came.rows, rows)
    np.testing.assert_allclose(came.scores, scores, rtol=1e-6, atol=1e-6)
    if metric != "l2":
        assert came.rows[0].tolist() == list(range(50))
        assert not came.scores[0].any()


@ALL_ENGINES
@pytest.mark.parametrize("power", [-36, -20, 15, 18])
def test_cosine_ignores_lengths_however_extreme(power, engine):
    queries, gallery = normal(3, 16, 1), normal(200, 16)
    expected = top_k(queries, gallery, 10)
    factors = np.where(np.arange(200) % 2, 1, np.float32(10.0) ** power).astype(np.float32)[:, None]
    came = top_k(queries, gallery * factors, 10, engine=engine)
    np.testing.assert_array_equal(came.rows, expected.rows)
    np.testing.assert_allclose(came.scores, expected.scores, atol=1e-6)


@ALL_ENGINES
def test_distances_far_from_the_origin_are_exact(engine):
    queries, gallery = normal(5, 16, 1) + 1_000, normal(800, 16) + 1_000
    rows, scores = naive(queries, gallery, 10, "l2")
    came = top_k(queries, gallery, 10, metric="l2", engine=engine)
    np.testing.assert_array_equal(came.rows, rows)
    np.testing.assert_allclose(came.scores, scores, rtol=1e-6)


@pytest.mark.slow
@ALL_METRICS
@ALL_ENGINES
@pytest.mark.parametrize("rising", [True, False])
def test_many_queries_where_each_row_is_better_or_worse_than_the_one_before(metric, engine, rising):
    queries = np.abs(normal(2_100, 6, 1))
    gallery = normal(1_300, 6)
    gallery = gallery[np.argsort((gallery if rising else -gallery) @ queries.mean(axis=0))]
    came = top_k(queries, gallery, 12, metric=metric, engine=engine)
    for i in (0, 1_023, 1_024, 2_047, 2_048, 2_099):
        rows, scores = naive(queries[i : i + 1], gallery, 12, metric)
        np.testing.assert_array_equal(came.rows[i], rows[0])
        np.testing.assert_allclose(came.scores[i], scores[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("metric", ["dot", "l2"])
@ALL_ENGINES
def test_products_beyond_float32_are_settled_in_float64(metric, engine):
    queries, gallery = normal(3, 16, 1), normal(15, 16)  # few enough that all are candidates
    queries *= np.float32(1e19)
    gallery[::2] *= np.float32(1e20)
    came = top_k(queries, gallery, 10, metric=metric, engine=engine)
    rows, _ = naive(queries, gallery, 10, metric)
    np.testing.assert_array_equal(came.rows, rows)


@ALL_METRICS
def test_k_beyond_the_gallery_gives_all_of_it(metric):
    came = top_k(normal(4, 5, 1), normal(7, 5), 1_000, metric=metric)
    assert came.rows.shape == came.scores.shape == (4, 7)
    np.testing.assert_array_equal(np.sort(came.rows), np.tile(np.arange(7), (4, 1)))


def test_no_queries_give_no_answers():
    came = top_k(normal(0, 5), normal(7, 5), 3)
    assert (came.rows.shape, came.rows.dtype, came.scores.dtype) == ((0, 3), np.int64, np.float32)


@ALL_METRICS
@ALL_ENGINES
def test_memory_maps_views_and_read_only_arrays(tmp_path, metric, engine):
    gallery, queries = normal(500, 16), normal(6, 16, 1)
    np.save(tmp_path / "g.npy", gallery)
    expected = top_k(queries, gallery, 9, metric=metric)
    wide = np.zeros((500, 32), np.float32)
    wide[:, ::2] = gallery
    for given_gallery in (np.load(tmp_path / "g.npy", mmap_mode="r"), wide[:, ::2], np.asfortranarray(gallery)):
        came = top_k(np.asfortranarray(queries), given_gallery, 9, metric=metric, engine=engine)
        np.testing.assert_array_equal(came.rows, expected.rows)
        np.testing.assert_array_equal(came.scores, expected.scores)


@pytest.mark.slow
@ALL_METRICS
def test_memory_is_bounded(tmp_path, metric):
    np.save(tmp_path / "g.npy", normal(100_000, 16))
    gallery, queries = np.load(tmp_path / "g.npy", mmap_mode="r"), normal(500, 16, 1)
    tracemalloc.start()
    try:
        came = top_k(queries, gallery, 10, metric=metric)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert came.rows.shape == (500, 10)
    assert peak_bytes < 48 << 20  # all scores at once would be 200 MB


def test_search_gives_ids_and_demands_one_space():
    space, other = Space("toy", "1", 4, "l2"), Space("toy", "2", 4, "l2")
    gallery = Embeddings.of(normal(6, 4), space, [f"g{i}" for i in range(6)])
    queries = Embeddings.of(normal(2, 4, 1), space)
    hits, ranking = search(queries, gallery, 3), top_k(queries.vectors, gallery.vectors, 3, metric="l2")
    assert hits.ids == tuple(tuple(f"g{j}" for j in row) for row in ranking.rows)
    np.testing.assert_array_equal(hits.scores, ranking.scores)
    with pytest.raises(SpaceMismatch, match="the queries: expected vectors of toy@1"):
        search(Embeddings.of(normal(2, 4, 1), other), gallery, 3)


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("d", "n", "k", "message"),
    [
        (4, 3, 0, "came k=0"),
        (4, 3, -1, "came k=-1"),
        (4, 0, 1, "and 0 rows"),
        (5, 3, 1, r"float32 \(2, 5\) and float32 \(3, 4\)"),
    ],
)
def test_what_cannot_be_searched_is_refused(d, n, k, message):
    with pytest.raises(InvalidInput, match=message):
        top_k(normal(2, d), normal(n, 4), k)


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("unknown", [{"metric": "euclidean"}, {"engine": "annoy"}])
def test_an_unknown_metric_or_engine_is_refused(unknown):
    with pytest.raises(InvalidInput, match=f"came .*{next(iter(unknown.values()))}"):
        top_k(normal(2, 4), normal(3, 4), 1, **unknown)


@ALL_METRICS
def test_candidates_are_ranked_as_a_search_among_them_alone(metric):
    generator = np.random.default_rng(0)
    gallery = generator.integers(-2, 3, (60, 3)).astype(np.float32)  # many equal scores, and rows of zeros
    queries = generator.integers(-2, 3, (40, 3)).astype(np.float32)
    candidates = np.stack([generator.permutation(60)[:20] for _ in queries])
    made = rerank(queries, gallery, candidates, 7, metric=metric)
    for i, rows in enumerate(np.sort(candidates, axis=1)):
        alone = top_k(queries[i : i + 1], gallery[rows], 7, metric=metric)
        assert made.rows[i].tolist() == rows[alone.rows[0]].tolist()
        assert made.scores[i].tobytes() == alone.scores[0].tobytes()
    assert rerank(queries, gallery, candidates, 30, metric=metric).rows.shape == (40, 20)
    assert rerank(queries[:0], gallery, candidates[:0], 5, metric=metric).rows.shape == (0, 5)
