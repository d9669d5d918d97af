from dataclasses import replace

import numpy as np
import pytest
import torch

from embridge import Embeddings, Space
from embridge.errors import InvalidInput, SettingsError
from embridge.methods import Pairs, Training, make
from embridge.methods.procrustes import Procrustes, fit_rotation
from embridge.methods.projection import Projection
from embridge.methods.xbt import XBT
from embridge.methods.xbt_losses import neighbour_loss, with_noise, xbt_loss
from embridge.nearest import top_k
from embridge.testing import check_method

SHORT = Training(epochs=1, min_steps=60, batch_size=64)
QUICK = {"hidden_width": 32, "training": SHORT}


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"skip": False, "noise": 0.3, "training": replace(SHORT, min_steps=200)},
        {"hidden_width": 0},
        {"precision": "float32"},
    ],
)
def test_contract(make_pairs, settings):
    assert check_method(XBT(**(QUICK | settings)), make_pairs()) == []


@pytest.mark.parametrize("center", [True, False])
def test_without_noise_and_mlp_it_is_procrustes(make_pairs, center):
    pairs = make_pairs()
    method = XBT(hidden_width=0, noise=0, closed_form="procrustes", center=center)
    ours = method.fit(pairs).bridge.apply(pairs.new.vectors)
    theirs = Procrustes(center=center).fit(pairs).bridge.apply(pairs.new.vectors)
    np.testing.assert_allclose(unit(ours), unit(theirs), atol=1e-6)


def test_without_mlp_it_is_whitened_procrustes_by_default(make_pairs):
    pairs = make_pairs()
    ours = XBT(hidden_width=0).fit(pairs)
    theirs = make("whitened-procrustes", {"whitening": 0.2, "kept_mean": 1.0}).fit(pairs)
    np.testing.assert_array_equal(ours.bridge.weight, theirs.bridge.weight)
    assert ours.provenance.figures["closed_form"] == "whitened"


@pytest.mark.parametrize(("common", "caution", "kept_mean"), [(3.0, 640.0, 0.5), (3.0, 6.0, 1.0), (0.0, 640.0, 1.0)])
def test_few_pairs_with_much_in_common_start_with_half_of_it(common, caution, kept_mean):
    """Items say more or less of their own beside what all old vectors share: those that say little are near to every query."""
    generator = np.random.default_rng(0)
    items = generator.normal(size=(400, 16))
    sides = items, items * generator.uniform(0.5, 2, size=(400, 1)) + common * np.eye(16)[0]
    new, old = (Embeddings.of(rows.astype(np.float32), Space(m, "1", 16)) for rows, m in zip(sides, "no", strict=True))
    method = XBT(hidden_width=0, caution=caution)
    upgrade = method.fit(Pairs(new, old))
    expected = make("whitened-procrustes", {"whitening": 0.2, "kept_mean": kept_mean}).fit(Pairs(new, old))
    np.testing.assert_array_equal(upgrade.bridge.weight, expected.bridge.weight)
    np.testing.assert_array_equal(upgrade.bridge.bias, expected.bridge.bias)
    assert upgrade.provenance.figures["kept_mean"] == kept_mean


def test_training_starts_at_the_procrustes_map(make_pairs):
    pairs = make_pairs()
    skip = fit_rotation(pairs, center=True)
    start = Projection(24, 32, 16, skip=skip, dropout=0.1).to_adapter(pairs.new.space, pairs.old.space)
    np.testing.assert_allclose(start.apply(pairs.new.vectors), unit(skip.apply(pairs.new.vectors)), atol=1e-6)


@pytest.mark.parametrize("with_skip", [True, False])
def test_the_numpy_adapter_is_the_torch_module(make_pairs, with_skip):
    pairs = make_pairs()
    skip = fit_rotation(pairs, center=True) if with_skip else None
    torch.manual_seed(0)
    module = Projection(24, 32, 16, skip=skip, dropout=0.1).eval()
    torch.nn.init.normal_(module.output.weight, std=0.1)
    with torch.inference_mode():
        expected = module(torch.from_numpy(pairs.new.vectors)).numpy()
    adapter = module.to_adapter(pairs.new.space, pairs.old.space)
    np.testing.assert_allclose(adapter.apply(pairs.new.vectors), expected, atol=1e-6)


