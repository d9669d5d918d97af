from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from embridge import Embeddings, Space
from embridge.adapters import Upgrade
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.evaluation import LabelRelevance, Mixed, Side, backfill_auc, backfill_curve
from embridge.methods import Pairs, Training
from embridge.methods.fastfill import FastFill, _cross_entropy, fastfill_loss
from embridge.methods.procrustes import Procrustes
from embridge.nearest import top_k
from embridge.rollout import by_uncertainty
from embridge.testing import check_method

SHORT = Training(epochs=1, min_steps=80, batch_size=64)
QUICK = {"hidden_width": 32, "training": SHORT}


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def rows_of(x, model):
    return Embeddings.of(x.astype(np.float32), Space(model, "1", x.shape[1]))


def noisy_pairs(rows=1_500, classes=20, seed=0):
    """The old model blurs some classes much more than others; the new one sees all alike."""
    generator = np.random.default_rng(seed)
    planted = np.random.default_rng(77)
    centres, rotation = unit(planted.normal(size=(classes, 16))), np.linalg.qr(planted.normal(size=(16, 16)))[0]
    blur = np.linspace(0.02, 2.0, classes)
    labels = np.arange(rows) % classes
    new = unit(centres[labels] + 0.3 * generator.normal(size=(rows, 16)) / 4)
    old = unit(new @ rotation + blur[labels][:, None] * generator.normal(size=(rows, 16)) / 4)
    return Pairs(rows_of(new, "new"), rows_of(old, "old"), labels=labels)


def squared_error(upgrade, pairs):
    return ((unit(upgrade.bridge.apply(pairs.old.vectors)) - unit(pairs.new.vectors)) ** 2).sum(1)


@pytest.fixture(scope="module")
def fitted():
    pairs = replace(noisy_pairs(), labels=None)
    return FastFill(hidden_width=64, training=Training(batch_size=250)).fit(pairs)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"skip": False, "training": replace(SHORT, min_steps=300), "dropout": 0.0}])
def test_contract(make_pairs, settings):
    assert check_method(FastFill(**(QUICK | settings)), make_pairs()) == []


@pytest.mark.slow
def test_contract_with_labels(make_pairs):
    pairs = make_pairs()
    assert check_method(FastFill(**QUICK), replace(pairs, labels=np.arange(len(pairs)) % 7)) == []


def test_the_loss_is_its_formula_and_least_at_the_log_of_the_error():
    error, spread = torch.tensor([0.5, 2.0]), torch.tensor([-1.0, 0.3])
    expected = [0.5 * np.exp(1.0) * 0.5 - 0.5, 0.5 * np.exp(-0.3) * 2 + 0.15]
    np.testing.assert_allclose(fastfill_loss(error, spread).numpy(), expected, rtol=1e-6)
    best = fastfill_loss(error, error.log())
    for aside in (-0.2, 0.2):
        assert (fastfill_loss(error, error.log() + aside) > best).all()


def test_the_classification_error_is_its_formula():
    generator = np.random.default_rng(0)
    mapped, means = (torch.from_numpy(unit(generator.normal(size=(n, 4)))) for n in (5, 3))
    names, label = torch.tensor([2, 5, 9]), torch.tensor([5, 2, 9, 7, 100])
    settings = FastFill(temperature=0.2, label_smoothing=0.3)
    losses = _cross_entropy(settings, mapped, (names, means), label)
    for i, right in enumerate([1, 0, 2]):
        logits = [float(mapped[i] @ means[c]) / 0.2 for c in range(3)]
        logs = [x - np.log(sum(np.exp(y) for y in logits)) for x in logits]
        expected = -(0.7 * logs[right] + 0.3 * sum(logs) / 3)
        assert losses[i].item() == pytest.approx(expected)
    assert losses[3:].tolist() == [0, 0]  # of no class that was trained on


@pytest.mark.slow
def test_uncertainty_ranks_items_by_their_true_error(fitted):
    unseen = noisy_pairs(600, seed=1)
    spread = fitted.uncertainty(unseen.old).vectors[:, 0]
    error = squared_error(fitted, unseen)
    assert spearmanr(spread, error).statistic > 0.5
    assert np.exp(spread).mean() == pytest.approx(error.mean(), rel=0.5)  # and is of the size of the squared error


@pytest.mark.slow
def test_uncertainty_survives_saving(fitted, tmp_path):
    unseen = noisy_pairs(50, seed=1).old
    loaded = Upgrade.load(fitted.save(tmp_path / "upgrade"))
    assert by_uncertainty(unseen, loaded) == by_uncertainty(unseen, fitted)
    assert fitted.uncertainty.target.dim == 1


def test_the_most_uncertain_come_first(fitted):
    gallery = noisy_pairs(60, seed=2).old
    order = by_uncertainty(gallery, fitted)
    spread = dict(zip(gallery.ids, fitted.uncertainty(gallery).vectors[:, 0], strict=True))
    values = [spread[name] for name in order]
    assert sorted(order) == sorted(gallery.ids)
    assert values == sorted(values, reverse=True)
    same = Embeddings.of(np.repeat(gallery.vectors[:1], 5, axis=0), gallery.space, list("edcba"))
    assert by_uncertainty(same, fitted) == tuple("edcba")


