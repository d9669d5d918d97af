import numpy as np
import pytest
from paired_vectors import pairs_of, unit

from embridge.errors import InvalidInput, SettingsError
from embridge.methods.procrustes import fit_rotation
from embridge.methods.whitened_procrustes import WhitenedProcrustes
from embridge.nearest import top_k
from embridge.testing import check_method


def narrow(rows=300, d_new=10, d_old=6, seed=0):
    """Vectors with much in common, and with directions that differ in spread."""
    generator = np.random.default_rng(seed)
    new = generator.normal(size=(rows, d_new)) * np.geomspace(0.1, 1, d_new) + 1
    turned, _ = np.linalg.qr(generator.normal(size=(d_new, d_new)))
    return unit(new), unit(new @ turned[:, :d_old] + 0.1 * generator.normal(size=(rows, d_old)))


def naive(new, old, whitening, kept_mean, weights=None):
    """The formula, by its matrices."""
    shares = np.full(len(new), 1 / len(new)) if weights is None else weights / weights.sum()
    means = shares @ new, shares @ old
    x, y = new - means[0], old - means[1]
    covariance = x.T @ (shares[:, None] * x)
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors @ np.diag((values + 0.01 * values.max()) ** -whitening) @ vectors.T
    u, _, vt = np.linalg.svd(whiten @ x.T @ (shares[:, None] * y), full_matrices=False)
    mapped = x @ whiten @ u @ vt
    scale = np.sqrt((shares @ (y**2).sum(1)) / (shares @ (mapped**2).sum(1)))
    return scale * mapped + kept_mean * means[1]


@pytest.mark.parametrize(("whitening", "kept_mean"), [(0.2, 0.5), (0.0, 1.0), (0.5, 0.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_its_formula(whitening, kept_mean, weighted):
    new, old = narrow()
    weights = np.random.default_rng(1).uniform(0.5, 3, len(new)) if weighted else None
    bridge = WhitenedProcrustes(whitening, kept_mean).fit(pairs_of(new, old, weights)).bridge
    expected = naive(new, old, whitening, kept_mean, weights)
    # the scale is the same but for float32, which the unit rows are in
    np.testing.assert_allclose(bridge.apply(new.astype(np.float32)), expected, rtol=1e-3, atol=1e-4)


def test_fewer_pairs_than_dims_are_mapped_too():
    new, old = narrow(rows=8)
    with pytest.warns(UserWarning, match="8 pairs fit a map into 6 dimensions"):
        bridge = WhitenedProcrustes().fit(pairs_of(new, old)).bridge
    deviations = (old - old.mean(axis=0)).astype(np.float32)
    found = top_k(
        bridge.apply(new.astype(np.float32)) - bridge.apply(new.astype(np.float32)).mean(axis=0), deviations, 1
    )
    assert (found.rows[:, 0] == np.arange(8)).all()


@pytest.mark.parametrize("settings", [{}, {"whitening": 0.0, "kept_mean": 1.0}])
def test_contract(make_pairs, settings):
    assert check_method(WhitenedProcrustes(**settings), make_pairs()) == []


def test_without_whitening_it_is_procrustes_up_to_the_scale():
    pairs = pairs_of(*narrow())
    weight = WhitenedProcrustes(0.0, 1.0).fit(pairs).bridge.weight
    rotation = fit_rotation(pairs, center=True).weight
    np.testing.assert_allclose(weight / np.linalg.norm(weight), rotation / np.linalg.norm(rotation), atol=1e-5)


def test_whole_whitening_makes_all_directions_alike():
    new, old = narrow(rows=2_000, d_new=6, d_old=6)
    mapped = WhitenedProcrustes(0.5, 0.0).fit(pairs_of(new, old)).bridge.apply(new.astype(np.float32))
    before, after = (np.linalg.eigvalsh(np.cov(x.T))[1:] for x in (new, mapped))  # unit rows lack one, nearly
    assert after[-1] / after[0] < 0.3 * before[-1] / before[0]


def test_turning_the_new_space_changes_nothing():
    new, old = narrow()
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(10, 10)))
    plain, turned = (
        WhitenedProcrustes().fit(pairs_of(x, old)).bridge.apply(x.astype(np.float32)) for x in (new, new @ turn)
    )
    np.testing.assert_allclose(plain, turned, atol=1e-4)


def test_of_vectors_that_say_nothing_it_finds_no_more_than_chance():
    generator = np.random.default_rng(0)
    new, old = generator.normal(size=(2_000, 12)), generator.normal(size=(2_000, 12))
    with pytest.warns(UserWarning, match="look shuffled"):
        bridge = WhitenedProcrustes().fit(pairs_of(new[:1_000], old[:1_000])).bridge
    found = top_k(bridge.apply(new[1_000:].astype(np.float32)), old[1_000:].astype(np.float32), 10)
    assert (found.rows == np.arange(1_000)[:, None]).any(1).mean() < 0.03  # by chance .01


@pytest.mark.parametrize(
    "settings", [{"whitening": -0.1}, {"whitening": 0.6}, {"kept_mean": 1.5}, {"kept_mean": np.nan}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingsError, match=r"whitening lies in 0 … 0\.5 and kept_mean in 0 … 1, came"):
        WhitenedProcrustes(**settings)


def test_vectors_that_all_point_one_way_are_refused():
    new, old = narrow()
    with pytest.raises(InvalidInput, match="all 300 old vectors point the same way"):
        WhitenedProcrustes().fit(pairs_of(new, np.repeat(old[:1], 300, axis=0)))
