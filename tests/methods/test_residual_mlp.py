from dataclasses import replace

import numpy as np
import pytest
import torch

from embridge import Embeddings, Space
from embridge.adapters import MLP, Linear
from embridge.errors import InvalidInput, SettingsError
from embridge.methods import Pairs, Training
from embridge.methods.pair_rows import Rows
from embridge.methods.perceptron import Perceptron
from embridge.methods.procrustes import fit_rotation
from embridge.methods.residual_mlp import ResidualMLP, residual_loss
from embridge.testing import check_method

SHORT = Training(epochs=1, min_steps=60, batch_size=64)
QUICK = {"hidden_width": 32, "training": SHORT}


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def bent_pairs(rows=1_500, seed=0):
    """Old vectors that no linear map of the new ones gives."""
    generator = np.random.default_rng(seed)
    new = unit(generator.normal(size=(rows, 8)))
    basis, _ = np.linalg.qr(np.random.default_rng(99).normal(size=(8, 8)))
    old = new @ basis + 2.0 * np.abs(new @ basis[:, ::-1])
    spaces = Space("new", "1", 8), Space("old", "1", 8)
    return Pairs(*(Embeddings.of(x.astype(np.float32), s) for x, s in zip((new, old), spaces, strict=True)))


def cosine(bridge, pairs):
    return float((unit(bridge.apply(pairs.new.vectors)) * unit(pairs.old.vectors)).sum(1).mean())


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"scale": True}, {"loss": "mse"}, {"center": True}])
def test_contract(make_pairs, settings):
    assert check_method(ResidualMLP(**(QUICK | settings)), make_pairs()) == []


def test_training_starts_at_the_procrustes_map(make_pairs):
    pairs = make_pairs()
    start = fit_rotation(pairs, center=True)
    module = Perceptron((24, 32, 16), start=start, scale=True, dropout=0.1)
    adapter = module.to_adapter(pairs.new.space, pairs.old.space)
    np.testing.assert_allclose(adapter.apply(pairs.new.vectors), unit(start.apply(pairs.new.vectors)), atol=1e-6)


@pytest.mark.parametrize("with_start", [True, False])
def test_the_numpy_adapter_is_the_torch_module(make_pairs, with_start):
    pairs = make_pairs()
    torch.manual_seed(0)
    start = fit_rotation(pairs, center=True) if with_start else None
    module = Perceptron((24, 32, 20, 16), start=start, scale=True, dropout=0.1).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(module(torch.from_numpy(pairs.new.vectors)), dim=1).numpy()
    adapter = module.to_adapter(pairs.new.space, pairs.old.space)
    np.testing.assert_allclose(adapter.apply(pairs.new.vectors), expected, atol=2e-6)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_the_loss_is_its_formula(make_pairs, kind):
    pairs = make_pairs(rows=5)
    weights = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    rows = Rows.of(pairs.new.vectors, pairs.old.vectors, replace(pairs, weights=weights))
    torch.manual_seed(0)
    module = torch.nn.Linear(24, 16)
    expected = 0.0
    for i in range(5):
        y = module(rows.source[i]).detach().numpy().astype(float)
        target = rows.target[i].numpy().astype(float)
        error = ((y - target) ** 2).sum() if kind == "mse" else 1 - y @ target / np.linalg.norm(y)
        expected += weights[i] * error / weights.sum()
    assert residual_loss(module, rows, kind=kind).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_it_learns_what_no_rotation_can():
    pairs, unseen = bent_pairs(), bent_pairs(300, seed=1)
    upgrade = ResidualMLP(
        hidden_width=64, dropout=0.0, center=False, training=Training(min_steps=300, batch_size=256)
    ).fit(pairs)
    assert isinstance(upgrade.bridge, MLP)
    assert cosine(upgrade.bridge, unseen) > cosine(fit_rotation(pairs, center=False), unseen) + 0.1
    losses = upgrade.provenance.figures["validation_losses"]
    assert min(losses) == losses[-1] or upgrade.provenance.figures["best_step"] < upgrade.provenance.figures["steps"]
    assert 1 - cosine(upgrade.bridge, unseen) == pytest.approx(min(losses), abs=0.02)


def test_where_training_does_not_help_the_closed_form_map_is_kept(make_pairs):
    pairs = make_pairs(rows=200, noise=0.0)
    upgrade = ResidualMLP(hidden_width=32, training=replace(SHORT, learning_rate=10.0)).fit(pairs)
    assert upgrade.provenance.figures["best_step"] == 0
    assert isinstance(upgrade.bridge, Linear)
    np.testing.assert_array_equal(upgrade.bridge.weight, fit_rotation(pairs, center=False).weight)