def test_the_loss_is_its_formula():
    generator = np.random.default_rng(0)
    mapped, old = (unit(generator.normal(size=(5, 4))) for _ in range(2))
    logits = mapped @ old.T / 0.1
    rows, columns, cosines = 0.0, 0.0, 0.0
    for i in range(5):
        rows += np.log(sum(np.exp(logits[i, j]) for j in range(5))) - logits[i, i]
        columns += np.log(sum(np.exp(logits[j, i]) for j in range(5))) - logits[i, i]
        cosines += 1 - mapped[i] @ old[i]
    expected = (rows + columns) / 2 / 5 + 3 * cosines / 5
    loss = xbt_loss(torch.tensor(mapped), torch.tensor(old), temperature=0.1, cosine_weight=3.0)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_shares_weigh_the_terms_of_each_caption():
    generator = np.random.default_rng(0)
    mapped, old = (torch.tensor(unit(generator.normal(size=(5, 4)))) for _ in range(2))
    shares, expected = torch.tensor([2.0, 0.5, 0.5, 1.5, 0.5]).double(), 0.0
    logits = (mapped @ old.T / 0.1).numpy()
    for i in range(5):
        row, column = (np.log(np.exp(x).sum()) - x[i] for x in (logits[i], logits[:, i]))
        expected += float(shares[i]) * ((row + column) / 2 + 3 * (1 - float(mapped[i] @ old[i]))) / 5
    loss = xbt_loss(mapped, old, temperature=0.1, cosine_weight=3.0, shares=shares)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    plain, ones = (xbt_loss(mapped, old, temperature=0.1, cosine_weight=3.0, shares=s) for s in (None, shares * 0 + 1))
    torch.testing.assert_close(plain, ones)


def test_the_neighbour_loss_is_its_formula():
    generator = np.random.default_rng(0)
    z, new = (unit(generator.normal(size=(5, 6))) for _ in range(2))
    mapped, old = (unit(generator.normal(size=(5, 4))) for _ in range(2))
    expected = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        target, actual = (np.exp([row @ t[j] / 0.1 for j in others]) for row, t in ((z[i], new), (mapped[i], old)))
        target, actual = target / target.sum(), actual / actual.sum()
        expected.append(sum(p * np.log(p / q) for p, q in zip(target, actual, strict=True)))
    rows = tuple(map(torch.tensor, (z, mapped))), tuple(map(torch.tensor, (new, old)))
    assert neighbour_loss(*rows[0], rows[1], temperature=0.1).item() == pytest.approx(np.mean(expected), rel=1e-9)
    shares = torch.tensor([2.0, 0.5, 0.5, 1.5, 0.5]).double()
    weighted = neighbour_loss(*rows[0], rows[1], temperature=0.1, shares=shares).item()
    assert weighted == pytest.approx(np.mean(shares.numpy() * expected), rel=1e-9)


def test_a_rotation_keeps_all_neighbours():
    """Zero, and least, where the old space is the new one turned, for vectors that are no caption's too."""
    generator = np.random.default_rng(0)
    turn = torch.tensor(np.linalg.qr(generator.normal(size=(6, 6)))[0])
    z, new = (torch.tensor(unit(generator.normal(size=(9, 6)))) for _ in range(2))
    texts = new, new @ turn
    assert abs(neighbour_loss(z, z @ turn, texts, temperature=0.05).item()) < 1e-12
    moved = torch.nn.functional.normalize(z @ turn + 0.3, dim=1)
    assert neighbour_loss(z, moved, texts, temperature=0.05).item() > 0.01


@pytest.mark.slow
def test_without_the_neighbour_loss_the_noise_is_in_the_other(make_pairs, monkeypatch):
    def refuse(*arguments, **settings):
        raise AssertionError("not asked for")

    monkeypatch.setattr("embridge.methods.xbt.neighbour_loss", refuse)
    plain, noised = (
        XBT(**QUICK | {"skip": False, "noise": noise, "neighbour_weight": 0.0}).fit(make_pairs())
        for noise in (0.0, 1.0)
    )
    assert any((plain.bridge.weights()[n] != w).any() for n, w in noised.bridge.weights().items())
    with pytest.raises(AssertionError, match="not asked for"):
        XBT(**QUICK).fit(make_pairs())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the pairs look shuffled")  # half of them say the contrary
