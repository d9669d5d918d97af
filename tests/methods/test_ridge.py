from contextlib import nullcontext

import numpy as np
import pytest
from paired_vectors import pairs_of, unit
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeCV

from embridge.errors import SettingsError
from embridge.methods import make
from embridge.methods.least_squares import path_of
from embridge.methods.procrustes import Procrustes
from embridge.methods.ridge import Ridge
from embridge.nearest import top_k
from embridge.testing import check_method


def noisy(rows, d_new=12, d_old=7, mean=0.0, seed=0, noise=1.0):
    generator = np.random.default_rng(seed)
    new = generator.normal(size=(rows, d_new)) + mean
    old = new @ generator.normal(size=(d_new, d_old)) + noise * generator.normal(size=(rows, d_old)) + mean
    return unit(new), unit(old)


def penalised(new, center, penalty):
    """λ itself: the penalty as a multiple of the mean eigenvalue."""
    centered = new - new.mean(axis=0) if center else new
    return penalty * (centered**2).sum() / new.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"center": True}, {"center": False}, {"penalty": 0.1}])
def test_contract(make_pairs, settings):
    assert check_method(Ridge(**settings), make_pairs()) == []


@pytest.mark.slow
@pytest.mark.parametrize("rows", [5, 11, 12, 300])
@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("center", [True, False])
def test_it_is_sklearns(rows, penalty, center):
    """Fewer pairs than dims, as many, and more: two ways to the same map."""
    new, old = noisy(rows, mean=1.0)
    expected = SklearnRidge(alpha=penalised(new, center, penalty), fit_intercept=center).fit(new, old)
    with pytest.warns(UserWarning, match="pairs fit") if rows < 14 else nullcontext():
        bridge = Ridge(center=center, penalty=penalty).fit(pairs_of(new, old)).bridge
    np.testing.assert_allclose(bridge.weight, expected.coef_.T, atol=1e-4)
    np.testing.assert_allclose(bridge.apply(new.astype(np.float32)), expected.predict(new), atol=1e-4)


def test_the_weights_of_pairs_are_sklearns_sample_weights():
    new, old = noisy(200, mean=1.0)
    weights = np.random.default_rng(1).uniform(0.1, 5, size=200)
    mean = weights @ new / weights.sum()
    alpha = 0.1 * (weights @ (new - mean) ** 2).sum() / new.shape[1]
    expected = SklearnRidge(alpha=alpha).fit(new, old, sample_weight=weights)
    bridge = Ridge(center=True, penalty=0.1).fit(pairs_of(new, old, weights)).bridge
    np.testing.assert_allclose(bridge.weight, expected.coef_.T, atol=1e-4)
    np.testing.assert_allclose(bridge.bias, expected.intercept_, atol=1e-4)


