from dataclasses import replace

import numpy as np
import pytest
import torch
from paired_vectors import pairs_of, unit

from embridge.adapters import Linear
from embridge.errors import InvalidInput, SettingsError
from embridge.methods import Pairs, Training
from embridge.methods.lambda_orthogonal import (
    LambdaOrthogonal,
    contrastive_loss,
    orthogonality_gap,
    orthogonality_penalty,
)
from embridge.methods.pair_rows import Rows
from embridge.methods.procrustes import fit_rotation
from embridge.nearest import top_k
from embridge.testing import check_method

SHORT = Training(epochs=1, min_steps=80, batch_size=64, weight_decay=0.0)
QUICK = {"training": SHORT}


def stretched_pairs(rows=1_000, d=12, seed=0):
    """A rotation, then other factors for other coordinates."""
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(d, d)))
    new = unit(generator.normal(size=(rows, d)))
    return pairs_of(new, (new @ rotation) * np.linspace(0.2, 1.8, d))


def gap(weight):
    return float(orthogonality_gap(torch.from_numpy(weight)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"strict": True}, {"direction": "forward"}, {"direction": "forward", "strict": True, "bias": False}],
)
def test_contract(make_pairs, settings):
    assert check_method(LambdaOrthogonal(**(QUICK | settings)), make_pairs()) == []


@pytest.mark.parametrize("shape", [(5, 5), (7, 4), (4, 7)])
def test_the_penalty_is_its_formula(shape):
    weight = np.random.default_rng(0).normal(size=shape)
    gram = weight @ weight.T if shape[0] <= shape[1] else weight.T @ weight
    expected = 0.0
    for i in range(len(gram)):
        for j in range(len(gram)):
            expected += (gram[i, j] - (i == j)) ** 2
    expected = expected**0.5
    tensor = torch.from_numpy(weight)
    assert orthogonality_gap(tensor).item() == pytest.approx(expected)
    penalty = orthogonality_penalty(tensor, threshold=expected - 0.5, sharpness=3.0).item()
    assert penalty == pytest.approx(expected / (1 + np.exp(-1.5)))
    isometry = torch.linalg.qr(tensor)[0] if shape[0] >= shape[1] else torch.linalg.qr(tensor.T)[0].T
    assert orthogonality_gap(isometry).item() < 1e-12


def test_the_contrastive_loss_is_its_formula():
    generator = np.random.default_rng(0)
    mapped, target = generator.normal(size=(6, 4)), unit(generator.normal(size=(6, 4)))
    labels, shares, tau = np.array([0, 0, 1, 1, 1, 2]), np.array([0.5, 1.5, 1.0, 0.25, 1.75, 1.0]), 0.3
    expected = 0.0
    for i in range(6):
        scores = [np.exp(unit(mapped)[i] @ target[j] / tau) for j in range(6)]
        whole = sum(shares[j] * scores[j] for j in range(6))
        same = [j for j in range(6) if labels[j] == labels[i]]
        terms = [-shares[p] * np.log(scores[p] / whole) for p in same]
        expected += shares[i] * sum(terms) / sum(shares[p] for p in same) / 6
    rows = Rows(*(torch.from_numpy(x) for x in (mapped, target, shares, labels)))
    assert contrastive_loss(rows.source, rows, temperature=tau).item() == pytest.approx(expected, rel=1e-9)


def test_a_pair_of_weight_two_contrasts_as_two_pairs():
    """The same pull on the mapped rows; the value differs by the log of how many rows there are."""
    generator = np.random.default_rng(1)
    mapped, target = (torch.from_numpy(unit(generator.normal(size=(4, 3)))) for _ in range(2))
    mapped.requires_grad_()
    labels, twice = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 2, 3])
    weighted = Rows(mapped, target, torch.tensor([2.0, 1, 1, 1]).double() * 4 / 5, labels)
    repeated = Rows(mapped, target, torch.ones(4).double(), labels).take(twice)
    one, other = (contrastive_loss(rows.source, rows, temperature=0.2) for rows in (weighted, repeated))
    assert one.item() - np.log(4) == pytest.approx(other.item() - np.log(5))
    torch.testing.assert_close(*(torch.autograd.grad(loss, mapped)[0] for loss in (one, other)))


