import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.errors import InvalidInput
from embridge.evaluation import Mixed, Scope, Side, backfill_auc, backfill_curve, cut_offs, evaluate
from embridge.nearest import top_k


def test_cut_offs_are_even_and_hold_both_ends():
    assert cut_offs() == [i / 21 for i in range(22)]
    assert cut_offs(0) == [0.0, 1.0]
    with pytest.raises(InvalidInput, match="K >= 0"):
        cut_offs(-1)


def test_the_area_is_the_mean_and_needs_a_point():
    assert backfill_auc([0.2, 0.4]) == pytest.approx(0.3)
    with pytest.raises(InvalidInput, match="at least one cut-off"):
        backfill_auc([])


@pytest.mark.slow
@pytest.mark.parametrize("order", ["random", "as it comes"])
@pytest.mark.parametrize("direction", ["t2i"])
def test_a_curve_begins_at_the_bridge_and_ends_at_the_backfill(report, direction, order):
    points = report.curves(direction)[order]
    assert [fraction for fraction, _ in points] == pytest.approx(cut_offs(), abs=1e-4)
    for cell, end in ((points[0][1], "new/old"), (points[-1][1], "new/new")):
        np.testing.assert_array_equal(report.cell(direction, cell).rows, report.cell(direction, end).rows)


def test_an_order_of_photos_has_no_curve_where_captions_are_searched(report):
    assert set(report.curves("i2t")) == {"random"}


@pytest.mark.slow
def test_a_good_order_is_above_a_bad_one(world):
    """Items that are asked for often, first: more area than the same order from its end."""
    old, new, upgrade, relevance = world
    asked = [f"caption {i}" for i in range(100)]  # only the first fifty photos are right for any query
    sides = [Side(s.queries.take(np.arange(100)), s.gallery) for s in (old, new)]
    photos = [f"photo {i}" for i in range(300)]
    scope = Scope(directions=("t2i",), orders={"good": photos, "bad": photos[::-1]}, unjudged="skip")
    made = evaluate(*sides, upgrade, relevance, scope=scope)
    assert made.task("t2i").query_ids == tuple(asked)
    area = {
        order: backfill_auc([made.mean("t2i", cell, "recall_at_10") for _, cell in points])
        for order, points in made.curves("t2i").items()
    }
    assert area["good"] > area["bad"] + 0.05


@pytest.fixture
def mixed():
    generator = np.random.default_rng(0)
    sides = [
        Side(
            *(
                Embeddings.of(
                    generator.normal(size=(n, d)).astype(np.float32),
                    Space(name, "", d, metric),
                    [f"{n}.{i}" for i in range(n)],
                )
                for n in (40, 90)
            )
        )
        for name, d, metric in (("new", 12, "l2"), ("old", 8, "cosine"))
    ]
    return lambda **settings: Mixed(*sides, **settings)


@pytest.mark.parametrize("merge", ["raw", "rrf", "standard"])
@pytest.mark.parametrize("marked", [True, False])
def test_all_or_nothing_is_exactly_one_search(mixed, merge, marked):
    made = mixed(merge=merge)
    side = made.new if marked else made.bridged
    queries, gallery = side.queries, side.gallery
    ranking = made.ranking(np.full(90, marked), 10)
    np.testing.assert_array_equal(
        ranking.rows, top_k(queries.vectors, gallery.vectors, 10, metric=gallery.space.metric).rows
    )


def test_raw_merging_is_the_naive_loop(mixed):
    made = mixed(merge="raw")
    done = np.random.default_rng(1).random(90) < 0.4
    ranking = made.ranking(done, 10)
    (q_new, g_new), (q_old, g_old) = (
        [x.vectors.astype(float) for x in (side.queries, side.gallery)] for side in (made.new, made.bridged)
    )
    for i in range(40):
        far = -((q_new[i] - g_new) ** 2).sum(axis=1)
        near = g_old @ q_old[i] / np.linalg.norm(g_old, axis=1) / np.linalg.norm(q_old[i])
        scores = np.where(done, far, near).astype(np.float32)
        np.testing.assert_array_equal(ranking.rows[i], np.argsort(-scores, kind="stable")[:10])


def test_standard_scores_are_of_one_size(mixed):
    """Raw, a negative squared distance never beats a cosine; with scores put on one scale both parts are found."""
    done = np.arange(90) % 2 == 0
    raw, standard = (mixed(merge=merge).ranking(done, 10).rows % 2 == 0 for merge in ("raw", "standard"))
    assert raw.mean() == 0
    assert 0.25 < standard.mean() < 0.75


@pytest.mark.slow
def test_the_curve_of_any_order_is_that_of_the_report(world, report):
    old, new, upgrade, relevance = world
    judged = relevance.judge(new.queries.ids, new.gallery.ids)
    mixed = Mixed(new, Side(upgrade.to_index_space(new.queries), old.gallery))
    values = backfill_curve(mixed, np.arange(300), judged, "recall_at_10")
    points = report.curves("t2i")["as it comes"]
    for own, (_, cell) in zip(values, points, strict=True):
        np.testing.assert_array_equal(own, report.values("t2i", cell, "recall_at_10"))
    assert backfill_curve(mixed, np.arange(300), judged, "ndcg_at_5", k=1).shape == (3, 600)


@pytest.mark.parametrize("order", [[0, 1, 1], [0, 1], [0, 1, 3]])
def test_an_order_names_every_row_once(world, order):
    old, new, upgrade, relevance = world
    some = [Side(s.queries, s.gallery.take([0, 1, 2])) for s in (old, new)]
    judged = relevance.judge(new.queries.ids, some[1].gallery.ids)
    mixed = Mixed(some[1], Side(upgrade.to_index_space(new.queries), some[0].gallery))
    with pytest.raises(InvalidInput, match=r"gallery rows once|one a row is needed"):
        backfill_curve(mixed, np.array(order), judged, "recall_at_1")


def test_constant_scores_do_not_divide_by_nothing():
    space = Space("flat", "", 2)
    same = Side(*(Embeddings.of(np.ones((5, 2), np.float32), space, [f"{x}{i}" for i in range(5)]) for x in "qg"))
    ranking = Mixed(same, same).ranking(np.arange(5) < 2, 5)
    assert np.isfinite(ranking.scores).all()
    np.testing.assert_array_equal(ranking.rows, np.tile([0, 2, 1, 3, 4], (5, 1)))  # by rank, then the new one first


def test_what_only_float64_tells_apart_keeps_its_order_at_both_ends():
    space = Space("toy", "1", 2)
    angles = np.array([3e-8, 1e-8, 2e-8, 0.5])  # cosines with the query that are one number in float32
    gallery = Embeddings.of(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), space)
    queries = Embeddings.of(np.array([[1, -1e-3]], np.float32), space, ["q"])
    exact = top_k(queries.vectors, gallery.vectors, 4).rows
    assert exact.tolist() == [[1, 2, 0, 3]]
    mixed = Mixed(Side(queries, gallery), Side(queries, gallery))
    for done in (np.ones(4, bool), np.zeros(4, bool)):
        np.testing.assert_array_equal(mixed.ranking(done, 4).rows, exact)
