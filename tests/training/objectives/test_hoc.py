import math
from dataclasses import replace

import pytest
import torch
from planted_classes import dot, loss_of, planted, unit

from embridge.errors import SettingsError
from embridge.training.objectives.hoc import HOC, HOCSettings, higher_order_loss, regular_simplex


def test_the_terms_are_their_formulas():
    data = planted()
    objective = HOC(data.old, 4, HOCSettings(sharpness=7.0, scale=2.0)).double()
    new, old = [unit(row) for row in data.features.tolist()], data.rows[data.index].tolist()
    labels, vertices = data.labels[data.index].tolist(), objective.vertices.tolist()
    compared = classified = 0.0
    for i, row in enumerate(data.features.tolist()):
        rivals = [math.exp(7 * dot(old[i], new[j])) for j in range(len(new)) if labels[j] != labels[i]]
        compared += math.log(sum(rivals)) - 7 * dot(old[i], new[i])
        logits = [2 * dot(row, vertex) for vertex in vertices]
        classified += math.log(sum(math.exp(z) for z in logits)) - logits[labels[i]]
    assert loss_of(objective, data) == {
        "classification": pytest.approx(0.1 * classified / len(new), rel=1e-9),
        "compatibility": pytest.approx(0.9 * compared / len(new), rel=1e-9),
    }


@pytest.mark.parametrize("dim", [1, 2, 7, 100])
def test_the_simplex_is_regular_centred_and_always_the_same(dim):
    vertices = regular_simplex(dim)
    cosines = vertices @ vertices.T
    expected = torch.full((dim + 1, dim + 1), -1 / dim).fill_diagonal_(1)
    torch.testing.assert_close(cosines, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(vertices.mean(0), torch.zeros(dim), rtol=0, atol=1e-6)
    assert torch.equal(vertices, regular_simplex(dim))


def test_the_classifier_is_never_trained():
    objective = HOC(planted().old, 4)
    assert not list(objective.parameters())
    assert objective.vertices.shape == (6, 5)


def test_vertices_of_classes_to_come_are_outputs_already():
    first = HOC(None, 3, HOCSettings(dim=6)).double()
    assert len(first.vertices) == 7
    features = 4 * first.vertices[[0, 5]]
    terms = first(features, torch.tensor([0, 0]), torch.arange(2))
    expected = [-math.log(math.exp(4) / (math.exp(4) + 6 * math.exp(-4 / 6)))]
    expected.append(math.log(math.exp(4) + 6 * math.exp(-4 / 6)) + 4 / 6)
    assert terms["classification"].item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_without_an_old_model_it_is_the_classification_alone():
    data = planted()
    first, second = (
        HOC(None, 4, HOCSettings(dim=5)),
        HOC(data.old, 4, HOCSettings(compatibility_weight=0.0, classification_weight=1.0)),
    )
    assert loss_of(first, data) == {"classification": loss_of(second, data)["classification"]}


def test_a_row_without_negatives_counts_by_its_own_cosine_alone():
    rows = torch.eye(3)
    losses = higher_order_loss(rows, rows, torch.tensor([1, 1, 1]), sharpness=10.0)
    assert losses.tolist() == [-10.0, -10.0, -10.0]


def test_rows_of_the_same_class_add_nothing():
    """A second row of a class changes nothing for the first: not by its cosine, and not by e⁰."""
    rows = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    two = higher_order_loss(rows[:2], rows[:2], torch.tensor([0, 1]), sharpness=10.0)
    three = higher_order_loss(rows, rows, torch.tensor([0, 1, 0]), sharpness=10.0)
    torch.testing.assert_close(three[0], two[0])


@pytest.mark.parametrize(
    ("old", "classes", "dim", "message"),
    [(True, 4, 6, "dim=6"), (False, 4, 2, "dim=2"), (False, 1, None, "classes=1"), (True, 4, 2, "dim=2")],
)
def test_the_simplex_has_to_fit(old, classes, dim, message):
    with pytest.raises(SettingsError, match=f"hoc: .*came {message}"):
        HOC(planted().old if old else None, classes, HOCSettings(dim=dim))


def test_more_classes_than_vertices_are_refused():
    old = planted().old
    short = replace(
        old, prototypes=old.prototypes[:, :2], embeddings=old.embeddings[:, :2], classifier=old.classifier[:, :2]
    )
    with pytest.raises(SettingsError, match="hoc: 4 classes take 3 dims or more, and the old model's dim is 2"):
        HOC(short, 4)
