import math
from dataclasses import replace

import pytest
import torch
from planted_classes import dot, loss_of, planted, unit

from embridge.errors import InvalidInput
from embridge.training.objectives.lwf import LwF, LwFSettings


def softmax(logits):
    total = sum(math.exp(z) for z in logits)
    return [math.exp(z) / total for z in logits]


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_the_term_is_its_formula_over_the_known_classes(temperature):
    data = planted()
    weights, expected = data.old.classifier[:3].tolist(), 0.0  # class 3 is not known
    for new, old in zip(data.features.tolist(), data.rows[data.index].tolist(), strict=True):
        new_shares, old_shares = (softmax([dot(v, x) / temperature for v in weights]) for x in (unit(new), old))
        expected += sum(w * math.log(w / c) for w, c in zip(old_shares, new_shares, strict=True))
    terms = loss_of(LwF(data.old, 4, LwFSettings(temperature=temperature, weight=3.0)), data)
    assert terms["compatibility"] == pytest.approx(3 * expected / len(data.index), rel=1e-9)


def test_it_is_zero_at_the_old_embeddings_and_above_it_elsewhere():
    data = planted()
    objective = LwF(data.old, 4, LwFSettings(temperature=0.1))
    assert loss_of(objective, data, features=2 * data.rows[data.index])["compatibility"] == pytest.approx(0, abs=1e-12)
    assert loss_of(objective, data)["compatibility"] > 0.1


def test_what_the_old_classifier_says_of_classes_it_does_not_know_is_ignored():
    data = planted()
    other = data.old.classifier.clone()
    other[3] = 100
    changed = replace(data.old, classifier=other)
    one, two = (loss_of(LwF(old, 4), data)["compatibility"] for old in (data.old, changed))
    assert one == two


def test_the_old_classifier_stays():
    assert [name for name, _ in LwF(planted().old, 4).named_parameters()] == ["classifier.weight"]


@pytest.mark.parametrize("part", [{"classifier": None}, {"known": torch.zeros(4, dtype=torch.bool)}])
def test_a_classifier_of_known_classes_is_needed(part):
    with pytest.raises(InvalidInput, match=r"lwf uses the old classifier; give OldModel\(\.\.\., classifier="):
        LwF(replace(planted().old, **part), 4)