def test_a_pair_that_counts_for_nothing_contrasts_with_nothing():
    generator = np.random.default_rng(2)
    mapped, target = (torch.from_numpy(unit(generator.normal(size=(4, 3)))) for _ in range(2))
    mapped.requires_grad_()
    labels = torch.tensor([0, 0, 1, 0])
    rows = Rows(mapped, target, torch.tensor([1.0, 1, 1, 0]).double(), labels)
    loss = contrastive_loss(mapped, rows, temperature=0.2)
    labelled = contrastive_loss(mapped[:3], rows.take(torch.arange(3)), temperature=0.2)
    assert loss.item() == pytest.approx(labelled.item() * 3 / 4)
    loss.backward()
    assert torch.isfinite(mapped.grad).all()


@pytest.mark.slow
@pytest.mark.parametrize(("d_new", "d_old"), [(12, 12), (12, 7), (7, 12)])
@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_strict_is_orthogonal(d_new, d_old, direction):
    generator = np.random.default_rng(3)
    new = unit(generator.normal(size=(400, d_new)))
    old = unit(np.tanh(3 * new @ generator.normal(size=(d_new, d_old))))
    upgrade = LambdaOrthogonal(**QUICK, strict=True, direction=direction, bias=False).fit(pairs_of(new, old))
    assert gap(upgrade.bridge.weight) < 1e-5
    assert upgrade.bridge.bias is None


@pytest.mark.slow
def test_strict_trains_among_the_isometries():
    """Where the dims differ, the least squared distance is not Procrustes' greatest product: training finds a better one."""
    generator = np.random.default_rng(4)
    new = unit(generator.normal(size=(2_000, 12)) * np.linspace(0.3, 3, 12))
    old = unit(new @ generator.normal(size=(12, 6)))
    pairs = pairs_of(new, old)
    figures = (
        LambdaOrthogonal(strict=True, bias=False, training=Training(batch_size=500, weight_decay=0.0))
        .fit(pairs)
        .provenance.figures
    )
    assert figures["best_step"] > 0
    assert min(figures["validation_losses"]) < figures["validation_losses"][0]
    assert figures["orthogonality_gap"] < 1e-5


@pytest.mark.slow
def test_no_room_at_all_comes_close_to_procrustes():
    pairs = stretched_pairs()
    expected = fit_rotation(pairs, center=False).weight
    at = {}
    for threshold in (0.0, 1.0, 100.0):
        method = LambdaOrthogonal(
            threshold=threshold,
            bias=False,
            training=Training(batch_size=250, validation_fraction=0.1, weight_decay=0.0),
        )
        at[threshold] = method.fit(pairs).bridge.weight
    assert np.abs(at[0.0] - expected).max() < 0.05
    assert gap(at[0.0]) < 0.05
    assert 0.5 < gap(at[1.0]) < 1.2
    assert gap(at[100.0]) > 1.5  # nothing holds it
    distance = [float(((p.new.vectors @ w - unit(p.old.vectors)) ** 2).sum()) for p in [pairs] for w in at.values()]
    assert distance == sorted(distance, reverse=True)


def test_the_threshold_grows_as_the_root_of_the_dim():
    assert LambdaOrthogonal().allowed(1024, 1024) == 12
    assert LambdaOrthogonal().allowed(768, 256) == pytest.approx(6)
    assert LambdaOrthogonal(threshold=2.0).allowed(768, 256) == 2
    for d in (16, 64):  # the same factor on every squared singular value reaches it at any dim
        assert gap(np.eye(d) * 1.375**0.5) == pytest.approx(LambdaOrthogonal().allowed(d, d))


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
def test_backward_and_forward_of_a_rotation_compose_to_the_identity(strict):
    generator = np.random.default_rng(5)
    rotation, _ = np.linalg.qr(generator.normal(size=(16, 16)))
    new = unit(generator.normal(size=(500, 16)))
    pairs = pairs_of(new, new @ rotation)
    back, forth = (
        LambdaOrthogonal(**QUICK, strict=strict, direction=d, bias=False).fit(pairs).bridge
        for d in ("backward", "forward")
    )
    np.testing.assert_allclose(back.weight @ forth.weight, np.eye(16), atol=1e-4)
    assert (back.source, back.target) == (forth.target, forth.source)


