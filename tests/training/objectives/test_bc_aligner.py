from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted_classes import dot, loss_of, planted, unit

from embridge import Embeddings, Space
from embridge.adapters import Composed, Linear
from embridge.errors import InvalidInput
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.bc_aligner import BCAligner, BCAlignerSettings

NEWEST, NEW, OLD = Space("newest", "1", 7), Space("new", "1", 5), Space("old", "1", 3)


def longer(data, dim=8):
    """The same batch by a new model of more dims."""
    features = torch.randn(len(data.index), dim, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return type(data)(**(vars(data) | {"features": features}))


def test_the_term_is_its_formula():
    data = longer(planted())
    objective = BCAligner(data.old, 4, BCAlignerSettings(dim=8)).double()
    weight, total = objective.backward_map.weight.tolist(), 0.0
    for row, i in zip(data.features.tolist(), data.index, strict=True):
        mapped = [dot(unit(row), w) for w in weight]
        total += sum((m - o) ** 2 for m, o in zip(mapped, data.rows[i].tolist(), strict=True))
    terms = loss_of(objective, data)
    assert terms["compatibility"] == pytest.approx(16 * total / len(data.index), rel=1e-9)


def test_the_bridge_points_where_comparable_does():
    data = longer(planted(), dim=7)
    objective = BCAligner(data.old, 4, BCAlignerSettings(dim=7))
    rows = data.features.float()
    mapped = objective.bridge(NEWEST, NEW).apply(rows.numpy())
    result = F.normalize(torch.from_numpy(mapped), dim=1)
    torch.testing.assert_close(objective.comparable(rows), result)


def test_earlier_bridges_pass_the_error_on():
    data = planted()
    step = Linear(NEW, OLD, np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    last = Linear(OLD, Space("first", "1", 2), np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32))
    objective = BCAligner(data.old, 4, earlier=[step, last]).double()
    error = F.normalize(data.features, dim=1) @ objective.backward_map.weight.detach().T - data.rows[data.index]
    maps = [torch.from_numpy(m.weight).double() for m in (step, last)]
    passed = [error, error @ maps[0], error @ maps[0] @ maps[1]]
    expected = 16 / 3 * sum(float((e**2).sum(1).mean()) for e in passed)
    assert loss_of(objective, data)["compatibility"] == pytest.approx(expected, rel=1e-6)
    assert {name for name, _ in objective.named_parameters()} == {"classifier.weight", "backward_map.weight"}


@pytest.mark.parametrize(
    "step",
    [
        Linear(NEWEST, OLD, np.zeros((7, 3), np.float32)),
        Linear(NEW, OLD, np.zeros((5, 3), np.float32), np.zeros(3, np.float32)),
    ],
    ids=["another dim", "a bias"],
)
def test_an_earlier_bridge_has_to_fit(step):
    with pytest.raises(InvalidInput, match=r"bc-aligner: earlier\[0\] has to be linear, without a bias, from 5 dims"):
        BCAligner(planted().old, 4, earlier=[step])


def trained(old, labels, dim, seed):
    """The bridge and the embeddings of a new model whose rows are free to move."""
    torch.manual_seed(seed)
    objective, features = (
        BCAligner(old, 4, BCAlignerSettings(dim=dim)),
        torch.randn(len(labels), dim, requires_grad=True),
    )
    optimizer = torch.optim.Adam([features, *objective.parameters()], lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        sum(objective(features, labels, torch.arange(len(labels))).values()).backward()
        optimizer.step()
    return objective, F.normalize(features.detach(), dim=1)


@pytest.mark.slow
def test_bridges_of_two_steps_are_composed():
    """From the third model over the second to the first, whose rows the composed bridge finds."""
    data = planted()
    first = F.normalize(data.rows[:, :3].float(), dim=1)
    prototypes, known = torch.zeros(4, 3), torch.ones(4, dtype=torch.bool)
    one, second = trained(OldModel(prototypes, known, first), data.labels, 5, seed=0)
    two, third = trained(replace(OldModel(torch.zeros(4, 5), known, second)), data.labels, 7, seed=1)
    bridge = Composed([two.bridge(NEWEST, NEW), one.bridge(NEW, OLD)])
    mapped = bridge(Embeddings.of(third.numpy(), NEWEST))
    assert mapped.space == OLD
    cosines = F.normalize(torch.from_numpy(mapped.vectors), dim=1) @ first.T
    assert cosines.diagonal().mean() > 0.95
    assert (cosines.argmax(1) == torch.arange(24)).double().mean() > 0.7
