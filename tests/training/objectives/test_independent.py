import math

import pytest
import torch
from planted_classes import dot, loss_of, planted

from embridge import Space
from embridge.adapters import Prefix
from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.independent import Independent, IndependentSettings


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_the_loss_is_the_cross_entropy_of_a_linear_classifier(scale):
    data = planted()
    objective = Independent(data.old, 4, IndependentSettings(scale=scale)).double()
    weights, expected = objective.classifier.weight.tolist(), 0.0
    for row, i in zip(data.features.tolist(), data.index, strict=True):
        logits = [scale * dot(row, w) for w in weights]
        expected += math.log(sum(math.exp(z) for z in logits)) - logits[data.labels[i]]
    assert loss_of(objective, data) == {"classification": pytest.approx(expected / len(data.index), rel=1e-9)}


def test_without_an_old_model_the_dim_is_named():
    with pytest.raises(SettingsError, match="independent: without an old model, say with dim how long an embedding is"):
        Independent(None, 4)
    assert Independent(None, 4, IndependentSettings(dim=7)).feature_dim == 7


def test_it_may_be_longer_than_the_old_model_but_not_shorter():
    data = planted()
    objective = Independent(data.old, 4, IndependentSettings(dim=8))
    assert (objective.embedding_dim, objective.old_dim) == (8, 5)
    assert isinstance(objective.bridge(Space("new", "1", 8), Space("old", "1", 5)), Prefix)
    with pytest.raises(InvalidInput, match="expected 0 < old_dim <= embedding_dim, came 5 and 3"):
        Independent(data.old, 4, IndependentSettings(dim=3))


def test_the_features_are_the_embeddings():
    features = torch.randn(3, 5)
    assert Independent(planted().old, 4).embed(features) is features
