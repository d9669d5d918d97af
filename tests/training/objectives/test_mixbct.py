import math

import pytest
import torch
from planted_classes import dot, loss_of, planted, unit

from embridge.training.objectives.mixbct import MixBCT, MixBCTSettings, margin_logits, nearest_share


def build(data, **settings):
    return MixBCT(data.old, 4, MixBCTSettings(**settings), labels=data.labels).double()


def begin(objective, epoch):
    objective.begin_epoch(epoch, 100, lambda: pytest.fail("asked for a pass over the data"))


def naive_arcface(cosines, right, margin, scale):
    angle = math.acos(cosines[right])
    moved = math.cos(angle + margin) if angle < math.pi - margin else cosines[right] - margin * math.sin(margin)
    logits = [scale * (moved if c == right else cosine) for c, cosine in enumerate(cosines)]
    return math.log(sum(math.exp(z) for z in logits)) - logits[right]


@pytest.mark.parametrize(("margin", "scale"), [(0.5, 64.0), (1.5, 10.0), (0.0, 1.0)])
def test_the_loss_is_its_formula_with_old_rows_in_their_places(margin, scale):
    data = planted()
    objective = build(data, margin=margin, scale=scale)
    exchanged = objective.exchanged(data.index)
    weights, total = [unit(w) for w in objective.classifier.weight.tolist()], 0.0
    for k, (row, i) in enumerate(zip(data.features.tolist(), data.index, strict=True)):
        x = data.rows[i].tolist() if exchanged[k] else unit(row)
        total += naive_arcface([dot(x, w) for w in weights], int(data.labels[i]), margin, scale)
    assert loss_of(objective, data) == {"classification": pytest.approx(total / len(data.index), rel=1e-9)}


@pytest.mark.parametrize("mixed", [0.0, 0.3, 0.75])
def test_so_many_rows_are_exchanged_and_take_no_gradient(mixed):
    data = planted(batch=20)
    objective, features = build(data, mixed=mixed), data.features.clone().requires_grad_()
    exchanged = objective.exchanged(data.index)
    assert int(exchanged.sum()) == int(mixed * 20)
    sum(objective(features, data.labels[data.index], data.index).values()).backward()
    assert torch.equal(features.grad.abs().sum(1) == 0, exchanged)


def test_only_credible_rows_are_exchanged():
    data = planted(batch=24)
    objective = build(data, mixed=1.0, credible=0.5)
    chosen = torch.zeros(24, dtype=torch.bool)
    chosen[data.index] = objective.exchanged(data.index)
    for c in range(4):
        centre = unit(data.old.prototypes[c].tolist())
        mine = (data.labels == c).nonzero()[:, 0].tolist()
        nearest = sorted(mine, key=lambda i: -dot(data.rows[i].tolist(), centre))[:3]
        assert set(nearest) == {i for i in mine if chosen[i]}


def test_no_row_is_exchanged_of_a_class_that_is_left_out():
    data = planted(batch=24)
    chosen = build(data, mixed=1.0, unseen="null").exchanged(data.index)
    assert not chosen[data.labels[data.index] == 3].any()
    assert chosen[data.labels[data.index] != 3].any()


def test_over_the_epochs_every_credible_row_is_exchanged_about_as_often():
    index = torch.arange(24)
    objective, counts = build(planted(), credible=1.0), torch.zeros(24)
    for epoch in range(400):
        begin(objective, epoch)
        counts += objective.exchanged(index)
    assert counts.sum() == 400 * 7
    assert counts.min() > 80  # 400 · 7 / 24 = 117, one standard deviation 9
    assert counts.max() < 155


def test_epochs_and_seeds_exchange_others_and_the_same_ones_the_same():
    index = torch.arange(24)
    chosen = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0)):
        objective = build(planted(), seed=seed)
        begin(objective, epoch)
        chosen.append(tuple(objective.exchanged(index).tolist()))
    assert len(set(chosen)) == 3
    assert chosen[0] == chosen[3]


def test_the_logit_of_the_right_class_falls_with_its_angle_all_the_way():
    angles = torch.linspace(0.01, math.pi - 0.01, 500, dtype=torch.float64)
    logits = margin_logits(angles.cos()[:, None], torch.zeros(500, dtype=torch.long), margin=0.5, scale=1.0)[:, 0]
    assert (logits.diff() < 0).all()


@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_the_gradient_is_finite_where_the_angle_has_none(cosine):
    cosines = torch.tensor([[cosine, 0.0]], requires_grad=True)
    margin_logits(cosines, torch.tensor([0]), margin=0.5, scale=64.0).sum().backward()
    assert cosines.grad.abs().max() < 1e3


def test_shares_are_rounded_up():
    rows = torch.nn.functional.normalize(torch.randn(11, 3), dim=1)
    labels = torch.tensor([0] * 10 + [1])
    chosen = nearest_share(rows, labels, torch.eye(2, 3), 0.25)
    assert int(chosen[:10].sum()) == 3
    assert bool(chosen[10])
