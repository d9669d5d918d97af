from math import comb
from types import SimpleNamespace

import numpy as np
import pytest

from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation import metrics
from embridge.evaluation.measures import FULL, MEASURES, measure
from embridge.evaluation.relevance import LabelRelevance, Relevance
from embridge.nearest import top_k

K = 10
EVERY = [f"{kind}_at_{k}" for kind in MEASURES for k in (1, 3, K)]
TRUTHS = pytest.mark.parametrize("kind", ["labels", "pairs"])


# ---- names


@pytest.mark.parametrize(
    ("name", "label", "k"),
    [
        ("recall_at_10", "R@10", 10),
        ("ndcg_exp_at_3", "nDCG exp@3", 3),
        ("map_min_at_5", "mAP min@5", 5),
        ("map", "mAP", 0),
    ],
)
def test_a_name_says_the_measure_and_its_k(name, label, k):
    made = measure(name)
    assert (made.name, made.label, made.k) == (name, label, k)


@pytest.mark.parametrize(
    "name", ["", "recall", "recall_at_", "recall_at_0", "recall_at_05", "map_at_-1", "precision_at_5"]
)
def test_unknown_measures_are_refused(name):
    with pytest.raises(
        SettingsError, match=f"there is no metric '{name}'.*recall_at_10.*and map over the whole gallery"
    ):
        measure(name)


def test_the_whole_gallery_is_not_measured_by_a_ranking():
    gains = np.ones((1, 3), np.float32)
    with pytest.raises(InvalidInput, match="k is at least 1, came 0"):
        measure(FULL).values(gains, np.array([3]), gains)


# ---- values


def world(kind, *, queries=60, items=200, dim=16, noise=0.8):
    """Vectors around one point a class, and who is right: the class, or graded pairs of which some are of the class."""
    generator = np.random.default_rng(0)
    classes = generator.normal(size=(12, dim))
    of_query, of_item = generator.integers(0, 12, queries), generator.integers(0, 12, items)
    sides = [classes[of] + noise * generator.normal(size=(len(of), dim)) for of in (of_query, of_item)]
    query_ids, item_ids = [f"q{i}" for i in range(queries)], [f"g{j}" for j in range(items)]
    if kind == "labels":
        named = (dict(zip(ids, map(str, of), strict=True)) for ids, of in ((query_ids, of_query), (item_ids, of_item)))
        relevance = LabelRelevance(*named)
    else:
        likely = np.where(of_query[:, None] == of_item, 0.3, 0.01)
        grades = generator.integers(1, 4, likely.shape) * (generator.random(likely.shape) < likely)
        relevance = Relevance.from_grades(
            (query_ids[i], item_ids[j], int(grades[i, j])) for i, j in zip(*np.nonzero(grades), strict=True)
        )
    vectors = [side.astype(np.float32) for side in sides]
    return SimpleNamespace(
        queries=vectors[0], gallery=vectors[1], relevance=relevance, query_ids=query_ids, item_ids=item_ids
    )


def of_rows(rows, of):
    """Every measure, a value a query, of rankings."""
    judged = of.relevance.judge(of.query_ids, of.item_ids)
    gains, ideal = judged.gains(rows), judged.ideal(rows.shape[1])
    return {name: measure(name).values(gains, judged.relevant, ideal) for name in EVERY}


def measured(of, *, metric="cosine", k=K):
    return of_rows(top_k(of.queries, of.gallery, k, metric=metric).rows, of)


def changed(of, **fields):
    return SimpleNamespace(**{**vars(of), **fields})


def assert_same(came, expected):
    for name in EVERY:
        np.testing.assert_array_equal(came[name], expected[name], err_msg=name)