def test_weights_decide_between_captions_that_contradict(make_pairs):
    pairs = make_pairs(rows=400, noise=0.0)
    first = np.arange(400) < 200
    old = np.where(first[:, None], pairs.old.vectors, -pairs.old.vectors)
    both = replace(pairs, old=pairs.old.with_vectors(old, pairs.old.space))
    method = XBT(hidden_width=64, skip=False, training=Training(min_steps=200, batch_size=100, patience=20))
    agree, oppose = (
        (unit(method.fit(replace(both, weights=w)).bridge.apply(pairs.new.vectors)) * pairs.old.vectors).sum(1).mean()
        for w in (np.where(first, 9.0, 1.0), np.where(first, 1.0, 9.0))
    )
    assert agree > 0.25
    assert oppose < -0.25


@pytest.mark.slow
def test_without_weights_the_bytes_are_those_of_the_plain_loss(make_pairs, monkeypatch):
    """The loss as the paper has it, put in the place of the library's, which also takes weights."""

    def plain(mapped, old, *, temperature, cosine_weight, shares):
        assert shares is None
        logits, target = mapped @ old.T / temperature, torch.arange(len(mapped))
        rows, columns = (torch.nn.functional.cross_entropy(x, target) for x in (logits, logits.T))
        return (rows + columns) / 2 + cosine_weight * (1 - (mapped * old).sum(1)).mean()

    settings = QUICK | {"skip": False, "noise": 0.3}
    actual = XBT(**settings).fit(make_pairs())
    monkeypatch.setattr("embridge.methods.xbt.xbt_loss", plain)
    expected = XBT(**settings).fit(make_pairs())
    assert actual.provenance.figures["best_step"] > 0
    for name, weight in expected.bridge.weights().items():
        assert actual.bridge.weights()[name].tobytes() == weight.tobytes()


def test_noise_keeps_length_one_and_has_the_length_asked_for():
    torch.manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(4_000, 64), dim=1)
    moved = with_noise(z, 0.5)
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(4_000))
    # the part across z has length u·0.5 for u ~ U(0, 1), and renormalising turns that into its tangent
    tangent = torch.tan(torch.arccos((moved * z).sum(1).clamp(max=1)))
    assert tangent.max() < 0.75
    assert tangent.mean().item() == pytest.approx(0.25, abs=0.02)
    assert with_noise(z, 0) is z


@pytest.mark.slow
def test_noise_carries_the_map_to_vectors_beside_the_text(make_pairs):
    """Images lie beside the text at a constant offset; a map fitted on text alone must still serve them."""
    pairs = make_pairs(rows=2_000, noise=0.0)
    generator = np.random.default_rng(7)
    new_gap, old_gap = (generator.normal(size=d) / d**0.5 for d in (24, 16))
    images = unit(pairs.new.vectors + 1.0 * new_gap).astype(np.float32)[:500]
    gallery = unit(pairs.old.vectors + 1.0 * old_gap).astype(np.float32)[:500]
    bridge = XBT(hidden_width=64, training=Training(min_steps=200, batch_size=256)).fit(pairs).bridge
    rows = top_k(bridge.apply(images), gallery, 10).rows
    found = (rows == np.arange(500)[:, None]).any(axis=1).mean()
    assert found > 0.5  # by chance 10 of 500: .02


@pytest.mark.slow
def test_one_map_serves_both_modalities(make_pairs):
    upgrade = XBT(**QUICK).fit(make_pairs())
    texts = Embeddings.of(np.eye(24, dtype=np.float32)[:3], upgrade.new_space, ["text 1", "text 2", "text 3"])
    images = Embeddings.of(texts.vectors, upgrade.new_space, ["image 1", "image 2", "image 3"])
    np.testing.assert_array_equal(upgrade.to_index_space(texts).vectors, upgrade.to_index_space(images).vectors)


@pytest.mark.slow
def test_figures_say_how_the_training_went(make_pairs):
    figures = XBT(**QUICK, noise=0.3, skip=False).fit(make_pairs()).provenance.figures
    assert figures["steps"] <= 60
    assert figures["samples_per_second"] > 0
    assert max(figures["validation_scores"]) > figures["validation_scores"][0]
    assert figures["best_step"] > 0


@pytest.mark.slow
def test_where_training_does_not_help_the_closed_form_map_is_kept(make_pairs):
    """Steps far too long only do harm: the upgrade is the Procrustes map of all pairs."""
    pairs = make_pairs(rows=200, noise=0.0)
    harmed = replace(SHORT, learning_rate=10.0)
    upgrade = XBT(hidden_width=32, closed_form="procrustes", training=harmed).fit(pairs)
    assert upgrade.provenance.figures["best_step"] == 0
    np.testing.assert_array_equal(upgrade.bridge.weights()["weight"], fit_rotation(pairs, center=False).weight)


