from contextlib import nullcontext

import numpy as np
import pytest
from paired_vectors import pairs_of, unit

from embridge.adapters import Composed
from embridge.errors import InvalidInput, SettingsError
from embridge.methods.low_rank import LowRank
from embridge.methods.ridge import Ridge
from embridge.testing import check_adapter, check_method


def weight_and_bias(bridge):
    first, second = bridge.steps
    return first.weight.astype(np.float64) @ second.weight, second.bias


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"rank": 6}, {}, {"rank": 6, "center": True, "penalty": 0.1}])
def test_contract(make_pairs, settings):
    assert check_method(LowRank(**settings), make_pairs()) == []


def test_the_bridge_is_an_adapter_of_two_small_factors(make_pairs):
    bridge = LowRank(rank=5).fit(make_pairs()).bridge
    assert isinstance(bridge, Composed)
    assert check_adapter(bridge) == []
    assert {name: w.shape for name, w in bridge.weights().items()} == {
        "0.weight": (24, 5), "1.weight": (5, 16), "1.bias": (16,),
    }  # fmt: skip


@pytest.mark.parametrize("rows", [20, 300])
@pytest.mark.parametrize("center", [True, False])
def test_of_full_rank_it_is_ridge(make_pairs, rows, center):
    pairs = make_pairs(rows=300).take(np.arange(rows))
    settings = {"center": center, "penalty": 0.1}
    with pytest.warns(UserWarning, match="20 pairs") if rows == 20 else nullcontext():
        ours, ridge = (m.fit(pairs).bridge for m in (LowRank(rank=16, **settings), Ridge(**settings)))
    weight, bias = weight_and_bias(ours)
    np.testing.assert_allclose(weight, ridge.weight, atol=1e-5)
    np.testing.assert_allclose(bias, ridge.bias, atol=1e-5)


def test_no_other_map_of_that_rank_has_a_lower_penalised_error(make_pairs):
    """Against gradient descent on the two factors, started at the answer and elsewhere."""
    pairs = make_pairs(noise=1.0)
    x, y = (unit(side.vectors.astype(np.float64)) for side in (pairs.new, pairs.old))
    strength = 0.5 * (x**2).sum() / x.shape[1]

    def loss(a, b):
        return ((x @ a @ b - y) ** 2).sum() + strength * ((a @ b) ** 2).sum()

    first, second = LowRank(rank=3, center=False, penalty=0.5).fit(pairs).bridge.steps
    ours = loss(first.weight.astype(np.float64), second.weight.astype(np.float64))
    generator = np.random.default_rng(0)
    found = []
    for _ in range(3):
        a, b = generator.normal(size=(24, 3)) / 5, generator.normal(size=(3, 16)) / 5
        for _ in range(200):  # each factor in turn, exactly
            gram = x.T @ x + strength * np.eye(24)
            a = np.linalg.solve(gram, x.T @ y @ b.T) @ np.linalg.inv(b @ b.T)
            b = np.linalg.solve(a.T @ gram @ a, a.T @ x.T @ y)
        found.append(loss(a, b))
    assert ours == pytest.approx(min(found), rel=1e-5)
    assert ours <= min(found) * (1 + 1e-6)


def test_without_penalty_it_is_the_top_of_the_fitted_values(make_pairs):
    pairs = make_pairs(noise=1.0)
    x, y = (unit(side.vectors.astype(np.float64)) for side in (pairs.new, pairs.old))
    full = np.linalg.lstsq(x, y, rcond=None)[0]
    v = np.linalg.svd(x @ full)[2][:4].T
    weight, _ = weight_and_bias(LowRank(rank=4, center=False, penalty=0.0).fit(pairs).bridge)
    np.testing.assert_allclose(weight, full @ v @ v.T, atol=1e-4)


def test_a_planted_low_rank_map_is_recovered_from_noise_better_than_at_full_rank():
    generator = np.random.default_rng(1)
    new = unit(generator.normal(size=(300, 40)))
    true = generator.normal(size=(40, 3)) @ generator.normal(size=(3, 30))
    pairs = pairs_of(new, new @ true + generator.normal(size=(300, 30)))
    queries = unit(generator.normal(size=(200, 40))).astype(np.float32)
    expected = unit(queries @ true)

    def cosine(method):
        return (unit(method.fit(pairs).bridge.apply(queries)) * expected).sum(axis=1).mean()

    assert cosine(LowRank(rank=3, penalty=0.0)) > cosine(Ridge(penalty=0.0)) + 0.05


def test_weights_are_repeated_pairs(make_pairs):
    pairs = make_pairs(rows=80, noise=0.5)
    weights = np.where(np.arange(80) < 30, 3.0, 1.0)
    rows = np.concatenate([np.arange(80), np.arange(30), np.arange(30)])
    weighted = pairs_of(pairs.new.vectors, pairs.old.vectors, weights)
    repeated = pairs_of(pairs.new.vectors[rows], pairs.old.vectors[rows])
    maps = [weight_and_bias(LowRank(rank=4, center=True, penalty=0.1).fit(p).bridge) for p in (weighted, repeated)]
    for a, b in zip(*maps, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_rank_beyond_what_is_possible_is_stated(make_pairs):
    assert LowRank(rank=999).fit(make_pairs()).provenance.figures["rank"] == 16
    flat = make_pairs().new.vectors[:, :2] @ np.ones((2, 24), np.float32) + make_pairs().new.vectors[:, :1]
    upgrade = LowRank(rank=10, penalty=0.1).fit(pairs_of(flat, make_pairs().old.vectors))
    assert upgrade.provenance.figures["rank"] <= 2


def test_a_huge_penalty_tends_to_the_mean(make_pairs):
    pairs = make_pairs()
    mapped = LowRank(rank=4, center=True, penalty=1e12).fit(pairs).bridge.apply(pairs.new.vectors)
    mean = unit(pairs.old.vectors.astype(np.float64)).mean(axis=0)
    np.testing.assert_allclose(mapped, np.tile(mean, (300, 1)), atol=1e-6)


def test_three_pairs_repeated_and_constant_ones(make_pairs):
    pairs = make_pairs(rows=3)
    with pytest.warns(UserWarning, match="3 pairs"):
        bridge = LowRank().fit(pairs).bridge
    assert np.isfinite(bridge.apply(pairs.new.vectors)).all()
    with pytest.warns(UserWarning, match="6 pairs"):
        again = LowRank().fit(pairs_of(*(np.repeat(s.vectors[:2], [5, 1], axis=0) for s in (pairs.new, pairs.old))))
    assert again.provenance.figures["rank"] >= 1
    constant = np.tile(pairs.new.vectors[:1], (40, 1))
    with pytest.raises(InvalidInput, match="all 40 new vectors point the same way"):
        LowRank().fit(pairs_of(constant, make_pairs(rows=40).old.vectors))


def test_impossible_settings_are_refused():
    with pytest.raises(SettingsError, match="rank is at least 1, came 0"):
        LowRank(rank=0)
    with pytest.raises(SettingsError, match="penalties are finite"):
        LowRank(penalty=-1.0)
