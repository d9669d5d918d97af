import math

import pytest
import torch
import torch.nn.functional as F
from planted_classes import dot, planted, unit

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.prototype_loss import PrototypeLoss
from embridge.training.objectives.prototypes import ClassMeans


def naive(rows, prototypes, labels, usable, *, scale, smoothing=0.0, moved=None):
    """Row by row and class by class, in Python floats."""
    total, counted = 0.0, 0
    for row, y in zip(rows, labels, strict=True):
        if y not in usable:
            continue
        scores = {c: scale * dot(row, moved[c] if moved and c == y else prototypes[c]) for c in usable}
        level = math.log(sum(math.exp(s) for s in scores.values()))
        for c in usable:
            share = (1 - smoothing) * (c == y) + smoothing / len(usable)
            total += share * (level - scores[c])
        counted += 1
    return total / max(counted, 1)


def rows_of(data):
    return F.normalize(data.features, dim=1)


@pytest.mark.parametrize("unseen", ["using_old", "null", "using_new"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_the_loss_is_its_formula(unseen, smoothing, scale):
    data = planted()
    labels = data.labels[data.index]
    assert set(labels.tolist()) == {0, 1, 2, 3}
    loss = PrototypeLoss("it", data.old, scale=scale, label_smoothing=smoothing, unseen=unseen).double()
    prototypes = data.old.prototypes.tolist()
    usable = range(4 if unseen == "using_old" else 3)
    expected = naive(rows_of(data).tolist(), prototypes, labels.tolist(), usable, scale=scale, smoothing=smoothing)
    assert loss(rows_of(data), labels).item() == pytest.approx(expected, rel=1e-9)


def test_the_means_of_the_new_model_stand_for_classes_that_the_old_one_does_not_know():
    data = planted()
    labels = data.labels[data.index]
    loss = PrototypeLoss("it", data.old, scale=5.0, unseen="using_new").double()
    calls = []

    def embedded():
        calls.append(1)
        return torch.cat([3 * data.rows[:, 1:], data.rows], dim=1), data.labels

    def comparable(embeddings):
        return 2 * embeddings[:, :5]

    loss.begin_epoch(0, embedded, comparable)
    assert not calls
    assert loss.usable.tolist() == [True, True, True, False]
    loss.begin_epoch(1, embedded, comparable)
    new = [unit(row) for row in torch.cat([3 * data.rows[:, 1:], data.rows], 1)[data.labels == 3][:, :5].tolist()]
    prototypes = [*data.old.prototypes.tolist()[:3], [sum(v) / len(new) for v in zip(*new, strict=True)]]
    expected = naive(rows_of(data).tolist(), prototypes, labels.tolist(), range(4), scale=5.0)
    assert loss(rows_of(data), labels).item() == pytest.approx(expected, rel=1e-6)
    loss.take(ClassMeans(-data.old.prototypes, torch.ones(4)))
    torch.testing.assert_close(loss.prototypes[:3], data.old.prototypes[:3])
    torch.testing.assert_close(loss.prototypes[3], -data.old.prototypes[3])


@pytest.mark.parametrize("unseen", ["using_old", "null"])
def test_no_other_policy_asks_for_the_new_model(unseen):
    loss = PrototypeLoss("it", planted().old, scale=1.0, unseen=unseen)
    loss.begin_epoch(3, lambda: pytest.fail("asked for"), lambda x: x)


def test_only_the_prototype_of_a_row_is_moved():
    data = planted()
    labels, moved = data.labels[data.index], data.old.prototypes.flip(0)
    loss = PrototypeLoss("it", data.old, scale=3.0).double()
    expected = naive(
        rows_of(data).tolist(),
        data.old.prototypes.tolist(),
        labels.tolist(),
        range(4),
        scale=3.0,
        moved=moved.tolist(),
    )
    assert loss(rows_of(data), labels, moved).item() == pytest.approx(expected, rel=1e-9)


def test_it_is_torchs_cross_entropy_where_all_classes_are_used():
    data = planted()
    labels = data.labels[data.index]
    loss = PrototypeLoss("it", data.old, scale=7.0, label_smoothing=0.2).double()
    expected = F.cross_entropy(7 * rows_of(data) @ data.old.prototypes.T, labels, label_smoothing=0.2)
    torch.testing.assert_close(loss(rows_of(data), labels), expected)


def test_random_rows_are_at_chance():
    generator = torch.Generator().manual_seed(0)
    prototypes, rows = (F.normalize(torch.randn(n, 64, generator=generator), dim=1) for n in (50, 2_000))
    loss = PrototypeLoss("it", OldModel(prototypes, torch.ones(50, dtype=torch.bool)), scale=1.0)
    labels = torch.randint(50, (2_000,), generator=generator)
    assert loss(rows, labels).item() == pytest.approx(math.log(50), abs=0.03)


def test_a_batch_of_unused_classes_has_no_loss_and_no_gradient():
    loss = PrototypeLoss("it", planted().old, scale=1.0, unseen="null").double()
    rows = F.normalize(torch.randn(3, 5, dtype=torch.float64), dim=1).requires_grad_()
    total = loss(rows, torch.tensor([3, 3, 3]))
    total.backward()
    assert total.item() == 0
    assert rows.grad.abs().max() == 0


def test_the_old_model_is_not_written_to():
    data = planted()
    before = data.old.prototypes.clone()
    loss = PrototypeLoss("it", data.old, scale=1.0, unseen="using_new").double()
    loss.take(ClassMeans(-before, torch.ones(4)))
    assert torch.equal(data.old.prototypes, before)


def test_what_does_not_fit_is_refused():
    with pytest.raises(SettingsError, match="it: scale is above 0, came 0"):
        PrototypeLoss("it", planted().old, scale=0.0)
    with pytest.raises(SettingsError, match="it: label_smoothing is at least 0 and below 1, came 1"):
        PrototypeLoss("it", planted().old, scale=1.0, label_smoothing=1.0)
    none_known = OldModel(torch.eye(2), torch.tensor([False, False]))
    with pytest.raises(
        InvalidInput, match="it: the old model has no prototype of a class that it knows; unseen='null'"
    ):
        PrototypeLoss("it", none_known, scale=1.0, unseen="null")
