import math

import numpy as np
import pytest
import torch
from planted_classes import dot, loss_of, planted, unit

from embridge.errors import InvalidInput
from embridge.training.objectives.unibct import UniBCT, UniBCTSettings, refined_prototypes


def naive_refined(data, new, spread, temperature):
    """(1 − λ) Σ_t (λ E)^t F_o, summed until nothing is left to add."""
    refined = []
    for c in range(4):
        mine = (data.labels == c).nonzero()[:, 0].tolist()
        unit_rows = {i: unit(new[i].tolist()) for i in mine}
        edges = np.zeros((len(mine), len(mine)))
        for a, i in enumerate(mine):
            weights = {b: math.exp(dot(unit_rows[i], unit_rows[j]) / temperature) for b, j in enumerate(mine) if j != i}
            for b, weight in weights.items():
                edges[a, b] = weight / sum(weights.values())
        rows = data.rows[mine].numpy()
        spreading, total = rows.copy(), np.zeros_like(rows)
        for _ in range(500):
            total += (1 - spread) * spreading
            spreading = spread * edges @ spreading
        refined.append(total.mean(0))
    return torch.from_numpy(np.stack(refined))


@pytest.mark.parametrize(("spread", "temperature"), [(0.9, 0.05), (0.5, 1.0)])
def test_prototypes_are_refined_by_the_formula(spread, temperature):
    data = planted()
    new = torch.randn(24, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    result = refined_prototypes(
        new, data.rows, data.labels, prototypes=data.old.prototypes, spread=spread, temperature=temperature
    )
    torch.testing.assert_close(result, naive_refined(data, new, spread, temperature), rtol=1e-9, atol=1e-12)


def test_without_spread_they_are_the_class_means():
    data = planted()
    result = refined_prototypes(
        data.rows, data.rows, data.labels, prototypes=data.old.prototypes, spread=0.0, temperature=0.05
    )
    torch.testing.assert_close(result, data.old.prototypes)


def test_an_old_row_far_from_its_class_counts_less_where_the_new_model_knows_better():
    """Three rows near one another in the new space and one apart, which hardly anyone is a neighbour of."""
    old = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    new = torch.tensor([[1.0, 0.0], [1.0, 0.01], [1.0, -0.01], [0.6, 0.8]])
    result = refined_prototypes(
        new, old, torch.zeros(4, dtype=torch.long), prototypes=torch.zeros(1, 2), spread=0.9, temperature=0.05
    )
    assert result[0, 0] > old.mean(0)[0] + 0.4


def test_a_class_of_one_row_is_that_row_and_one_without_keeps_its_prototype():
    rows, prototypes = torch.eye(2), torch.full((3, 2), 0.25)
    result = refined_prototypes(rows, rows, torch.tensor([0, 2]), prototypes=prototypes, spread=0.9, temperature=0.05)
    assert result.tolist() == [[1.0, 0.0], [0.25, 0.25], [0.0, 1.0]]


@pytest.mark.parametrize("unseen", ["using_old", "null"])
def test_the_term_is_its_formula(unseen):
    data = planted()
    objective = UniBCT(data.old, 4, UniBCTSettings(weight=3.0, prototype_scale=20.0, unseen=unseen))
    counted = range(4 if unseen == "using_old" else 3)
    prototypes, losses = data.old.prototypes.tolist(), []
    for row, i in zip(data.features.tolist(), data.index, strict=True):
        if int(data.labels[i]) in counted:
            logits = [20 * dot(unit(row), prototypes[c]) for c in counted]
            losses.append(math.log(sum(math.exp(z) for z in logits)) - logits[data.labels[i]])
    assert loss_of(objective, data)["compatibility"] == pytest.approx(3 * sum(losses) / len(losses), rel=1e-9)


def test_before_the_first_refresh_the_plain_prototypes_count_in_full():
    data = planted()
    objective = UniBCT(data.old, 4)
    for epoch in range(10):
        objective.begin_epoch(epoch, 30, lambda: pytest.fail("asked for a pass over the data"))
        assert torch.equal(objective.to_old.prototypes, data.old.prototypes)
    assert loss_of(objective, data)["compatibility"] > 0


def test_it_refreshes_at_its_epochs_alone():
    data, calls = planted(), []
    objective = UniBCT(data.old, 4, UniBCTSettings(refresh_epochs=(1, 3))).double()

    def embedded():
        calls.append(epoch)
        return data.rows.flip(1), data.labels

    for epoch in range(5):
        objective.begin_epoch(epoch, 5, embedded)
    assert calls == [1, 3]
    expected = naive_refined(data, data.rows.flip(1), 0.9, 0.05)
    torch.testing.assert_close(objective.to_old.prototypes, expected, rtol=1e-9, atol=1e-12)


def test_the_new_embeddings_have_to_be_of_the_same_rows():
    data = planted()
    with pytest.raises(InvalidInput, match="unibct: 24 old embeddings and 23 new ones; give the same rows"):
        UniBCT(data.old, 4, UniBCTSettings(refresh_epochs=(0,))).begin_epoch(
            0, 1, lambda: (data.rows[1:], data.labels[1:])
        )