@pytest.mark.slow
@TRUTHS
def test_every_measure_is_the_metric_it_says(kind):
    of = world(kind)
    judged = of.relevance.judge(of.query_ids, of.item_ids)
    gains, ideal = judged.gains(top_k(of.queries, of.gallery, K).rows), judged.ideal(K)
    count, zero = {"relevant": judged.relevant}, {"empty": "zero"}
    for k in (1, 3, K):
        expected = {
            "recall": metrics.recall_at_k(gains, k, rule="any", **count, **zero),
            "cmc": metrics.cmc_at_k(gains, k, **count, **zero),
            "recall_share": metrics.recall_at_k(gains, k, rule="share", **count, **zero),
            "mrr": metrics.mrr(gains, k, **count, **zero),
            "ndcg": metrics.ndcg_at_k(gains, k, ideal=ideal, growth="linear", **zero),
            "ndcg_exp": metrics.ndcg_at_k(gains, k, ideal=ideal, growth="exponential", **zero),
            "map": metrics.average_precision(gains, k, denominator="relevant", estimator="step", **count, **zero),
            "map_min": metrics.average_precision(
                gains, k, denominator="min(relevant, k)", estimator="step", **count, **zero
            ),
        }
        assert set(expected) == set(MEASURES)
        for name, values in expected.items():
            np.testing.assert_array_equal(measured(of)[f"{name}_at_{k}"], values)


@TRUTHS
def test_gallery_and_queries_may_be_permuted(kind):
    of, generator = world(kind), np.random.default_rng(1)
    expected = measured(of)
    order = generator.permutation(200)
    assert_same(measured(changed(of, gallery=of.gallery[order], item_ids=[of.item_ids[j] for j in order])), expected)
    order = generator.permutation(60)
    came = measured(changed(of, queries=of.queries[order], query_ids=[of.query_ids[i] for i in order]))
    assert_same(came, {name: values[order] for name, values in expected.items()})


@pytest.mark.slow
@TRUTHS
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_scores_may_be_scaled(kind, metric):
    of = world(kind)
    expected = measured(of, metric=metric)
    both = changed(of, queries=8 * of.queries, gallery=8 * of.gallery)
    assert_same(measured(both, metric=metric), expected)
    if metric != "l2":
        assert_same(measured(changed(of, queries=of.queries * np.float32(0.3)), metric=metric), expected)


@pytest.mark.slow
@TRUTHS
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_both_sides_may_be_rotated(kind, metric):
    of = world(kind)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))
    turned = changed(of, **{s: (getattr(of, s) @ rotation).astype(np.float32) for s in ("queries", "gallery")})
    assert_same(measured(turned, metric=metric), measured(of, metric=metric))
    one_side = changed(of, queries=turned.queries)
    assert measured(one_side, metric=metric)["map_at_10"].mean() < measured(of, metric=metric)["map_at_10"].mean() / 2


@TRUTHS
def test_duplicated_queries_count_as_the_first(kind):
    of = world(kind)
    twice = changed(of, queries=np.repeat(of.queries, 2, axis=0), query_ids=[i for i in of.query_ids for _ in range(2)])
    assert_same(measured(twice), {name: np.repeat(values, 2) for name, values in measured(of).items()})


def test_duplicated_rows_come_after_the_first():
    """By label a copy is right as the first is; by pair only the first is, and its rank doubles, less one."""
    copies = [f"copy of g{j}" for j in range(200)]
    of = world("labels")
    labels = {**of.relevance.gallery, **{f"copy of {name}": label for name, label in of.relevance.gallery.items()}}
    twice = changed(of, gallery=np.tile(of.gallery, (2, 1)), item_ids=of.item_ids + copies)
    by_label = changed(twice, relevance=LabelRelevance(of.relevance.queries, labels))
    came, expected = measured(by_label, k=20), measured(of)
    np.testing.assert_array_equal(came["recall_at_1"], expected["recall_at_1"])
    rows = [top_k(w.queries, w.gallery, k).rows for w, k in ((by_label, 20), (of, 10))]
    gains = [w.relevance.judge(w.query_ids, w.item_ids).gains(r) for w, r in zip((by_label, of), rows, strict=True)]
    np.testing.assert_array_equal(gains[0], np.repeat(gains[1], 2, axis=1))
    of = world("pairs")
    by_pair = changed(twice, relevance=of.relevance, queries=of.queries, gallery=np.tile(of.gallery, (2, 1)))
    hits = [
        metrics.first_hits(w.relevance.judge(w.query_ids, w.item_ids).gains(top_k(w.queries, w.gallery, k).rows))
        for w, k in ((by_pair, 20), (of, 10))
    ]
    np.testing.assert_array_equal(hits[0], np.where(hits[1] > 0, 2 * hits[1] - 1, 0))


