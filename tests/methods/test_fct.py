from dataclasses import replace

import numpy as np
import pytest
import torch

from embridge import Embeddings, Space
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.methods import Pairs, Training
from embridge.methods.fct import FCT, fct_loss, with_side
from embridge.methods.pair_rows import Rows, reversed_pairs
from embridge.methods.procrustes import fit_rotation
from embridge.testing import check_method

SHORT = Training(epochs=1, min_steps=80, batch_size=64)
QUICK = {"hidden_width": 32, "training": SHORT}


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def rows_of(x, model):
    return Embeddings.of(x.astype(np.float32), Space(model, "1", x.shape[1]))


def error(bridge, old, new):
    """Mean squared distance of unit vectors."""
    return float(((unit(bridge.apply(old)) - unit(new)) ** 2).sum(1).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"skip": False, "training": replace(SHORT, min_steps=300), "dropout": 0.0}, {"center": True}]
)
def test_contract(make_pairs, settings):
    assert check_method(FCT(**(QUICK | settings)), make_pairs()) == []


@pytest.mark.slow
def test_the_upgrade_maps_the_gallery_forward(make_pairs):
    pairs = make_pairs()
    upgrade = FCT(**QUICK).fit(pairs)
    assert upgrade.direction == "forward"
    assert upgrade.bridge(pairs.old).space == pairs.new.space
    with pytest.raises(SpaceMismatch, match="expected vectors of old"):
        upgrade.bridge(pairs.new)


def test_the_loss_is_its_formula(make_pairs):
    pairs = make_pairs(rows=5)
    weights = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    rows = Rows.of(pairs.old.vectors, pairs.new.vectors, replace(pairs, weights=weights))
    torch.manual_seed(0)
    module = torch.nn.Linear(16, 24)
    expected = 0.0
    for i in range(5):
        y = module(rows.source[i]).detach().numpy().astype(float)
        expected += weights[i] * ((y / np.linalg.norm(y) - pairs.new.vectors[i]) ** 2).sum() / weights.sum()
    assert fct_loss(module, rows).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_it_learns_what_no_rotation_can():
    generator = np.random.default_rng(0)
    basis, _ = np.linalg.qr(generator.normal(size=(8, 8)))
    old = unit(generator.normal(size=(1_800, 8)))
    pairs = Pairs(rows_of(old @ basis + 2 * np.abs(old @ basis[:, ::-1]), "new"), rows_of(old, "old"))
    fitted, unseen = pairs.take(np.arange(1_500)), pairs.take(np.arange(1_500, 1_800))
    upgrade = FCT(hidden_width=64, dropout=0.0, training=Training(batch_size=256)).fit(fitted)
    trained = error(upgrade.bridge, unseen.old.vectors, unseen.new.vectors)
    linear = error(fit_rotation(reversed_pairs(fitted), center=False), unseen.old.vectors, unseen.new.vectors)
    assert trained < 0.6 * linear
    assert trained == pytest.approx(min(upgrade.provenance.figures["validation_losses"]), rel=0.25)


def test_where_training_does_not_help_the_closed_form_map_is_kept(make_pairs):
    pairs = make_pairs(rows=200, noise=0.0)
    upgrade = FCT(hidden_width=32, training=replace(SHORT, learning_rate=10.0)).fit(pairs)
    assert upgrade.provenance.figures["best_step"] == 0
    expected = fit_rotation(reversed_pairs(pairs), center=False).weight
    np.testing.assert_array_equal(upgrade.bridge.weights()["weight"], expected)


@pytest.mark.slow
def test_side_information_carries_what_the_old_model_dropped():
    """The new model sees ten coordinates, the old one six of them; the side information was the other four."""
    generator = np.random.default_rng(1)
    seen = unit(generator.normal(size=(1_300, 10)))
    rotation, _ = np.linalg.qr(generator.normal(size=(10, 10)))
    new, old, side = rows_of(seen @ rotation, "new"), rows_of(seen[:, :6], "old"), rows_of(seen[:, 6:] * 50, "side")
    errors = {}
    for name, stored in {"alone": old, "with side": with_side(old, side)}.items():
        pairs = Pairs(new, stored)
        fitted, unseen = pairs.take(np.arange(1_000)), pairs.take(np.arange(1_000, 1_300))
        bridge = FCT(hidden_width=64, training=Training(batch_size=200)).fit(fitted).bridge
        assert bridge.source == stored.space
        errors[name] = error(bridge, unseen.old.vectors, unseen.new.vectors)
    assert errors["with side"] < 0.4 * errors["alone"]


def test_a_side_has_the_same_weight_whatever_its_length(make_pairs):
    old = make_pairs(rows=3).old
    side = rows_of(np.arange(1.0, 7).reshape(3, 2), "colours")
    joint = with_side(old, side)
    assert joint.space == Space("old + colours", "1 + 1", 18)
    assert joint.ids == old.ids
    np.testing.assert_allclose(joint.vectors[:, :16], old.vectors / 2**0.5, atol=1e-6)
    np.testing.assert_allclose(joint.vectors[:, 16:], unit(side.vectors) / 2**0.5, atol=1e-6)
    longer = side.with_vectors(side.vectors * np.float32(9), side.space)
    np.testing.assert_allclose(with_side(old, longer).vectors, joint.vectors, atol=1e-6)


def test_a_side_of_other_items_or_another_dim_is_refused(make_pairs):
    old = make_pairs(rows=3).old
    side = rows_of(np.ones((3, 2)), "colours")
    with pytest.raises(InvalidInput, match="3 vectors of old and 2 of colours with other ids"):
        with_side(old, side.take([0, 1]))
    with pytest.raises(InvalidInput, match=r"expected shape \[n, 17\], came \[3, 18\]"):
        with_side(old, side, space=Space("mine", "1", 17))
    assert with_side(old, side, space=Space("mine", "1", 18)).space.model == "mine"


@pytest.mark.slow
def test_weights_decide_between_pairs_that_contradict(make_pairs):
    pairs = make_pairs(rows=400, noise=0.0)
    first = np.arange(400) < 200
    new = np.where(first[:, None], pairs.new.vectors, -pairs.new.vectors)
    both = replace(pairs, new=pairs.new.with_vectors(new, pairs.new.space))
    with pytest.warns(UserWarning, match="look shuffled"):  # half say the one thing, half the other
        at = [
            error(FCT(**QUICK).fit(replace(both, weights=w)).bridge, pairs.old.vectors[first], new[first])
            for w in (np.where(first, 9.0, 1.0), np.where(first, 1.0, 9.0))
        ]
    assert at[0] < 1.5
    assert at[1] > 2.5


def test_one_pair_is_too_few(make_pairs):
    with pytest.warns(UserWarning, match="1 pairs"), pytest.raises(InvalidInput, match="one pair came; at least two"):
        FCT(**QUICK).fit(make_pairs(rows=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_width": 0}, "fct: hidden_width or dropout out of range"),
        ({"dropout": -0.1}, "fct: hidden_width or dropout out of range"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        FCT(**settings)
