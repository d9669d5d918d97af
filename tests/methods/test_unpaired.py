import warnings

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.adapters import Upgrade
from embridge.adapters.base import normalized
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.methods.gromov_wasserstein import cluster, couple, similarity_profiles
from embridge.methods.unpaired import Unpaired, fit_unpaired
from embridge.nearest import top_k

QUICK = Unpaired(clusters=20, draws=6)


def embeddings(x, model):
    return Embeddings.of(np.ascontiguousarray(x, np.float32), Space(model, "1", x.shape[1]))


class Planted:
    """Items in clusters of unequal sizes, around a large common mean, with axes of unequal spread; old = new, turned."""

    def __init__(self, *, dim=24, rows=400, clusters=20, shared=True, seed=0):
        self._rng = np.random.default_rng(seed)
        self._spread = np.linspace(1.5, 0.3, dim)
        self._centres = self._rng.normal(size=(clusters, dim)) * self._spread
        self._sizes = self._rng.dirichlet(np.full(clusters, 2.0))
        self._mean = 2 * self._rng.normal(size=dim)
        self.rotation, _ = np.linalg.qr(self._rng.normal(size=(dim, dim)))
        seen = self._draw(rows)
        other = seen[self._rng.permutation(rows)] if shared else self._draw(rows)
        self.new, self.old = embeddings(seen, "new"), embeddings(other @ self.rotation, "old")
        self.true = normalized((seen @ self.rotation).astype(np.float32))

    def _draw(self, rows):
        of = self._rng.choice(len(self._sizes), rows, p=self._sizes)
        noise = 0.4 * self._rng.normal(size=(rows, len(self._spread))) * self._spread
        return self._centres[of] + noise + self._mean


@pytest.fixture(scope="module")
def planted():
    return Planted()


