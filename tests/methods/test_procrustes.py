import numpy as np
import pytest
from paired_vectors import pairs_of, unit
from scipy.linalg import orthogonal_procrustes

from embridge.methods import Pairs
from embridge.methods.procrustes import Procrustes, fit_rotation
from embridge.testing import check_method


@pytest.mark.slow
@pytest.mark.parametrize("center", [None, True, False])
def test_contract(make_pairs, center):
    assert check_method(Procrustes(center=center), make_pairs()) == []


def test_a_planted_rotation_is_recovered():
    generator = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(generator.normal(size=(32, 32)))
    new = unit(generator.normal(size=(200, 32)))
    found = fit_rotation(pairs_of(new, new @ rotation), center=False).weight
    np.testing.assert_allclose(found, rotation, atol=1e-5)


def test_a_square_fit_is_scipys():
    generator = np.random.default_rng(1)
    new, old = unit(generator.normal(size=(100, 12))), unit(generator.normal(size=(100, 12)))
    expected, _ = orthogonal_procrustes(new, old)
    np.testing.assert_allclose(fit_rotation(pairs_of(new, old), center=False).weight, expected, atol=1e-5)


@pytest.mark.parametrize(("d_new", "d_old"), [(20, 8), (8, 20)])
@pytest.mark.parametrize("center", [True, False])
def test_a_rectangular_fit_is_a_partial_isometry(d_new, d_old, center):
    generator = np.random.default_rng(2)
    pairs = pairs_of(generator.normal(size=(60, d_new)), generator.normal(size=(60, d_old)))
    weight = fit_rotation(pairs, center=center).weight.astype(np.float64)
    gram = weight.T @ weight if d_new >= d_old else weight @ weight.T
    np.testing.assert_allclose(gram, np.eye(min(d_new, d_old)), atol=1e-5)


def test_no_other_rotation_fits_better():
    generator = np.random.default_rng(3)
    new, old = unit(generator.normal(size=(80, 6))), unit(generator.normal(size=(80, 6)))
    best = np.linalg.norm(new @ fit_rotation(pairs_of(new, old), center=False).weight - old)
    for _ in range(200):
        other, _ = np.linalg.qr(generator.normal(size=(6, 6)))
        assert np.linalg.norm(new @ other - old) >= best - 1e-6


def test_centring_is_taken_where_it_helps():
    """Unrelated common means hide the rotation unless they are removed."""
    generator = np.random.default_rng(4)
    rotation, _ = np.linalg.qr(generator.normal(size=(8, 8)))
    content = generator.normal(size=(400, 8))
    new = content + generator.normal(size=8)
    old = content @ rotation + generator.normal(size=8)
    upgrade = Procrustes().fit(pairs_of(new, old))
    assert upgrade.provenance.figures["centered"] is True
    figures = upgrade.provenance.figures
    assert figures["validation_mrr_centered"] > figures["validation_mrr_plain"] + 0.1


def test_scale_of_the_input_does_not_matter(make_pairs):
    pairs = make_pairs()
    for center in (True, False):
        upgrade = Procrustes(center=center).fit(pairs)
        once, twice = (upgrade.bridge.apply(pairs.new.vectors * s) for s in (np.float32(1), np.float32(7)))
        np.testing.assert_allclose(unit(once), unit(twice), atol=1e-5)


def test_rank_deficient_and_constant_input_gives_a_finite_isometry():
    constant = np.tile(np.array([[3.0, 4.0, 0.0]]), (20, 1))
    weight = fit_rotation(pairs_of(constant, constant), center=True).weight
    np.testing.assert_allclose(weight.T @ weight, np.eye(3), atol=1e-5)


@pytest.mark.parametrize("center", [True, False])
def test_weights_are_repeated_pairs(make_pairs, center):
    pairs = make_pairs(rows=80, noise=0.5)
    rows = np.concatenate([np.arange(80), np.arange(30), np.arange(30)])
    repeated = pairs_of(pairs.new.vectors[rows], pairs.old.vectors[rows])
    weighted = Pairs(pairs.new, pairs.old, np.where(np.arange(80) < 30, 3.0, 1.0))
    maps = [fit_rotation(p, center=center) for p in (weighted, repeated)]
    np.testing.assert_allclose(maps[0].weight, maps[1].weight, atol=1e-5)
    if center:
        np.testing.assert_allclose(maps[0].bias, maps[1].bias, atol=1e-5)


def test_repeated_pairs_change_nothing(make_pairs):
    pairs = make_pairs()
    twice = pairs_of(*(np.tile(side.vectors, (2, 1)) for side in (pairs.new, pairs.old)))
    once, again = (fit_rotation(p, center=True) for p in (pairs, twice))
    np.testing.assert_allclose(once.weight, again.weight, atol=1e-5)


@pytest.mark.parametrize("rows", [40, 400])
def test_a_planted_rotation_is_recovered_under_a_large_common_mean(rows):
    """Both means are moved away first: the content is a tenth of them."""
    generator = np.random.default_rng(6)
    rotation, _ = np.linalg.qr(generator.normal(size=(32, 32)))
    new = unit(0.1 * generator.normal(size=(rows, 32)) + generator.normal(size=32))
    found = fit_rotation(pairs_of(new, new @ rotation), center=True)
    np.testing.assert_allclose(found.weight, rotation, atol=1e-3)
    np.testing.assert_allclose(found.apply(new.astype(np.float32)), new @ rotation, atol=1e-5)


def test_three_pairs_are_mapped_onto_each_other():
    generator = np.random.default_rng(7)
    rotation, _ = np.linalg.qr(generator.normal(size=(8, 8)))
    new = unit(generator.normal(size=(3, 8)))
    with pytest.warns(UserWarning, match="3 pairs"):
        bridge = Procrustes(center=False).fit(pairs_of(new, new @ rotation)).bridge
    np.testing.assert_allclose(bridge.apply(new.astype(np.float32)), new @ rotation, atol=1e-5)


def test_few_pairs_warn(make_pairs):
    with pytest.warns(UserWarning, match="31 pairs fit a map into 16 dimensions; at least 32"):
        Procrustes().fit(make_pairs(rows=31))
    with pytest.warns(UserWarning, match="1 pairs"):
        assert Procrustes().fit(make_pairs(rows=1)).bridge.weights()["weight"].shape == (24, 16)
