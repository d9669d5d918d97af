from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from two_models import make_world

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.evaluation import LabelRelevance, Relevance, Side, fit_calibration, isotonic
from embridge.nearest import top_k
from embridge.space import Space


@pytest.fixture(scope="module")
def world():
    return make_world()


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.sampled_from([-1.5, -1.0, 0.0, 0.25, 0.5, 0.75, 2.0, 3.5]), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    )
)
def test_isotonic_is_scikit_learns(pairs):
    x, y = np.array(pairs, float).T
    knots_x, knots_y = isotonic(x, y)
    assert (np.diff(knots_x) > 0).all()
    assert (np.diff(knots_y) >= 0).all()
    theirs = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    asked = np.linspace(-2, 4, 61)
    np.testing.assert_allclose(np.interp(asked, knots_x, knots_y), theirs.predict(asked), atol=1e-9)


def test_isotonic_is_scikit_learns_on_many_labels():
    generator = np.random.default_rng(0)
    x = generator.normal(size=20_000).astype(np.float32).astype(float)
    y = (generator.random(20_000) < 1 / (1 + np.exp(-2 * x))).astype(float)
    asked = np.linspace(-5, 5, 501)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(x, y).predict(asked)
    np.testing.assert_allclose(np.interp(asked, *isotonic(x, y)), theirs, atol=1e-9)


@pytest.mark.slow
@given(st.lists(st.integers(0, 1), min_size=2, max_size=8))
def test_isotonic_is_the_nearest_of_all_rising_curves(labels):
    """Against every rising curve on a grid of values."""
    y = np.array(labels, float)
    x = np.arange(len(y), dtype=float)
    error = np.square(np.interp(x, *isotonic(x, y)) - y).sum()
    generator = np.random.default_rng(0)
    for _ in range(200):
        other = np.sort(generator.integers(0, 7, size=len(y)) / 6)
        assert error <= np.square(other - y).sum() + 1e-12


def test_a_calibrated_curve_says_how_often_it_is_right(world):
    new, bridged = Side(world.queries, world.items), Side(world.bridged, world.old_items)
    fitted = fit_calibration("calibrated", new, bridged, world.relevance)
    for curve, queries, items in (
        (fitted.new, world.queries, world.items),
        (fitted.old, world.bridged, world.old_items),
    ):
        ranking = top_k(queries.vectors, items.vectors, 100)
        right = world.relevance.judge(queries.ids, items.ids).gains(ranking.rows) > 0
        values = curve(ranking.scores.astype(float))
        assert values.mean() == pytest.approx(right.mean())
        for level in np.unique(values):
            at = values == level
            if at.sum() > 50:
                assert right[at].mean() == pytest.approx(level)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_a_distance_rank_is_the_share_of_pairs_above(world, metric):
    space = replace(world.items.space, metric=metric)
    side = Side(*(x.with_vectors(x.vectors, space) for x in (world.queries, world.items)))
    curve = fit_calibration("distance-rank", side, side).new
    every = top_k(side.queries.vectors, side.gallery.vectors, 240, metric=metric).scores.astype(float)
    inner = np.quantile(every, [0.05, 0.3, 0.5, 0.9, 0.99])
    for score in inner:
        assert curve(np.array([score]))[0] == pytest.approx(-np.log10((every >= score).mean()), abs=0.02)
    top = np.sort(every, axis=None)[-40:]
    assert (np.diff(curve(np.unique(top))) > 0).all()  # the best pairs are told apart


def test_equal_pairs_make_a_level_curve():
    same = Embeddings.of(np.ones((5, 2), np.float32), Space("toy", "1", 2))
    curve = fit_calibration("distance-rank", Side(same, same), Side(same, same)).new
    assert curve(np.array([0.0, 1.0, 2.0])).tolist() == [0.0, 0.0, 0.0]


def test_no_item_is_its_own_neighbour_in_one_set(world):
    items = world.items
    relevance = LabelRelevance(world.relevance.gallery, world.relevance.gallery)
    side = Side(items, items)
    named = replace(items, ids=tuple(f"copy of {i}" for i in items.ids))  # the same vectors, of other items
    twins = LabelRelevance({f"copy of {i}": label for i, label in relevance.queries.items()}, relevance.gallery)
    for kind in ("calibrated", "distance-rank"):
        alone = fit_calibration(kind, side, side, relevance).new
        naive = fit_calibration(kind, Side(named, items), Side(named, items), twins).new
        assert max(alone.x) < 0.9999 < max(naive.x) or kind == "distance-rank"
        assert alone != naive
    own = Embeddings.of(np.eye(2, dtype=np.float32), items.space.__class__("toy", "1", 2))
    assert set(fit_calibration("distance-rank", Side(own, own), Side(own, own)).new.x) == {0.0}
    one = own.take([0])
    with pytest.raises(InvalidInput, match="needs pairs of a query and another item"):
        fit_calibration("distance-rank", Side(one, one), Side(one, one))


def test_what_cannot_be_fitted_on_is_refused(world, as_in_production):
    new, old = Side(world.queries, world.items), Side(world.bridged, world.old_items)
    with pytest.raises(InvalidInput, match="needs relevance and a depth of at least 1; without, take distance-rank"):
        fit_calibration("calibrated", new, old)
    with pytest.raises(InvalidInput, match=r"none of the 4000 items found in .* is right"):
        fit_calibration("calibrated", new, old, Relevance.from_pairs([("x", "y")]))
    with pytest.raises(SpaceMismatch, match="the queries of a side: expected vectors of old@1"):
        fit_calibration("standard", new, Side(world.queries, world.old_items))
    with pytest.raises(InvalidInput, match="the same ones in the same order"):
        fit_calibration("standard", Side(world.queries.take([1, 0]), world.items), old)
    with pytest.raises(InvalidInput, match="expected queries and a gallery, came 0 and 240 rows"):
        fit_calibration("standard", Side(world.queries.take([]), world.items), old)
    with pytest.raises(InvalidInput, match="came 40 and 0 rows"):
        fit_calibration("standard", Side(world.queries, world.items.take([])), old)
    with pytest.raises(InvalidInput, match="a calibration is one of calibrated, distance-rank, standard, not 'luck'"):
        fit_calibration("luck", new, old)