@pytest.fixture(scope="module")
def fitted(planted):
    return fit_unpaired(planted.new, planted.old, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_rotation_of_the_same_items_in_another_order_is_recovered(seed, planted, fitted):
    upgrade = fitted
    if seed:
        planted = Planted(seed=seed)
        upgrade = fit_unpaired(planted.new, planted.old, QUICK, seed=seed)
    np.testing.assert_allclose(upgrade.bridge.weight, planted.rotation, atol=1e-3)
    mapped = upgrade.to_index_space(planted.new).vectors
    np.testing.assert_allclose(mapped, planted.true, atol=1e-3)
    rows = top_k(mapped, planted.true, 1).rows[:, 0]
    assert (rows == np.arange(400)).all()


@pytest.mark.slow
def test_other_items_of_the_same_kind_are_enough():
    planted = Planted(dim=12, rows=1000, shared=False)
    upgrade = fit_unpaired(planted.new, planted.old, QUICK)
    mapped = normalized(upgrade.to_index_space(planted.new).vectors)
    mean = planted.true.mean(axis=0)
    cosines = (normalized(mapped - mean) * normalized(planted.true - mean)).sum(axis=1)
    assert cosines.mean() > 0.95
    assert upgrade.provenance.figures["agreement"] > 0.5


@pytest.mark.slow
def test_into_fewer_dims(planted):
    cut = Embeddings.of(np.ascontiguousarray(planted.old.vectors[:, :18]), Space("old", "1", 18))
    mapped = fit_unpaired(planted.new, cut, QUICK).bridge.apply(planted.new.vectors)
    rows = top_k(mapped, np.ascontiguousarray(planted.true[:, :18]), 1).rows[:, 0]
    assert (rows == np.arange(400)).mean() > 0.5  # by chance 1 of 400


@pytest.mark.slow
@pytest.mark.parametrize("dim", [8, 32])
def test_pure_noise_is_warned_of(dim):
    generator = np.random.default_rng(0)
    new, old = (embeddings(generator.normal(size=(500, dim)), name) for name in ("new", "old"))
    with pytest.warns(
        UserWarning, match=r"do not trust this map. Of 3 starts no two .* \(chance 0\.020, trusted from 0\.4\)"
    ):
        upgrade = fit_unpaired(new, old, QUICK)
    assert upgrade.provenance.figures["agreement"] < 0.3
    assert upgrade.provenance.figures["agreement_by_chance"] == 0.02


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_with_few_items_a_wrong_map_does_not_pass_in_silence(seed):
    """Twelve clusters in eight dims, other items on each side: on all items at once, starts agreed on wrong maps."""
    generator = np.random.default_rng(seed)
    centres, turn = generator.normal(size=(12, 8)), np.linalg.qr(generator.normal(size=(8, 8)))[0]
    new, old = (centres[generator.integers(12, size=300)] + 0.2 * generator.normal(size=(300, 8)) for _ in range(2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bridge = fit_unpaired(
            embeddings(new, "new"), embeddings(old @ turn, "old"), Unpaired(clusters=24, draws=6)
        ).bridge
    mapped = normalized(bridge.apply(new.astype(np.float32)))
    right = (mapped * normalized((new @ turn).astype(np.float32))).sum(axis=1).mean() > 0.95
    assert right or "may not be matched" in str(caught[0].message)


@pytest.mark.slow
def test_unrelated_clusters_are_warned_of():
    with pytest.warns(UserWarning, match="do not trust this map"):
        fit_unpaired(Planted(seed=1).new, Planted(seed=2).old, QUICK)


@pytest.mark.slow
def test_the_ids_are_not_looked_at(planted, fitted):
    renamed = Embeddings(tuple(f"other {i}" for i in planted.old.ids), planted.old.vectors, planted.old.space)
    other = fit_unpaired(planted.new, renamed, QUICK)
    np.testing.assert_array_equal(fitted.bridge.weight, other.bridge.weight)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_it_can_be_saved(tmp_path):
    planted = Planted(rows=300)
    progress = []
    one, two = (
        fit_unpaired(planted.new, planted.old, QUICK, seed=4, progress=lambda *args: progress.append(args)).save(
            tmp_path / n
        )
        for n in ("one", "two")
    )
    assert (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()
    loaded = Upgrade.load(one)
    assert (loaded.direction, loaded.new_space, loaded.old_space) == (
        "backward", planted.new.space, planted.old.space,
    )  # fmt: skip
    assert loaded.provenance.method == "unpaired"
    assert loaded.provenance.seed == 4
    assert loaded.provenance.data.startswith("300 new and 300 old items without pairs, ")
    assert loaded.provenance.settings["clusters"] == 20
    assert progress[:3] == [(0, 3, "unpaired"), (1, 3, "unpaired"), (3, 3, "unpaired")]


@pytest.mark.slow
def test_it_ends_as_soon_as_two_starts_agree(fitted):
    figures = fitted.provenance.figures
    assert figures["scores"] == sorted(figures["scores"], reverse=True)
    assert (figures["starts"], len(figures["scores"])) == (2, 2)
    assert figures["agreement"] > 0.7


@pytest.mark.slow
def test_more_items_than_the_vocabulary():
    planted = Planted(dim=12, rows=1000)
    upgrade = fit_unpaired(planted.new, planted.old, Unpaired(clusters=20, draws=6, vocabulary=600))
    cosines = (normalized(upgrade.bridge.apply(planted.new.vectors)) * planted.true).sum(axis=1)
    assert cosines.mean() > 0.98


@pytest.mark.slow
def test_the_tolerance_decides_whether_to_warn():
    generator = np.random.default_rng(0)
    new, old = (embeddings(generator.normal(size=(200, 8)), name) for name in ("new", "old"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_unpaired(new, old, Unpaired(clusters=20, draws=2, starts=2, least_agreement=0.0))


@pytest.mark.slow
def test_repeated_items_do_no_harm():
    planted = Planted(rows=300)
    twice = embeddings(np.tile(planted.old.vectors, (2, 1)), "old")
    upgrade = fit_unpaired(planted.new, twice, QUICK)
    assert (normalized(upgrade.bridge.apply(planted.new.vectors)) * planted.true).sum(axis=1).mean() > 0.99


def test_too_few_and_constant_items_are_refused():
    planted = Planted(rows=100)
    few = planted.new.take(np.arange(79))
    with pytest.raises(InvalidInput, match="20 clusters need at least 80 items a side; 79 of new@1"):
        fit_unpaired(few, planted.old, QUICK)
    constant = embeddings(np.ones((100, 24)), "old")
    with pytest.raises(InvalidInput, match=r"all 100 vectors of old@1 .* point the same way"):
        fit_unpaired(planted.new, constant, QUICK)


@pytest.mark.slow
def test_items_that_span_few_directions_give_a_finite_isometry():
    generator = np.random.default_rng(3)
    flat = generator.normal(size=(200, 2)) @ generator.normal(size=(2, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a plane can be laid on another in many ways
        weight = fit_unpaired(embeddings(flat, "new"), embeddings(flat[:, ::-1], "old"), QUICK).bridge.weight
    gram = weight.T.astype(np.float64) @ weight
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(10), atol=1e-4)


def test_one_space_and_lengths_that_the_metric_needs_are_refused():
    planted = Planted(rows=100)
    with pytest.raises(InvalidInput, match="both sides are of new@1"):
        fit_unpaired(planted.new, planted.new, QUICK)
    long = Embeddings.of(planted.old.vectors * np.float32(3), Space("old", "1", 24, "dot"))
    with pytest.raises(InvalidInput, match="unpaired fits directions"):
        fit_unpaired(planted.new, long, QUICK)


@pytest.mark.slow
def test_the_wrong_direction_cannot_pass(planted, fitted):
    with pytest.raises(SpaceMismatch, match="old"):
        fitted.to_index_space(planted.old)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clusters": 1}, "clusters and starts are at least 2"),
        ({"starts": 1}, "clusters and starts are at least 2"),
        ({"neighbours": 0}, "draws and neighbours at least 1"),
        ({"draws": 0}, "draws and neighbours at least 1"),
        ({"vocabulary": 100}, "vocabulary at least four times"),
        ({"least_agreement": 1.5}, r"lies in \[0, 1\], came 1.5"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        Unpaired(**settings)


def test_clusters_that_are_there_are_found():
    generator = np.random.default_rng(0)
    centres = np.eye(5, 8)
    x = normalized((centres[np.arange(200) % 5] + 0.05 * generator.normal(size=(200, 8))).astype(np.float32))
    found, shares = cluster(x, 5, generator)
    np.testing.assert_allclose(sorted((found @ centres.T).max(axis=0)), np.ones(5), atol=0.01)
    np.testing.assert_allclose(shares, np.full(5, 0.2))


def test_more_clusters_than_distinct_rows_are_finite():
    x = np.tile(np.eye(2, 3, dtype=np.float32), (10, 1))
    centres, shares = cluster(x, 5, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-6)
    assert shares.sum() == pytest.approx(1)


@pytest.mark.slow
def test_a_permutation_of_clusters_is_found_and_the_coupling_keeps_their_shares():
    generator = np.random.default_rng(1)
    centres = normalized(generator.normal(size=(12, 6)).astype(np.float32))
    shares = generator.dirichlet(np.full(12, 20.0))
    order = generator.permutation(12)
    turned = (centres[order] @ np.linalg.qr(generator.normal(size=(6, 6)))[0]).astype(np.float32)
    profiles = similarity_profiles(centres, centres), similarity_profiles(turned, turned)
    coupling = couple((centres, shares), (turned, shares[order]), profiles)
    np.testing.assert_array_equal(coupling.argmax(axis=0), order)
    np.testing.assert_allclose(coupling.sum(axis=0), shares[order], atol=1e-6)
    np.testing.assert_allclose(coupling.sum(axis=1), shares, atol=1e-2)
