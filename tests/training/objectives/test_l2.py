import pytest
from planted_classes import loss_of, planted, unit

from embridge.training.objectives.l2 import L2, L2Settings


def test_the_term_is_its_formula():
    data = planted()
    distances = [
        sum((a - b) ** 2 for a, b in zip(unit(new), old, strict=True))
        for new, old in zip(data.features.tolist(), data.rows[data.index].tolist(), strict=True)
    ]
    terms = loss_of(L2(data.old, 4, L2Settings(weight=3.0)), data)
    assert terms["compatibility"] == pytest.approx(3 * sum(distances) / len(distances), rel=1e-9)


def test_it_is_zero_at_the_old_embeddings_and_four_opposite_to_them():
    data = planted()
    objective, old = L2(data.old, 4), data.rows[data.index]
    assert loss_of(objective, data, features=5 * old)["compatibility"] == pytest.approx(0, abs=1e-12)
    assert loss_of(objective, data, features=-old)["compatibility"] == pytest.approx(4)


def test_the_length_of_an_embedding_does_not_matter():
    data = planted()
    objective = L2(data.old, 4)
    longer = loss_of(objective, data, features=7 * data.features)
    assert longer["compatibility"] == pytest.approx(loss_of(objective, data)["compatibility"])