@pytest.mark.slow
def test_its_order_backfills_better_than_chance(fitted):
    pairs = noisy_pairs(500, seed=3)
    queries = Embeddings.of(noisy_pairs(200, seed=4).new.vectors, pairs.new.space, [f"q{i}" for i in range(200)])
    labels = dict(zip(pairs.old.ids, map(str, pairs.labels), strict=True))
    label_of = {name: str(i % 20) for i, name in enumerate(queries.ids)}
    judged = LabelRelevance(label_of, labels).judge(queries.ids, pairs.old.ids)
    mixed = Mixed(Side(queries, pairs.new), Side(queries, fitted.bridge(pairs.old)))
    row = {name: i for i, name in enumerate(pairs.old.ids)}

    def area(order):
        return backfill_auc(backfill_curve(mixed, np.asarray(order), judged, "map_at_25", k=8).mean(axis=1).tolist())

    ours = area([row[name] for name in by_uncertainty(pairs.old, fitted)])
    at_random = [area(np.random.default_rng(s).permutation(500)) for s in range(5)]
    assert ours > max(at_random)


@pytest.mark.slow
def test_labels_make_the_mapped_vectors_tell_the_classes_apart():
    """Most of what the vectors hold has nothing to do with the classes: classification makes h look past it."""
    generator = np.random.default_rng(6)
    labels = np.arange(900) % 6
    aside = generator.normal(size=(900, 6)) / 6**0.5
    content = np.concatenate([0.5 * np.eye(6)[labels] + 0.05 * generator.normal(size=(900, 6)), aside], axis=1)
    rotation, _ = np.linalg.qr(generator.normal(size=(12, 12)))
    pairs = Pairs(rows_of(content @ rotation, "new"), rows_of(content, "old"))
    fitted, unseen = np.arange(600), np.arange(600, 900)
    precision = {}
    for name, part in {"with": replace(pairs, labels=labels), "without": pairs}.items():
        upgrade = FastFill(
            hidden_width=64, classification_weight=1.0, temperature=0.2, training=Training(batch_size=200)
        ).fit(part.take(fitted))
        gallery = upgrade.bridge.apply(pairs.old.vectors[unseen])
        rows = top_k(pairs.new.vectors[fitted], gallery, 10).rows
        precision[name] = (labels[unseen][rows] == labels[fitted][:, None]).mean()
        assert upgrade.provenance.figures["classes"] == (6 if name == "with" else 0)
    assert precision["with"] > precision["without"] + 0.1


@pytest.mark.slow
def test_without_weight_labels_are_idle(make_pairs):
    pairs = make_pairs()
    method = FastFill(**QUICK, classification_weight=0.0)
    one = method.fit(replace(pairs, labels=np.arange(300) % 3)).bridge.apply(pairs.old.vectors)
    np.testing.assert_array_equal(one, method.fit(pairs).bridge.apply(pairs.old.vectors))


def test_classes_seen_only_among_the_held_out_are_no_error(make_pairs):
    pairs = make_pairs(rows=60)
    upgrade = FastFill(hidden_width=32, training=replace(SHORT, validation_fraction=0.3)).fit(
        replace(pairs, labels=np.arange(60) - 30)
    )
    assert upgrade.provenance.figures["classes"] == 42
    assert np.isfinite(upgrade.provenance.figures["validation_losses"]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the pairs look shuffled")  # half of them say the contrary
def test_weights_decide_between_pairs_that_contradict(make_pairs):
    pairs = make_pairs(rows=400, noise=0.0)
    first = np.arange(400) < 200
    new = np.where(first[:, None], pairs.new.vectors, -pairs.new.vectors)
    both = replace(pairs, new=pairs.new.with_vectors(new, pairs.new.space))
    one, other = (
        squared_error(FastFill(**QUICK).fit(replace(both, weights=w)), both)[first].mean()
        for w in (np.where(first, 9.0, 1.0), np.where(first, 1.0, 9.0))
    )
    assert one < 1.5
    assert other > 2.5


def test_an_exact_rotation_stays_finite(make_pairs):
    pairs = make_pairs(rows=200)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(24, 24)))[0]
    exact = Pairs(pairs.new, rows_of(pairs.new.vectors @ turned, "old"))
    upgrade = FastFill(**QUICK).fit(exact)
    assert squared_error(upgrade, exact).max() < 0.05
    assert np.isfinite(upgrade.uncertainty(exact.old).vectors).all()


def test_an_upgrade_without_uncertainty_gives_no_order(make_pairs):
    pairs = make_pairs()
    with pytest.raises(InvalidInput, match=r"\(procrustes\) does not say how uncertain it is"):
        by_uncertainty(pairs.old, Procrustes().fit(pairs))


def test_vectors_of_another_space_get_no_order(fitted):
    with pytest.raises(SpaceMismatch, match="expected vectors of old"):
        by_uncertainty(noisy_pairs(10).new, fitted)


def test_one_pair_is_too_few(make_pairs):
    with pytest.warns(UserWarning, match="1 pairs"), pytest.raises(InvalidInput, match="one pair came; at least two"):
        FastFill(**QUICK).fit(make_pairs(rows=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classification_weight": -1.0}, "classification_weight, label_smoothing or temperature out of range"),
        ({"label_smoothing": 1.0}, "classification_weight, label_smoothing or temperature out of range"),
        ({"temperature": 0.0}, "classification_weight, label_smoothing or temperature out of range"),
        ({"hidden_width": 0}, "fastfill: hidden_width or dropout out of range"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        FastFill(**settings)
