import numpy as np
import pytest
from paired_vectors import pairs_of, unit

from embridge import Embeddings
from embridge.errors import InvalidInput
from embridge.methods.mean_shift import MeanShift
from embridge.nearest import top_k
from embridge.testing import check_method


@pytest.fixture
def shifted():
    """One model's vectors and the same with another mean and stretched axes."""
    generator = np.random.default_rng(0)
    new = unit(generator.normal(size=(200, 8)))
    return pairs_of(new, new * np.linspace(0.2, 1, 8) + 2 * generator.normal(size=8) / 8**0.5)


@pytest.mark.parametrize("diagonal", [False, True])
def test_contract_as_far_as_a_control_can_keep_it(shifted, diagonal):
    """Everything up to the planted rotation, between unequal dims, which no shift of the mean can find."""
    with pytest.raises(InvalidInput, match="both spaces need one dim; came 12 new and 8 old"):
        check_method(MeanShift(diagonal=diagonal), shifted)
    with pytest.warns(UserWarning, match="15 pairs fit a map into 8 dimensions; at least 16"):
        MeanShift(diagonal=diagonal).fit(shifted.take(np.arange(15)))


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_means_meet(shifted, diagonal):
    upgrade = MeanShift(diagonal=diagonal).fit(shifted)
    new, old = (unit(side.vectors.astype(np.float64)) for side in (shifted.new, shifted.old))
    mapped = upgrade.bridge.apply(shifted.new.vectors)
    np.testing.assert_allclose(mapped.mean(axis=0), old.mean(axis=0), atol=1e-6)
    shift = np.linalg.norm(old.mean(axis=0) - new.mean(axis=0))
    assert upgrade.provenance.figures["shift"] == pytest.approx(shift)


def test_without_the_diagonal_nothing_but_the_mean_changes(shifted):
    mapped = MeanShift().fit(shifted).bridge.apply(shifted.new.vectors)
    moved = mapped - unit(shifted.new.vectors)
    np.testing.assert_allclose(moved, np.tile(moved[:1], (200, 1)), atol=1e-6)


def test_the_diagonal_is_the_slope_of_least_squares(shifted):
    weight = MeanShift(diagonal=True).fit(shifted).bridge.weight
    new, old = (unit(side.vectors.astype(np.float64)) for side in (shifted.new, shifted.old))
    expected = [np.polyfit(new[:, j], old[:, j], 1)[0] for j in range(8)]
    np.testing.assert_allclose(weight, np.diag(expected), atol=1e-5)


def test_an_axis_that_does_not_vary_is_left_alone():
    generator = np.random.default_rng(1)
    new = unit(np.column_stack([generator.normal(size=(50, 2)), np.zeros(50)]))
    weight = MeanShift(diagonal=True).fit(pairs_of(new, unit(generator.normal(size=(50, 3))))).bridge.weight
    assert weight[2, 2] == 1.0


@pytest.mark.parametrize("diagonal", [False, True])
def test_weights_are_repeated_pairs(shifted, diagonal):
    weights = np.where(np.arange(200) < 50, 3.0, 1.0)
    rows = np.concatenate([np.arange(200), np.arange(50), np.arange(50)])
    weighted = pairs_of(shifted.new.vectors, shifted.old.vectors, weights)
    repeated = pairs_of(shifted.new.vectors[rows], shifted.old.vectors[rows])
    maps = [MeanShift(diagonal=diagonal).fit(p).bridge for p in (weighted, repeated)]
    np.testing.assert_allclose(maps[0].weight, maps[1].weight, atol=1e-6)
    np.testing.assert_allclose(maps[0].bias, maps[1].bias, atol=1e-6)


def test_it_closes_a_gap_and_is_at_chance_after_a_rotation():
    generator = np.random.default_rng(2)
    new = unit(generator.normal(size=(500, 16)))
    gap, rotation = 3 * unit(generator.normal(size=(1, 16))), np.linalg.qr(generator.normal(size=(16, 16)))[0]

    def found(old):
        pairs = pairs_of(new, old)
        rows = top_k(MeanShift().fit(pairs).bridge.apply(pairs.new.vectors), pairs.old.vectors, 1).rows[:, 0]
        return (rows == np.arange(500)).mean()

    assert found(new + gap) > 0.5
    assert found(new @ rotation + gap) < 0.05


def upgrade_input(upgrade, vectors):
    return Embeddings.of(vectors.astype(np.float32), upgrade.new_space)


def test_one_pair_is_its_own_mean():
    with pytest.warns(UserWarning, match="1 pairs"):
        upgrade = MeanShift(diagonal=True).fit(pairs_of(np.eye(1, 3), np.eye(1, 3, 1)))
    np.testing.assert_allclose(upgrade.bridge.apply(np.eye(1, 3, dtype=np.float32)), np.eye(1, 3, 1), atol=1e-6)
