"""NDPP and ODPP."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from planted_classes import CLASSES, dot, loss_of, planted, unit

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.ndpp import NDPP, NDPPSettings
from embridge.training.objectives.odpp import ODPP, ODPPSettings
from embridge.training.objectives.perturbation import Prototypes, moved_from_neighbours, shift_apart

SETTINGS = {NDPP: NDPPSettings(neighbours=2, new_step=0.2), ODPP: ODPPSettings(margin=0.1, steps=(30, 10))}


def build(kind, data, **settings):
    torch.manual_seed(0)
    return kind(data.old, CLASSES, replace(SETTINGS[kind], **settings)).double()


def refuse():
    raise AssertionError("the new model was asked for")


def new_means(data, rows):
    """Unit class means of unit rows, class by class."""
    means = []
    for c in range(CLASSES):
        mine = [unit(row) for row in rows[data.labels == c].tolist()]
        means.append(unit([sum(values) / len(mine) for values in zip(*mine, strict=True)]))
    return torch.tensor(means, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NDPP, ODPP])
@pytest.mark.parametrize("unseen", ["using_old", "null"])
def test_the_terms_are_their_formulas(kind, unseen):
    data = planted()
    objective = build(kind, data, weight=3.0, scale=2.0, unseen=unseen)
    objective.begin_epoch(0, 2, refuse)
    prototypes, moved = ([unit(r) for r in data.old.prototypes.tolist()], objective.moved.tolist())
    own, counted = objective.classifier.weight.tolist(), range(4 if unseen == "using_old" else 3)
    assert (objective.moved - torch.tensor(prototypes)).abs().max() > 0.01
    first, second = [], []
    for row, i in zip(data.features.tolist(), data.index, strict=True):
        y = int(data.labels[i])
        scores = [2 * dot(row, own[c]) for c in range(4)]
        first.append(math.log(sum(map(math.exp, scores))) - scores[y])
        if y in counted:
            x = unit(row)
            scores = {c: dot(x, moved[c] if c == y else prototypes[c]) / 0.07 for c in counted}
            second.append(math.log(sum(map(math.exp, scores.values()))) - scores[y])
    terms = loss_of(objective, data)
    assert terms["classification"] == pytest.approx(sum(first) / len(first), rel=1e-9)
    assert terms["compatibility"] == pytest.approx(3 * sum(second) / len(second), rel=1e-9)


@pytest.mark.parametrize("kind", [NDPP, ODPP])
def test_nothing_is_moved_before_the_first_epoch_begins(kind):
    data = planted()
    torch.testing.assert_close(build(kind, data).moved, F.normalize(data.old.prototypes, dim=1))


@pytest.mark.parametrize("twice", [True, False])
def test_ndpp_moves_by_the_old_prototypes_and_then_by_the_new_ones_too(twice):
    data = planted()
    objective = build(NDPP, data, twice=twice)
    p, settings = F.normalize(data.old.prototypes, dim=1), {"neighbours": 2, "old_step": 0.4, "new_step": 0.2}
    usable = torch.ones(CLASSES, dtype=torch.bool)
    objective.begin_epoch(0, 3, refuse)
    torch.testing.assert_close(
        objective.moved, moved_from_neighbours(Prototypes(p, None, usable), twice=twice, **settings)
    )
    objective.begin_epoch(1, 3, lambda: (2 * data.rows.flip(1), data.labels))
    q = new_means(data, data.rows.flip(1))
    expected = moved_from_neighbours(Prototypes(p, q, usable), twice=twice, **settings)
    torch.testing.assert_close(objective.moved, expected, rtol=0, atol=1e-6)


def test_odpp_goes_on_from_the_shift_that_it_had():
    data = planted()
    objective = build(ODPP, data)
    p, usable = F.normalize(data.old.prototypes, dim=1), torch.ones(CLASSES, dtype=torch.bool)
    objective.begin_epoch(0, 3, refuse)
    first = shift_apart(Prototypes(p, None, usable), torch.zeros_like(p), steps=30, margin=0.1)
    torch.testing.assert_close(objective.moved, F.normalize(p + first, dim=1))
    objective.begin_epoch(1, 3, lambda: (data.rows.flip(1), data.labels))
    second = shift_apart(Prototypes(p, new_means(data, data.rows.flip(1)), usable), first, steps=10, margin=0.1, seed=1)
    torch.testing.assert_close(objective.shift, second, rtol=0, atol=1e-4)
    torch.testing.assert_close(objective.moved, F.normalize(p + objective.shift, dim=1))


@pytest.mark.slow
def test_dot_products_leave_the_moved_prototypes_as_long_as_they_come_out():
    old = OldModel(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.2, 0.0], [1.0, 0.0, 0.2]]), torch.ones(3, dtype=torch.bool))
    objectives = {h: ODPP(old, 3, ODPPSettings(margin=0.7, hinge=h, steps=(300, 10))) for h in ("dot", "cosine")}
    for objective in objectives.values():
        objective.begin_epoch(0, 1, refuse)
    assert objectives["dot"].moved.norm(dim=1).max() < 0.95
    torch.testing.assert_close(objectives["cosine"].moved.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("kind", [NDPP, ODPP])
def test_an_average_over_epochs_of_the_new_prototypes(kind):
    data = planted()
    objective = build(kind, data, ema=0.75)
    one, other = new_means(data, data.rows.flip(1)), new_means(data, data.rows.roll(1, 1))
    objective.begin_epoch(1, 3, lambda: (data.rows.flip(1), data.labels))
    torch.testing.assert_close(objective.new_prototypes, one, rtol=0, atol=1e-6)
    objective.begin_epoch(2, 3, lambda: (data.rows.roll(1, 1), data.labels))
    expected = F.normalize(0.75 * one + 0.25 * other, dim=1)
    torch.testing.assert_close(objective.new_prototypes, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [NDPP, ODPP])
def test_well_separated_prototypes_hardly_move_and_confusable_ones_do(kind):
    everything = torch.ones(4, dtype=torch.bool)
    confusable = F.normalize(torch.ones(4, 4) + torch.eye(4), dim=1)
    moved = {}
    for name, p in (("apart", torch.eye(4)), ("near", confusable)):
        objective = kind(OldModel(p, everything), 4, SETTINGS[kind])
        objective.begin_epoch(0, 1, refuse)
        moved[name] = objective.moved @ objective.moved.T - p @ p.T
    assert moved["apart"].abs().max() < 1e-6
    assert moved["near"][0, 1] < -0.02


@pytest.mark.parametrize("kind", [NDPP, ODPP])
def test_classes_that_the_old_model_does_not_know_stand_where_the_new_one_has_them(kind):
    data = planted()
    objective = build(kind, data, unseen="using_new")
    objective.begin_epoch(0, 3, refuse)
    assert not objective.to_old.usable[3]
    torch.testing.assert_close(objective.moved[3], objective.to_old.prototypes[3])
    objective.begin_epoch(1, 3, lambda: (data.rows.flip(1), data.labels))
    assert objective.to_old.usable[3]
    q = new_means(data, data.rows.flip(1))
    torch.testing.assert_close(objective.to_old.prototypes[3], q[3], rtol=0, atol=1e-6)
    torch.testing.assert_close(objective.to_old.prototypes[:3], F.normalize(data.old.prototypes, dim=1)[:3])


@pytest.mark.parametrize("kind", [NDPP, ODPP])
def test_a_class_without_rows_pushes_nothing(kind):
    """Neither does an old prototype of zeros, nor a new one."""
    data = planted()
    prototypes = data.old.prototypes.clone()
    prototypes[1] = 0
    objective = kind(OldModel(prototypes, torch.ones(4, dtype=torch.bool)), CLASSES, SETTINGS[kind]).double()
    remaining = data.labels != 1
    for epoch in range(2):
        objective.begin_epoch(epoch, 2, lambda: (data.rows[remaining], data.labels[remaining]))
    assert objective.moved.isfinite().all()
    assert objective.moved[1].abs().max() == objective.new_prototypes[1].abs().max() == 0
    assert not objective.to_old.usable[1]


def test_what_cannot_be_is_refused():
    data = planted()
    with pytest.raises(SettingsError, match="ndpp: neighbours is a whole number of at least 1, came 0"):
        build(NDPP, data, neighbours=0)
    with pytest.raises(SettingsError, match="ndpp: temperature is above 0, came 0"):
        build(NDPP, data, temperature=0.0)
    with pytest.raises(SettingsError, match="odpp: margin is 0 to 1, came 2"):
        build(ODPP, data, margin=2.0)
    with pytest.raises(SettingsError, match="odpp: ema is at least 0 and below 1, came 1"):
        build(ODPP, data, ema=1.0)
    with pytest.raises(InvalidInput, match="odpp trains beside an old model"):
        ODPP(None, CLASSES)


@pytest.mark.usefixtures("as_in_production")
def test_another_hinge_is_refused():
    with pytest.raises(SettingsError, match="odpp: hinge is cosine or dot, came 'angle'"):
        build(ODPP, planted(), hinge="angle")
