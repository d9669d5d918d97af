import math

import pytest
import torch
from planted_classes import loss_of, planted, unit

from embridge.training.objectives.advbct import AdvBCT, AdvBCTSettings, gradient_reversed, trimmed_radii


def build(data, **settings):
    return AdvBCT(data.old, 4, AdvBCTSettings(**settings), labels=data.labels).double()


def begin(objective, epoch, epochs):
    objective.begin_epoch(epoch, epochs, lambda: pytest.fail("asked for a pass over the data"))


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def naive_radii(data):
    radii = []
    for c in range(4):
        centre = data.old.prototypes[c].tolist()
        distances = [distance(row, centre) for row in data.rows[data.labels == c].tolist()]
        ordered = sorted(distances)
        low, high = ordered[int(len(ordered) / 4)], ordered[int(3 * len(ordered) / 4)]
        radii.append(max(d for d in distances if d <= high + 1.5 * (high - low)))
    return radii


def test_the_boundary_is_its_formula():
    data = planted()
    objective = build(data, boundary_weight=3.0, threshold=0.4)
    radii, total = naive_radii(data), 0.0
    for row, i in zip(data.features.tolist(), data.index, strict=True):
        c = int(data.labels[i])
        share = 1 / (1 + math.exp(-objective.elastic[c].item()))
        radius = radii[c] + share * (0.4 - radii[c])
        total += max(distance(unit(row), data.old.prototypes[c].tolist()) - radius, 0)
    assert loss_of(objective, data)["boundary"] == pytest.approx(3 * total / len(data.index), rel=1e-9)


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_the_adversarial_term_is_its_formula(epoch):
    data = planted()
    objective = build(data, adversarial_weight=3.0)
    begin(objective, epoch, 4)
    total = 0.0
    for row, i in zip(data.features.tolist(), data.index, strict=True):
        new, old = (torch.tensor(x, dtype=torch.float64) for x in (unit(row), data.rows[i].tolist()))
        says_new, says_new_of_old = (1 / (1 + math.exp(-objective.discriminator(x).item())) for x in (new, old))
        total -= math.log(says_new) + math.log(1 - says_new_of_old)
    expected = 3 * (4 - epoch + 1) / 4 * total / len(data.index)
    assert loss_of(objective, data)["adversarial"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("farthest", "radius"), [(1.4, 1.4), (1.6, 1.2), (9.0, 1.2)])
def test_an_outlier_does_not_widen_the_radius(farthest, radius):
    """The second and the fifth of six distances are the quartiles, 1 and 1.2, so that distances up to 1.5 count."""
    rows = torch.tensor([[1.0, 0], [0, 1.1], [1.2, 0], [0, 1.0], [0.9, 0], [0, farthest]])
    assert trimmed_radii(rows, torch.zeros(6, dtype=torch.long), torch.zeros(1, 2)).tolist() == pytest.approx([radius])


def test_the_quartiles_are_distances_of_rows():
    """Between 1.0 and 1.8 an interpolated quartile would lie at 1.6, and 3.0 would be an outlier."""
    rows = torch.tensor([[0.0], [1.0], [1.0], [1.8], [3.0]])
    assert trimmed_radii(rows, torch.zeros(5, dtype=torch.long), torch.zeros(1, 1)).tolist() == pytest.approx([3.0])


def test_fewer_than_four_rows_have_no_outlier():
    rows = torch.tensor([[1.0], [1.0], [9.0]])
    assert trimmed_radii(rows, torch.zeros(3, dtype=torch.long), torch.zeros(1, 1)).tolist() == [9.0]


def test_the_elastic_radius_stays_between_the_old_one_and_the_threshold():
    data = planted()
    radii, centre = naive_radii(data), data.old.prototypes[0].tolist()
    outwards = torch.nn.functional.normalize(-data.old.prototypes[:1], dim=1)
    reach = distance(outwards[0].tolist(), centre)
    for elastic, radius in ((-50.0, radii[0]), (50.0, 1.0)):
        objective = build(data)
        with torch.no_grad():
            objective.elastic.fill_(elastic)
        terms = loss_of(objective, data, features=outwards, index=torch.tensor([0]))
        assert terms["boundary"] == pytest.approx(reach - radius)


def test_the_radius_is_learnt():
    data = planted()
    objective = build(data)
    objective(data.features, data.labels[data.index], data.index)["boundary"].backward()
    assert objective.elastic.grad.abs().sum() > 0


def test_the_discriminator_learns_against_the_embeddings():
    """The same loss, minimised by the one side and maximised by the other, which the first batch does not touch."""
    data = planted()
    objective, gradients = build(data), []
    for epoch in (0, 2):
        begin(objective, epoch, 4)
        features = data.features.clone().requires_grad_()
        objective(features, data.labels[data.index], data.index)["adversarial"].backward()
        gradients.append(features.grad)
    assert gradients[0].abs().max() == 0
    moved = data.features + 0.5 * gradients[1] / gradients[1].norm()
    one, other = (loss_of(objective, data, features=f)["adversarial"] for f in (moved, data.features))
    assert one < other  # along the gradient, which a descent goes against, the discriminator's loss falls
    assert objective.discriminator[0].weight.grad.abs().sum() > 0


def test_the_reversal_grows_with_every_batch():
    """Twelve of 24 rows are half an epoch of four; a loss that is looked at outside of training is no batch."""
    data = planted(batch=12)
    objective, gradients = build(data), []
    begin(objective, 1, 4)
    for _ in range(3):
        objective.eval()(data.features, data.labels[data.index], data.index)
        features = data.features.clone().requires_grad_()
        objective.train()(features, data.labels[data.index], data.index)["adversarial"].backward()
        gradients.append(features.grad.norm().item())
    strengths = [2 / (1 + math.exp(-10 * p)) - 1 for p in (1 / 4, 3 / 8, 4 / 8)]
    assert [g / gradients[0] for g in gradients] == pytest.approx([s / strengths[0] for s in strengths])


def test_a_reversed_gradient_changes_no_number():
    x = torch.randn(50, requires_grad=True)
    out = gradient_reversed(x, torch.tensor(0.3))
    assert torch.equal(out, x)
    out.square().sum().backward()
    torch.testing.assert_close(x.grad, -0.6 * x.detach())


def test_a_class_of_one_row_has_no_bound():
    data = planted()
    labels = data.labels.clone()
    labels[labels == 2] = 1
    labels[2] = 2
    objective = AdvBCT(data.old, 4, labels=labels)
    terms = loss_of(objective, data, features=-data.rows[[2]], index=torch.tensor([2]))
    assert terms["boundary"] == 0