# ---- chance and perfection


@pytest.mark.slow
@TRUTHS
def test_random_vectors_score_at_chance(kind):
    of = world(kind, queries=1_200, items=400)
    generator = np.random.default_rng(3)
    random = {"queries": (1_200, 32), "gallery": (400, 32)}
    of = changed(of, **{side: generator.normal(size=shape).astype(np.float32) for side, shape in random.items()})
    came = measured(of)
    by_lot = of_rows(np.argsort(generator.random((1_200, 400)), axis=1)[:, :K], of)
    for name in EVERY:
        error = (2 * by_lot[name].var() / 1_200) ** 0.5
        assert came[name].mean() == pytest.approx(by_lot[name].mean(), abs=4 * error), name
    relevant = of.relevance.judge(of.query_ids, of.item_ids).relevant
    for k in (1, 3, K):  # and from the hypergeometric distribution
        hit = np.mean([1 - comb(400 - r, k) / comb(400, k) for r in relevant.tolist()])
        assert came[f"recall_at_{k}"].mean() == pytest.approx(hit, abs=4 * (hit * (1 - hit) / 1_200) ** 0.5)
        share = (k / 400) * np.mean(relevant > 0)
        error = came[f"recall_share_at_{k}"].std() / 1_200**0.5
        assert came[f"recall_share_at_{k}"].mean() == pytest.approx(share, abs=4 * error)


def test_constant_vectors_do_not_score_above_chance():
    same, ids = np.ones((100, 8), np.float32), [str(i) for i in range(100)]
    one_to_one = Relevance.from_pairs(zip(ids, ids, strict=True))
    came = measured(SimpleNamespace(queries=same, gallery=same, relevance=one_to_one, query_ids=ids, item_ids=ids))
    for k in (1, 3, K):
        assert came[f"recall_at_{k}"].mean() == pytest.approx(k / 100)
        assert came[f"mrr_at_{k}"].mean() == pytest.approx(sum(1 / rank for rank in range(1, k + 1)) / 100)


@TRUTHS
def test_a_perfect_order_scores_one_and_its_reverse_nothing(kind):
    """Scores are the gains themselves."""
    of = world(kind, items=80)
    judged = of.relevance.judge(of.query_ids, of.item_ids)
    gains = judged.gains(np.tile(np.arange(80), (60, 1)))
    kept = (judged.relevant > 0) & (judged.relevant <= K)
    assert kept.sum() > 30
    perfect = changed(
        of,
        queries=np.eye(60, dtype=np.float32)[kept],
        gallery=np.ascontiguousarray(gains.T),
        query_ids=[name for name, keep in zip(of.query_ids, kept, strict=True) if keep],
    )
    short = np.minimum(np.array([1, 3, K])[:, None], judged.relevant[kept]) / judged.relevant[kept]
    came = measured(perfect, metric="dot")
    for name in EVERY:
        parted, k = name.startswith(("recall_share", "map_at")), int(name.rsplit("_", 1)[1])
        np.testing.assert_allclose(came[name], short[(1, 3, K).index(k)] if parted else 1.0, rtol=1e-12, err_msg=name)
        if k == K:
            np.testing.assert_allclose(came[name], 1.0, rtol=1e-12)
    worst = measured(changed(perfect, gallery=-perfect.gallery), metric="dot")
    assert not any(values.any() for values in worst.values())


# ---- degenerate input


@TRUTHS
def test_k_beyond_the_gallery_is_the_gallery(kind):
    of = world(kind, items=5)
    came = measured(of)
    judged = of.relevance.judge(of.query_ids, of.item_ids)
    right = judged.relevant > 0
    assert 0 < right.sum() < 60
    for name in ("recall_at_10", "recall_share_at_10"):
        np.testing.assert_array_equal(came[name], right.astype(float))
    for name in EVERY:  # a query with nothing relevant counts as failed
        assert not came[name][~right].any()


@TRUTHS
def test_one_query_is_measured_as_among_many(kind):
    of = world(kind)
    alone = changed(of, queries=of.queries[:1], query_ids=of.query_ids[:1])
    assert_same(measured(alone), {name: values[:1] for name, values in measured(of).items()})
