"""Weights of compatibility terms: their scale by gradients, and how they move by what is found in the old index."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from embridge.backbones.vectors import VectorHead
from embridge.errors import SettingsError
from embridge.training.compatible._balance import Balance
from embridge.training.compatible._balanced import balance_of, crossing_of
from embridge.training.compatible._crossing import Crossing, left_out_classes, watched_rows
from embridge.training.compatible.held_out_items import HeldOut
from embridge.training.compatible.labelled import LabelledVectors
from embridge.training.compatible.old_models import old_model
from embridge.training.compatible.start import Start
from embridge.training.compatible.task import CompatibleTask
from embridge.training.compatible.trainer import CompatibleTraining
from embridge.training.lightning.run import Run
from embridge.training.objectives import make_objective

CLASSES, EACH, SOURCE, OLD_DIM = 6, 12, 10, 4
TRAINING = CompatibleTraining(
    epochs=4, batch_size=12, learning_rate=1e-2, device="cpu", checks=2, checkpoint_every_steps=5, compatibility="auto"
)
OCA = {"extra": 4, "aligned_to": "rows", "scale": 10.0, "prototype_scale": 10.0}


def vectors(seed):
    draw, labels = np.random.default_rng(seed), np.repeat(np.arange(CLASSES), EACH)
    centres = np.random.default_rng(9).normal(size=(CLASSES, SOURCE))
    return LabelledVectors((centres[labels] + draw.normal(size=(len(labels), SOURCE))).astype(np.float32), labels)


def start(name="oca", settings=OCA, held_out=True, seed=0):
    data, judged = vectors(0), vectors(1)
    old = old_model(data, data.vectors[:, :OLD_DIM])
    torch.manual_seed(seed)
    objective = make_objective(name, old, CLASSES, settings, labels=torch.from_numpy(data.labels))
    looked_at = HeldOut(judged, judged.vectors[:, :OLD_DIM]) if held_out else None
    return Start(data, VectorHead(SOURCE, objective.feature_dim, seed=seed), objective, looked_at, seed)


def two_terms(rows=frozenset(), steps=100):
    return Balance(["classification", "near", "alike"], task={"classification"}, rows=rows, steps=steps)


# Scale


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_a_term_weighs_the_same_however_large_it_comes(factor):
    features = torch.tensor([[3.0, 4.0]], requires_grad=True)
    terms = {"classification": 2 * features.sum(), "near": factor * features[:, 0].sum(), "alike": features.sum() * 0}
    weighed = two_terms().weighed(0, terms, features)
    gradients = [torch.autograd.grad(weighed[name], features, retain_graph=True)[0] for name in weighed]
    assert gradients[1].norm() == pytest.approx(float(gradients[0].norm()), rel=1e-5)
    assert float(weighed["alike"].detach()) == 0


def test_a_term_that_does_not_reach_the_features_keeps_its_own_weight():
    features, other = (torch.ones(2, 2, requires_grad=True) for _ in range(2))
    terms = {"classification": features.sum(), "near": 7 * other.sum(), "alike": features.sum()}
    assert float(two_terms().weighed(0, terms, features)["near"].detach()) == 28


# The constraint


def looked(balance, *ahead):
    steps = [step for step in range(100) if balance.due(step)]
    for step, found in zip(steps, ahead, strict=False):
        balance.look(step, torch.tensor(found))
    return balance.state["factors"].tolist()


def test_terms_grow_while_new_queries_are_behind_and_shrink_when_they_are_far_ahead():
    behind = looked(two_terms(), (-0.2, -0.2), (-0.2, -0.2))
    assert behind[0] == behind[1] > 1.5
    assert looked(two_terms(), (-0.2, -0.2), (-0.2, -0.2), (0.3, 0.3))[0] < behind[0]


@pytest.mark.parametrize("ahead", [(-0.2, 0.0), (0.1, -0.3)], ids=["seen classes", "classes left out"])
def test_where_new_queries_are_behind_rows_are_held_more_and_classes_less(ahead):
    classes, rows = looked(two_terms(rows={"alike"}), ahead)
    assert classes < 1 < rows
    classes, rows = looked(two_terms(rows={"alike"}), (0.1, -0.05))
    assert rows < 1 < classes


def test_classes_left_out_may_be_a_little_behind_and_count_little_once_they_take_part():
    assert looked(two_terms(), (0.2, -0.05))[0] < 1
    late = two_terms()
    late.look(95, torch.tensor([0.2, -0.5]))
    assert late.state["factors"][0] < 1


def test_weights_are_bounded():
    assert looked(two_terms(rows={"alike"}), *[(-1.0, -1.0)] * 12) == [0.25, 2.0]
    assert looked(two_terms(rows={"alike"}), *[(1.0, 1.0)] * 12) == [4.0, 0.5]


def test_ahead_is_the_worse_of_the_nearest_row_and_average_precision():
    labels = np.array([0, 0, 0, 1, 1, 1])
    old = np.array([[1, 0], [0.9, 0.1], [0.2, 1], [0, 1], [0.1, 0.9], [1, 0.2]], np.float32)
    perfect = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    crossing = Crossing(labels, old, np.array([1]))
    assert crossing.ahead(old).tolist() == [0, 0]
    assert (crossing.ahead(perfect) > 0).all()
    assert (crossing.ahead(np.full_like(old, np.nan)) < 0).all()
    assert Crossing(labels, old, np.array([], int)).ahead(perfect).std() == 0


# What is looked at


def test_watched_items_are_few_and_never_most_of_a_class():
    labels = np.repeat(np.arange(30), 40)
    rows = watched_rows(labels, seed=3)
    assert len(rows) <= 120
    assert np.bincount(labels[rows]).max() <= 10
    assert rows.tolist() == watched_rows(labels, seed=3).tolist() != watched_rows(labels, seed=4).tolist()
    assert len(watched_rows(np.arange(100_000) % 10, seed=0)) == 1_000
    assert len(watched_rows(np.arange(300) % 3, seed=0)) == 0, "too few to say anything"
    assert len(watched_rows(np.arange(30_000) // 3, seed=0)) == 0, "classes of three"


def test_with_few_classes_none_is_left_out():
    assert len(left_out_classes(np.array([0, 1, 2, 3]), seed=0)) == 0
    assert len(left_out_classes(np.arange(100), seed=0)) == 10


def test_rows_of_classes_left_out_add_nothing_to_the_compatibility_terms_at_first():
    task = CompatibleTask(start(), TRAINING, "cpu")
    (unseen,) = crossing_of(start()).classes_left_out
    batch = task.batch(1)
    rows = torch.from_numpy(np.flatnonzero(batch.labels.numpy() == unseen)[:6])
    only = replace(batch, inputs=batch.inputs[rows], labels=batch.labels[rows], index=batch.index[rows])
    assert len(rows)
    terms = task.step(only, lambda loss: loss.backward())
    assert terms["compatibility"] == terms["alignment"] == 0 < terms["classification"]
    late = task.step(replace(only, step=task.balance.all_from + 1), lambda loss: loss.backward())
    assert late["alignment"] > 0


def test_an_objective_without_compatibility_terms_is_trained_as_it_is():
    assert balance_of(start("independent", {"dim": 8}), TRAINING, 6) is None
    assert balance_of(start(), replace(TRAINING, compatibility="fixed"), 6) is None


def test_without_old_vectors_of_held_out_items_there_is_nothing_to_look_at():
    parts = start()
    without = Start(parts.data, parts.network, parts.objective, HeldOut(parts.held_out.data), 0)
    with pytest.raises(SettingsError, match="looks at held-out items in the old index"):
        TRAINING.train(without)


# The training


class Stopped(Exception):
    pass


def stop_at(step):
    def progress(done, total, what):
        if done == step:
            raise Stopped

    return progress


def test_a_stopped_training_goes_on_to_the_same_bytes(tmp_path):
    """24 steps, checkpoints after 5, 10, 15, 20; looks lie before and after each stop."""
    whole = TRAINING.train(start(), Run(folder=tmp_path / "whole"))
    for step in (4, 12, 18):
        with pytest.raises(Stopped):
            TRAINING.train(start(), Run(folder=tmp_path / "stopped", progress=stop_at(step)))
    resumed = TRAINING.train(start(), Run(folder=tmp_path / "stopped"))
    files = [trained.save(tmp_path / name) for name, trained in (("a", whole), ("b", resumed))]
    assert [p.read_bytes() for p in sorted(files[0].iterdir())] == [p.read_bytes() for p in sorted(files[1].iterdir())]
    found = resumed.provenance.figures["compatibility"]
    assert len(found["ahead"]) == 12
    assert set(found["weights"]) == {"compatibility", "alignment"}
    assert found == whole.provenance.figures["compatibility"]


def test_fixed_weights_have_the_name_that_trainings_had_before():
    parts, as_before = start(), {"epochs": 4}
    assert parts.name(as_before) == parts.name(as_before | {"compatibility": "fixed"})
    assert parts.name(as_before) != parts.name(as_before | {"compatibility": "auto"})
