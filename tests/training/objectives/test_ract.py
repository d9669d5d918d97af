import math

import pytest
import torch
from planted_classes import dot, loss_of, planted, unit

from embridge.training.objectives.ract import RACT, RACTSettings


def naive(data, index, features, temperature, negatives):
    new = [unit(row) for row in features.tolist()]
    old, labels = data.rows[index].tolist(), data.labels[index].tolist()
    total = 0.0
    for i in range(len(index)):
        others = [j for j in range(len(index)) if labels[j] != labels[i]]
        hardest_old = sorted((dot(new[i], old[j]) for j in others), reverse=True)[:negatives]
        hardest_new = sorted((dot(new[i], new[j]) for j in others), reverse=True)[:negatives]
        right = math.exp(dot(new[i], old[i]) / temperature)
        wrong = sum(math.exp(cosine / temperature) for cosine in hardest_old + hardest_new)
        total -= math.log(right / (right + wrong))
    return total / len(index)


@pytest.mark.parametrize(("temperature", "negatives"), [(0.01, 10), (0.1, 2), (1.0, 1)])
def test_the_term_is_its_formula(temperature, negatives):
    data = planted()
    terms = loss_of(RACT(data.old, 4, RACTSettings(temperature=temperature, negatives=negatives, weight=3.0)), data)
    expected = 3 * naive(data, data.index, data.features, temperature, negatives)
    assert terms["compatibility"] == pytest.approx(expected, rel=1e-9)


def test_rows_of_the_same_class_are_no_negatives():
    data = planted()
    index = torch.tensor([0, 4, 8, 12])
    assert loss_of(RACT(data.old, 4), data, features=data.features[:4], index=index)["compatibility"] == 0


def test_new_embeddings_are_negatives_too():
    """Where the old rows are out of the way, new rows of two classes in one place still cost log 2."""
    data = planted()
    index = torch.tensor([0, 1])
    objective = RACT(data.old, 4, RACTSettings(temperature=1.0)).double()
    objective.old_embeddings = torch.eye(24, 5, dtype=torch.float64)
    objective.old_embeddings[1] = -objective.old_embeddings[0]
    features = torch.eye(5, dtype=torch.float64)[[0, 0]]
    first = math.log(1 + math.exp(-2) + 1)
    second = math.log(1 + math.exp(2) + math.exp(2))
    assert loss_of(objective, data, features=features, index=index)["compatibility"] == pytest.approx(
        (first + second) / 2
    )


def test_random_rows_are_at_chance():
    """At a high temperature all is alike: one right among 1 + 2 · 10."""
    data = planted(batch=24)
    terms = loss_of(RACT(data.old, 4, RACTSettings(temperature=1e6)), data)
    assert terms["compatibility"] == pytest.approx(math.log(21), abs=1e-5)
