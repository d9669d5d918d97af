import pytest
import torch
from planted_classes import DIM, dot, loss_of, planted, unit

from embridge.training.objectives.lce import LCE, LCESettings, least_cosines


@pytest.mark.parametrize("unseen", ["using_old", "null"])
def test_the_terms_are_their_formulas(unseen):
    data = planted()
    objective = LCE(data.old, 4, LCESettings(boundary_weight=2.0, unseen=unseen), labels=data.labels).double()
    with torch.no_grad():
        objective.classifier.weight.mul_(5)
    prototypes = [unit(row) for row in data.old.prototypes.tolist()]
    counted = range(4 if unseen == "using_old" else 3)
    apart = [
        sum((w - p) ** 2 for w, p in zip(unit(objective.classifier.weight[c].tolist()), prototypes[c], strict=True))
        for c in counted
    ]
    outside = []
    for row, i in zip(data.features.tolist(), data.index, strict=True):
        c = int(data.labels[i])
        least = min(dot(old, prototypes[c]) for old in data.rows[data.labels == c].tolist())
        if c in counted:
            outside.append(max(least - dot(unit(row), prototypes[c]), 0))
    terms = loss_of(objective, data)
    assert terms["alignment"] == pytest.approx(100 * sum(apart) / (len(apart) * DIM), rel=1e-9)
    assert terms["boundary"] == pytest.approx(2 * sum(outside) / len(outside), rel=1e-9)


def test_old_embeddings_are_within_their_bounds():
    data = planted()
    objective = LCE(data.old, 4, labels=data.labels)
    assert loss_of(objective, data, features=2 * data.rows[data.index])["boundary"] == pytest.approx(0, abs=1e-12)


def test_a_classifier_on_the_prototypes_is_aligned():
    data = planted()
    objective = LCE(data.old, 4, labels=data.labels).double()
    with torch.no_grad():
        objective.classifier.weight.copy_(3 * data.old.prototypes)
    assert loss_of(objective, data)["alignment"] == pytest.approx(0, abs=1e-12)


def test_a_class_without_rows_has_no_bound():
    rows = torch.eye(3)[[0, 1]]
    assert least_cosines(rows, torch.tensor([0, 0]), torch.eye(3)).tolist() == [0.0, -1.0, -1.0]
