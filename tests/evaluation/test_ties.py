"""Equal scores: every figure is the mean over all orders of the gallery, which is what a figure by row depends on."""

from itertools import permutations

import numpy as np
import pytest

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Prefix, Provenance
from embridge.evaluation import Cell, LabelRelevance, Mixed, Relevance, Report, Scope, Side, Task, evaluate
from embridge.evaluation.cells import Bench
from embridge.evaluation.full_ranking import full_average_precision
from embridge.evaluation.measures import measure
from embridge.evaluation.one_set import own_rows
from embridge.evaluation.report_files import load_report, save_report
from embridge.evaluation.retrieve import Retrieved, retrieve
from embridge.evaluation.ties import Searched
from embridge.nearest import top_k
from embridge.nearest.ties import rows_of_score, tie_keys

KINDS = ("recall", "recall_share", "mrr", "map", "map_min", "ndcg", "ndcg_exp")
ITEMS, QUERIES = 4, 6
IDS = [f"item {i}" for i in range(ITEMS)]


def small(metric, seed, *, own):
    """Vectors of few numbers, so that many scores are equal; the last queries are items of the gallery where asked for."""
    draw = np.random.default_rng(seed)
    items, queries = (draw.integers(-1, 2, size=(n, 2)).astype(np.float32) for n in (ITEMS, QUERIES))
    names = [f"query {i}" for i in range(QUERIES)]
    if own:
        queries[-3:], names[-3:] = items[:3], IDS[:3]
    grades = [(q, i, int(g)) for q in names for i, g in zip(IDS, draw.integers(0, 4, ITEMS), strict=True) if q != i]
    space = Space(f"{metric} {seed}", "1", 2, metric)
    return Embeddings.of(queries, space, names), Embeddings.of(items, space, IDS), Relevance.from_grades(grades)


def figures(found, judged, k, *, expected):
    """Every metric of every query, by the order of the hits or as an expectation."""
    gains = judged.gains(found.ranking.rows)
    ties = found.ties if expected else None
    return [
        measure(f"{kind}_at_{k}").values(gains, judged.relevant, judged.ideal(gains.shape[1]), ties) for kind in KINDS
    ]