@pytest.mark.slow
def test_it_stops_when_validation_no_longer_improves(make_pairs):
    settings = ResidualMLP(
        hidden_width=64, training=Training(min_steps=600, batch_size=16, patience=2, learning_rate=3e-2)
    )
    figures = settings.fit(make_pairs(rows=40, noise=1.0)).provenance.figures
    assert figures["steps"] < 600
    assert figures["best_step"] < figures["steps"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the pairs look shuffled")  # half of them say the contrary
def test_weights_are_as_repeated_pairs():
    """Two maps, each right for half of the pairs: the half that counts wins, by weight as by repetition."""
    one, other = bent_pairs(400), bent_pairs(400, seed=2)
    new = np.concatenate([one.new.vectors, other.new.vectors])
    old = np.concatenate([one.old.vectors, -other.old.vectors])
    both = Pairs(Embeddings.of(new, one.new.space), Embeddings.of(old, one.old.space))
    first = np.arange(800) < 400
    method = ResidualMLP(
        hidden_width=64, center=False, training=Training(min_steps=150, batch_size=256, validation_fraction=0.1)
    )
    repeated = np.concatenate([np.repeat(np.arange(400), 9), np.arange(400, 800)])
    ids = tuple(map(str, range(len(repeated))))
    many = Pairs(Embeddings(ids, new[repeated], both.new.space), Embeddings(ids, old[repeated], both.old.space))
    cosines = [
        cosine(method.fit(pairs).bridge, one)
        for pairs in (replace(both, weights=np.where(first, 9.0, 1.0)), many, both, replace(both, weights=np.ones(800)))
    ]
    assert cosines[0] == pytest.approx(cosines[1], abs=0.03)
    assert cosines[0] > cosines[2] + 0.2
    assert cosines[3] == cosines[2]


@pytest.mark.slow
def test_the_global_random_state_is_left_alone(make_pairs):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ResidualMLP(**QUICK).fit(make_pairs())
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_one_pair_is_too_few(make_pairs):
    with pytest.warns(UserWarning, match="1 pairs"), pytest.raises(InvalidInput, match="one pair came; at least two"):
        ResidualMLP(**QUICK).fit(make_pairs(rows=1))


def test_two_pairs_are_mapped_onto_each_other(make_pairs):
    pairs = make_pairs(rows=2)
    with pytest.warns(UserWarning, match="2 pairs"):
        bridge = ResidualMLP(**QUICK).fit(pairs).bridge
    assert np.isfinite(bridge.apply(pairs.new.vectors)).all()


@pytest.mark.slow
def test_anisotropic_input_is_mapped(make_pairs):
    """All vectors in a narrow cone around one direction, as post-ReLU features are."""
    pairs = make_pairs(rows=600)
    new, old = (unit(side.vectors + 3).astype(np.float32) for side in (pairs.new, pairs.old))
    narrow = Pairs(Embeddings.of(new, pairs.new.space), Embeddings.of(old, pairs.old.space))
    start = Pairs(narrow.new.take(np.arange(500)), narrow.old.take(np.arange(500)))
    unseen = narrow.take(np.arange(500, 600))
    upgrade = ResidualMLP(hidden_width=64, training=Training(min_steps=200, batch_size=128)).fit(start)
    assert cosine(upgrade.bridge, unseen) >= cosine(fit_rotation(start, center=False), unseen)


@pytest.mark.slow
def test_rows_of_zeros_count_for_nothing(make_pairs):
    pairs = make_pairs()
    new = pairs.new.vectors.copy()
    new[:100] = 0
    spoilt = replace(pairs, new=pairs.new.with_vectors(new, pairs.new.space))
    upgrade = ResidualMLP(**QUICK).fit(spoilt)
    assert cosine(upgrade.bridge, pairs) > 0.9
    nothing = replace(pairs, new=pairs.new.with_vectors(np.zeros_like(new), pairs.new.space))
    with pytest.raises(InvalidInput, match="to train or to validate on has a vector of zeros"):
        ResidualMLP(**QUICK).fit(nothing)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_width": 0}, "hidden_width or dropout out of range"),
        ({"dropout": 1.0}, "hidden_width or dropout out of range"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        ResidualMLP(**settings)


@pytest.mark.usefixtures("as_in_production")
def test_an_unknown_loss_is_refused():
    with pytest.raises(SettingsError, match="loss is cosine or mse, came 'l1'"):
        ResidualMLP(loss="l1")