@pytest.mark.slow
def test_labels_pull_the_classes_together():
    """Both models agree on much that has nothing to do with the classes: contrast tells the map to look past it."""
    generator = np.random.default_rng(6)
    labels = np.arange(900) % 6
    aside = generator.normal(size=(900, 6)) / 6**0.5
    content = np.concatenate([0.5 * np.eye(6)[labels] + 0.05 * generator.normal(size=(900, 6)), aside], axis=1)
    rotation, _ = np.linalg.qr(generator.normal(size=(12, 12)))
    pairs = pairs_of(content @ rotation, content)
    fitted, unseen = np.arange(600), np.arange(600, 900)
    precision = {}
    for name, part in {"with": replace(pairs, labels=labels), "without": pairs}.items():
        method = LambdaOrthogonal(
            contrastive_weight=1.0,
            threshold=3.0,
            training=Training(batch_size=200, learning_rate=1e-2, weight_decay=0.0),
        )
        bridge = method.fit(part.take(fitted)).bridge
        rows = top_k(bridge.apply(pairs.new.vectors[unseen]), pairs.old.vectors[fitted], 10).rows
        precision[name] = (labels[fitted][rows] == labels[unseen][:, None]).mean()
    assert precision["with"] > precision["without"] + 0.1


@pytest.mark.slow
def test_no_contrast_makes_labels_idle(make_pairs):
    pairs = make_pairs()
    method = LambdaOrthogonal(**QUICK, contrastive_weight=0.0)
    labelled = method.fit(replace(pairs, labels=np.arange(300) % 3)).bridge
    np.testing.assert_array_equal(labelled.weight, method.fit(pairs).bridge.weight)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the pairs look shuffled")  # half of them say the contrary
def test_weights_are_as_repeated_pairs():
    one, other = stretched_pairs(300), stretched_pairs(300, seed=1)
    new = np.concatenate([one.new.vectors, other.new.vectors])
    old = np.concatenate([one.old.vectors, -other.old.vectors])
    method = LambdaOrthogonal(
        bias=False, threshold=100.0, training=Training(batch_size=150, validation_fraction=0.1, weight_decay=0.0)
    )
    repeated = np.concatenate([np.repeat(np.arange(300), 4), np.arange(300, 600)])
    by_weight = method.fit(pairs_of(new, old, weights=np.where(np.arange(600) < 300, 4.0, 1.0))).bridge.weight
    by_repetition = method.fit(pairs_of(new[repeated], old[repeated])).bridge.weight
    alike = method.fit(pairs_of(new, old)).bridge.weight
    assert np.linalg.norm(by_weight - by_repetition) < 0.35 * np.linalg.norm(by_weight - alike)


@pytest.mark.slow
def test_figures_say_how_far_it_left_the_rotations(make_pairs):
    upgrade = LambdaOrthogonal(**QUICK).fit(make_pairs(noise=0.5))
    figures = upgrade.provenance.figures
    assert figures["threshold"] == pytest.approx(1.5)
    assert figures["orthogonality_gap"] == pytest.approx(gap(upgrade.bridge.weight))
    assert LambdaOrthogonal(**QUICK, strict=True).fit(make_pairs()).provenance.figures["threshold"] == 0


@pytest.mark.slow
def test_a_bias_is_of_unit_vectors(make_pairs):
    """The scale of the input does not matter, and a common offset is learnt."""
    pairs = make_pairs()
    moved = Pairs(pairs.new, pairs.old.with_vectors(pairs.old.vectors + np.float32(0.5), pairs.old.space))
    bridge = LambdaOrthogonal(training=Training(batch_size=100, learning_rate=1e-2, weight_decay=0.0)).fit(moved).bridge
    assert np.linalg.norm(bridge.bias) > 0.5
    once, twice = (bridge.apply(pairs.new.vectors * np.float32(s)) for s in (1, 7))
    np.testing.assert_allclose(once, twice, atol=1e-5)


def test_one_pair_is_too_few(make_pairs):
    with pytest.warns(UserWarning, match="1 pairs"), pytest.raises(InvalidInput, match="one pair came; at least two"):
        LambdaOrthogonal(**QUICK).fit(make_pairs(rows=1))


@pytest.mark.slow
def test_the_bridge_is_a_linear_map(make_pairs):
    assert isinstance(LambdaOrthogonal(**QUICK).fit(make_pairs()).bridge, Linear)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": -1.0}, "threshold is 0 or more, came -1.0"),
        ({"threshold": float("nan")}, "threshold is 0 or more, came nan"),
        ({"sharpness": 0.0}, "sharpness, temperature or contrastive_weight out of range"),
        ({"temperature": 0.0}, "sharpness, temperature or contrastive_weight out of range"),
        ({"contrastive_weight": -1.0}, "sharpness, temperature or contrastive_weight out of range"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        LambdaOrthogonal(**settings)


@pytest.mark.usefixtures("as_in_production")
def test_an_unknown_direction_is_refused():
    with pytest.raises(SettingsError, match="direction is backward or forward, came 'sideways'"):
        LambdaOrthogonal(direction="sideways")