def mean_over_orders(gallery, figure):
    return np.mean([figure(gallery.take(order), np.array(order)) for order in permutations(range(ITEMS))], axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_figures_are_the_mean_over_all_orders_of_the_gallery(metric, own):
    queries, gallery, relevance = small(metric, 1, own=own)

    def searched(rows):
        judged = relevance.judge(queries.ids, rows.ids, one_set=own)
        return judged, Searched(judged, own_rows(queries, rows) if own else None)

    for k in (1, 3, 9):

        def by_row(rows, order, k=k):
            judged, among = searched(rows)
            return figures(retrieve(Side(queries, rows), k, among), judged, k, expected=False)

        judged, among = searched(gallery)
        found = retrieve(Side(queries, gallery), k, among)
        assert found.ties is not None
        np.testing.assert_allclose(
            figures(found, judged, k, expected=True), mean_over_orders(gallery, by_row), atol=1e-12
        )


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_average_precision_of_whole_rankings_is_the_mean_over_all_orders(metric):
    queries, gallery, relevance = small(metric, 2, own=True)

    def whole(rows):
        judged, own = relevance.judge(queries.ids, rows.ids, one_set=True), own_rows(queries, rows)
        return full_average_precision(queries, rows, judged, own=own), retrieve(
            Side(queries, rows), ITEMS, Searched(judged, own)
        )

    def by_row(rows, order):
        judged = relevance.judge(queries.ids, rows.ids, one_set=True)
        return figures(whole(rows)[1], judged, ITEMS, expected=False)[KINDS.index("map")]

    np.testing.assert_allclose(whole(gallery)[0], mean_over_orders(gallery, by_row), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["raw", "rrf"])
def test_a_gallery_in_two_parts_is_the_mean_over_all_orders(merge):
    queries, gallery, relevance = small("dot", 3, own=True)
    bridged = [rows.with_vectors(rows.vectors[:, ::-1].copy(), rows.space) for rows in (queries, gallery)]
    done = np.array([True, False, True, False])

    def search(order, *, expected):
        rows, other = gallery.take(order), bridged[1].take(order)
        judged, own = relevance.judge(queries.ids, rows.ids, one_set=True), own_rows(queries, rows)
        mixed = Mixed(Side(queries, rows), Side(bridged[0], other), own, merge=merge)
        return figures(mixed.search(done[np.array(order)], 2, judged), judged, 2, expected=expected)

    means = np.mean([search(order, expected=False) for order in permutations(range(ITEMS))], axis=0)
    np.testing.assert_allclose(search(range(ITEMS), expected=True), means, atol=1e-12)


def cascade_bench(gallery, queries):
    new = Space("new", "1", 2, "dot")
    upgrade = Upgrade(Identity(new, new), Prefix(new, gallery.space), Provenance("known"))
    swapped = [rows.with_vectors(rows.vectors[:, ::-1].copy(), new) for rows in (queries, gallery)]
    return Bench(Side(queries, gallery), Side(*swapped), upgrade)


@pytest.mark.slow
@pytest.mark.parametrize("items", [3, ITEMS])
def test_a_cascade_is_the_mean_over_all_orders(items):
    """Equal scores of the new model keep the bridge's order; which of the bridge's equals are looked at is drawn."""
    queries, gallery, relevance = small("dot", 4, own=False)

    def search(rows, order, *, expected, seed=0):
        judged = relevance.judge(queries.ids, rows.ids)
        found = cascade_bench(rows, queries).cascade(items, 2, judged, seed=seed)
        return figures(found, judged, 2, expected=expected)

    means = mean_over_orders(gallery, lambda rows, order: search(rows, order, expected=False))
    seeds = range(60) if items < ITEMS else range(1)
    expected = np.mean([search(gallery, None, expected=True, seed=seed) for seed in seeds], axis=0)
    np.testing.assert_allclose(expected, means, atol=0.15 if items < ITEMS else 1e-12)


JUDGED = {
    "pairs": lambda ids, right: Relevance.from_pairs([(f"q{i}", ids[j]) for i, j in enumerate(right)]),
    "labels": lambda ids, right: LabelRelevance(
        {f"q{i}": ids[j] for i, j in enumerate(right)}, {name: name for name in ids}
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("judged", sorted(JUDGED))
def test_a_model_that_gives_one_vector_to_everything_scores_at_chance(judged):
    """The right items stand first in the gallery, where a ranking by row would find them all."""
    n, draw = 300, np.random.default_rng(0)
    ids, right = [f"d{i:03}" for i in range(n)], np.arange(10)
    old, new = Space("old", "1", 4), Space("new", "1", 4)
    alike, better = np.ones((n, 4), np.float32), draw.normal(size=(n, 4)).astype(np.float32)
    names = [f"q{i}" for i in range(len(right))]
    sides = [
        Side(Embeddings.of(v[right], space, names), Embeddings.of(v, space, ids))
        for v, space in ((alike, old), (better, new))
    ]
    upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("known"))
    metrics = ["recall_at_10", "mrr_at_10", "ndcg_at_10"]
    scope = Scope(metrics=metrics, directions=[""], cells=["cascade"], cascade_items=30)
    report = evaluate(*sides, upgrade, JUDGED[judged](ids, right), scope=scope)
    chance = {
        "recall_at_10": 10 / n,
        "mrr_at_10": (1 / np.arange(1, 11)).sum() / n,
        "ndcg_at_10": (1 / np.log2(np.arange(2, 12))).sum() / n,
    }
    for cell in ("old/old", "new/old"):
        assert {m: report.mean("", cell, m) for m in metrics} == pytest.approx(chance)
        assert report.right("", cell, "recall_at_10") == pytest.approx(10 / n)
    assert report.mean("", "new/new", "recall_at_10") == 1
    assert report.mean("", "cascade", "recall_at_10") == pytest.approx(30 / n, abs=0.15)  # of ten queries
    assert report.flip_rates("", "recall_at_10", "new/old") == (0, 0)
    assert report.flip_rates("", "recall_at_10", "new/new") == pytest.approx((0, 1 - 10 / n))
    assert report.compatible("", "ndcg_at_10").answer == "undecided"
    whole = evaluate(*sides, upgrade, JUDGED[judged](ids, right), scope=Scope(metrics=["map"], directions=[""]))
    assert whole.mean("", "old/old", "map") == pytest.approx((1 / np.arange(1, n + 1)).sum() / n)


def test_twins_far_apart_share_what_either_finds():
    """The same vector in the first and the last of many blocks of the gallery; only one of the two is right."""
    draw = np.random.default_rng(1)
    items = draw.normal(size=(6_000, 48)).astype(np.float32)
    items[-3:] = items[:3]
    space = Space("old", "1", 48)
    gallery, queries = Embeddings.of(items, space), Embeddings.of(items[:3].copy(), space, ["a", "b", "c"])
    for right in ("0", "5997"):
        judged = Relevance.from_pairs([("a", right)]).judge(queries.ids, gallery.ids)
        found = retrieve(Side(queries, gallery), 1, Searched(judged))
        assert found.ties.size[:, 0].tolist() == [2, 2, 2]
        assert figures(found, judged, 1, expected=True)[0][0] == 0.5


def test_vectors_of_one_direction_are_equal_by_cosine():
    gallery = np.array([[1, 2, 3], [3, 6, 9], [3, 2, 1]], np.float32)
    query = np.array([[1, 1, 4]], np.float32)
    key = tie_keys(np.array([15 / np.sqrt(18 * 14)]), "cosine")
    assert [rows.tolist() for _, rows in rows_of_score(query, gallery, key, metric="cosine")] == [[0, 1]]
    assert [rows.tolist() for _, rows in rows_of_score(query, gallery, key - 1e-9, metric="cosine")] == []


def test_a_report_keeps_its_ties(tmp_path):
    task = Task("", ("q", "r"), ("a", "b", "c"), 3, np.array([1, 1]), np.ones((2, 1), np.float32))
    points = Embeddings.of(np.array([[3, 1], [3, 1], [0, 1]], np.float32), Space("toy", "1", 2), ["a", "b", "c"])
    asked = Side(points.take([0, 2]), points)
    judged = Relevance.from_pairs([("a", "b"), ("c", "c")]).judge(["a", "c"], points.ids)
    found = retrieve(asked, 1, Searched(judged))
    gains = judged.gains(found.ranking.rows)
    names = ("old/old", "new/old", "new/new", "naive")
    cells = tuple(Cell("", n, found.ranking.rows, found.ranking.scores, gains, None, found.ties) for n in names)
    plain = (Cell("", "plain/old", found.ranking.rows, found.ranking.scores, gains),)
    report = Report((task,), cells + plain, ("recall_at_1",))
    assert report.values("", "old/old", "recall_at_1").tolist() == [0.5, 1.0]
    assert report.cell("", "old/old").first_hits.tolist() == [0, 1]  # on the average 1.5, of 1
    summary = save_report(report, tmp_path / "report.json")
    read = load_report(tmp_path / "report.json")
    assert (
        summary.figure("", "old/old", "recall_at_1").interval.value == read.mean("", "old/old", "recall_at_1") == 0.75
    )
    assert read.cell("", "plain/old").ties is None
    assert read.cell("", "naive").ties.queries.tolist() == [0]
    for written, again in zip(report.cells[0].ties.arrays(), read.cells[0].ties.arrays(), strict=True):
        np.testing.assert_array_equal(written, again)


def test_nothing_equal_costs_nothing():
    found = Retrieved(top_k(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32) + 0.1, 2))
    assert found.cut(1).ties is None