def test_part_of_the_way_lies_between_the_skip_path_and_what_was_learnt(make_pairs):
    pairs = make_pairs()
    torch.manual_seed(0)
    module = Projection(24, 32, 16, skip=fit_rotation(pairs, center=True), dropout=0.1).eval()
    torch.nn.init.normal_(module.output.weight, std=0.1)
    torch.nn.init.normal_(module.output.bias, std=0.1)
    z = torch.from_numpy(unit(pairs.new.vectors))
    with torch.inference_mode():
        start, learnt = (module.part_way(share).before_normalising(z) for share in (0.0, 1.0))
        torch.testing.assert_close(start, module.skip(z), rtol=0, atol=0)
        torch.testing.assert_close(learnt, module.before_normalising(z), rtol=0, atol=0)
        between = module.part_way(0.3).before_normalising(z)
        torch.testing.assert_close(between, 0.7 * start + 0.3 * learnt, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the pairs look shuffled")  # to a linear map
def test_the_fewer_captions_the_nearer_it_stays_to_the_closed_form(make_pairs):
    pairs = make_pairs(rows=400)
    bent = pairs.old.with_vectors(unit(np.abs(pairs.old.vectors)).astype(np.float32), pairs.old.space)
    pairs, count = replace(pairs, old=bent), len(pairs.split(0.05, seed=0)[0])
    start = fit_rotation(pairs, center=False, rows=pairs.split(0.05, seed=0)[0])
    moved = []
    for caution in (0.0, 8.0, 64.0):
        upgrade = XBT(
            hidden_width=32,
            closed_form="procrustes",
            center=False,
            caution=caution,
            training=Training(min_steps=200, batch_size=64),
        ).fit(pairs)
        assert upgrade.provenance.figures["kept_share"] == round(count / (count + caution * 16), 4)
        moved.append(float(np.linalg.norm(upgrade.bridge.layers[-1].weight)))
        np.testing.assert_array_equal(upgrade.bridge.skip.weight, start.weight)
    assert moved[0] > moved[1] > moved[2] > 0


@pytest.mark.slow
def test_it_stops_when_validation_no_longer_improves(make_pairs):
    settings = XBT(
        hidden_width=64, noise=0.0, training=Training(min_steps=600, batch_size=16, patience=2, learning_rate=3e-2)
    )
    figures = settings.fit(make_pairs(rows=40, noise=1.0)).provenance.figures
    assert figures["steps"] < 600
    assert figures["best_step"] < figures["steps"]


@pytest.mark.slow
def test_the_global_random_state_is_left_alone(make_pairs):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    XBT(**QUICK).fit(make_pairs())
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_a_device_that_is_not_there_is_refused(make_pairs):
    with pytest.raises(SettingsError, match=r"xbt: device 'nowhere' cannot be used here"):
        XBT(**QUICK, device="nowhere").fit(make_pairs())


def test_one_pair_is_too_few(make_pairs):
    with pytest.warns(UserWarning, match="1 pairs"), pytest.raises(InvalidInput, match="one pair came; at least two"):
        XBT(**QUICK).fit(make_pairs(rows=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_width": -1}, "hidden_width is 0"),
        ({"hidden_width": 0, "skip": False}, "hidden_width is 0"),
        ({"noise": -0.1}, "out of range"),
        ({"noise": float("nan")}, "out of range"),
        ({"temperature": 0.0}, "out of range"),
        ({"dropout": 1.0}, "out of range"),
        ({"caution": -1.0}, "out of range"),
        ({"caution": float("nan")}, "out of range"),
        ({"isometry_weight": float("nan")}, "out of range"),
        ({"neighbour_temperature": float("nan")}, "out of range"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        XBT(**settings)


@pytest.mark.usefixtures("as_in_production")
def test_an_unknown_precision_is_refused():
    with pytest.raises(SettingsError, match="precision is auto, float32 or bfloat16, came 'float16'"):
        XBT(precision="float16")


@pytest.mark.slow
def test_without_a_skip_path_nothing_is_said_of_centring(make_pairs):
    figures = XBT(**QUICK, skip=False).fit(make_pairs()).provenance.figures
    assert "centered" not in figures