@pytest.mark.parametrize("rows", [8, 60])
def test_a_weight_of_two_is_the_pair_twice(rows):
    new, old = noisy(rows)
    weights = np.ones(rows)
    weights[: rows // 2] = 2
    twice = np.concatenate([np.arange(rows), np.arange(rows // 2)])
    weighted, repeated = (
        path_of(p, center=True) for p in (pairs_of(new, old, weights), pairs_of(new[twice], old[twice]))
    )
    maps = [p.basis @ p.shrunk(0.1) for p in (weighted, repeated)]
    np.testing.assert_allclose(*maps, atol=1e-6)
    np.testing.assert_allclose(weighted.mean_old, repeated.mean_old, atol=1e-7)


def test_the_penalty_is_chosen_as_by_cross_validation():
    """Ours goes by rank on held-out pairs, RidgeCV by squared error: both avoid what over-fits and what flattens."""
    new, old = noisy(120, d_new=60, d_old=30, noise=5.0)
    penalties = (1e-5, 0.3, 1e3)
    upgrade = Ridge(center=True, penalties=penalties, validation_fraction=0.3).fit(pairs_of(new, old))
    theirs = RidgeCV(alphas=[penalised(new, True, p) for p in penalties]).fit(new, old)
    assert theirs.alpha_ == pytest.approx(penalised(new, True, 0.3))
    assert upgrade.provenance.figures["penalty"] == 0.3


def test_figures_hold_the_whole_grid_and_the_choice_is_its_best(make_pairs):
    figures = Ridge(penalties=(0.01, 1.0)).fit(make_pairs(noise=0.5)).provenance.figures
    table = figures["validation_scores"]
    assert [(row["centered"], row["penalty"]) for row in table] == [
        (False, 0.01), (False, 1.0), (True, 0.01), (True, 1.0),
    ]  # fmt: skip
    best = max(table, key=lambda row: (row["mrr"], row["cosine"]))
    assert (figures["centered"], figures["penalty"]) == (best["centered"], best["penalty"])
    assert figures["validation_mrr"] == best["mrr"] > 0.2


def test_what_is_held_out_is_fitted_on_in_the_end(make_pairs):
    pairs = make_pairs(noise=0.5)
    chosen = Ridge().fit(pairs)
    figures = chosen.provenance.figures
    again = Ridge(center=figures["centered"], penalty=figures["penalty"]).fit(pairs)
    np.testing.assert_allclose(chosen.bridge.weight, again.bridge.weight, atol=1e-6)
    assert "validation_mrr" not in again.provenance.figures


def test_a_huge_penalty_tends_to_the_mean():
    new, old = noisy(300, mean=1.0)
    bridge = Ridge(center=True, penalty=1e12).fit(pairs_of(new, old)).bridge
    np.testing.assert_allclose(bridge.apply(new.astype(np.float32)), np.tile(old.mean(axis=0), (300, 1)), atol=1e-6)


def test_without_a_penalty_the_shortest_of_all_exact_maps_is_taken():
    generator = np.random.default_rng(0)
    low = generator.normal(size=(50, 3)) @ generator.normal(size=(3, 12))
    new, old = unit(low), unit(low @ generator.normal(size=(12, 3)))
    bridge = Ridge(center=False, penalty=0.0).fit(pairs_of(new, old)).bridge
    expected = np.linalg.pinv(new.astype(np.float32), rcond=1e-5) @ old
    np.testing.assert_allclose(bridge.weight, expected, atol=1e-4)


def test_repeated_pairs_changenullcontext():
    new, old = noisy(100)
    once, twice = (
        Ridge(center=True, penalty=0.1).fit(pairs_of(np.tile(new, (n, 1)), np.tile(old, (n, 1)))) for n in (1, 2)
    )
    np.testing.assert_allclose(once.bridge.weight, twice.bridge.weight, atol=1e-6)


def test_a_large_common_mean_is_no_obstacle():
    """The content is a hundredth of the common mean."""
    generator = np.random.default_rng(4)
    content = generator.normal(size=(600, 16))
    new = content + 400 * unit(generator.normal(size=(1, 16)))
    old = content @ np.linalg.qr(generator.normal(size=(16, 16)))[0] + 400 * unit(generator.normal(size=(1, 16)))
    pairs = pairs_of(new, old)
    train, unseen = pairs.take(np.arange(500)), pairs.take(np.arange(500, 600))
    rows = top_k(Ridge().fit(train).bridge.apply(unseen.new.vectors), unseen.old.vectors, 1).rows[:, 0]
    assert (rows == np.arange(100)).mean() > 0.9


def test_it_finds_what_a_rotation_cannot():
    generator = np.random.default_rng(5)
    new = unit(generator.normal(size=(600, 10)))
    stretched = new @ (generator.normal(size=(10, 10)) @ np.diag(np.logspace(0, -1.5, 10)))
    pairs = pairs_of(new, stretched)
    train, unseen = pairs.take(np.arange(500)), pairs.take(np.arange(500, 600))

    def found(method):
        rows = top_k(method.fit(train).bridge.apply(unseen.new.vectors), unseen.old.vectors, 1).rows[:, 0]
        return (rows == np.arange(100)).mean()

    assert found(Ridge()) > found(Procrustes()) + 0.1


@pytest.mark.parametrize("settings", [{}, {"center": True, "penalty": 0.0}])
def test_three_pairs_give_a_map_and_a_warning(settings):
    new, old = noisy(3)
    with pytest.warns(UserWarning, match="3 pairs fit a map into 7 dimensions; at least 14"):
        bridge = Ridge(**settings).fit(pairs_of(new, old)).bridge
    mapped = bridge.apply(new.astype(np.float32))
    assert (top_k(mapped, old.astype(np.float32), 1).rows[:, 0] == np.arange(3)).all()


@pytest.mark.slow
def test_equal_vectors_among_the_few_that_are_left_after_holding_out_do_no_harm():
    new, old = noisy(2)
    rows = [0, 0, 0, 0, 0, 1]
    with pytest.warns(UserWarning, match="6 pairs"):
        upgrades = [Ridge().fit(pairs_of(new[rows], old[rows]), seed=seed) for seed in range(6)]
    assert all(np.isfinite(u.bridge.weight).all() for u in upgrades)


def test_scale_of_the_input_does_not_matter(make_pairs):
    pairs = make_pairs()
    upgrade = Ridge().fit(pairs)
    once, twice = (upgrade.bridge.apply(pairs.new.vectors * s) for s in (np.float32(1), np.float32(7)))
    np.testing.assert_allclose(once, twice, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty": -1.0}, "penalties are finite and at least 0"),
        ({"penalty": float("nan")}, "penalties are finite"),
        ({"penalties": (1.0, float("inf"))}, "penalties are finite"),
        ({"penalties": ()}, "there is at least one"),
        ({"validation_fraction": 1.0}, r"validation_fraction lies in \(0, 1\), came 1.0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        Ridge(**settings)


def test_a_list_of_penalties_from_a_settings_file_is_taken():
    assert make("ridge", {"penalties": [1, 2.5]}).penalties == (1.0, 2.5)
