import numpy as np
import pytest
import torch

from embridge import Space
from embridge.errors import InvalidInput
from embridge.training.objectives.base import Objective, OldModel

KNOWN = torch.tensor([True, False, True])


class Plain(Objective):
    """All features, no loss."""

    paper = "none"

    def embed(self, features):
        return features

    def forward(self, features, labels, index):
        return {"nothing": 0 * features.sum()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"known": KNOWN[:2]}, r"3 prototypes need known as 3 booleans, came torch.bool of shape \(2,\)"),
        ({"known": KNOWN.float()}, r"3 prototypes need known as 3 booleans, came torch.float32 of shape \(3,\)"),
        ({"classifier": torch.ones(2, 4)}, r"the classifier is of shape \(2, 4\), the prototypes of \(3, 4\)"),
        ({"embeddings": torch.ones(7, 5)}, r"embeddings are finite rows \[n, 4\], came \(7, 5\)"),
        ({"embeddings": torch.full((7, 4), torch.inf)}, r"embeddings are finite rows \[n, 4\], came \(7, 4\)"),
        ({"prototypes": torch.full((3, 4), torch.nan)}, r"prototypes are finite rows \[n, 4\], came \(3, 4\)"),
    ],
)
def test_an_old_model_that_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(InvalidInput, match=f"old model: .*{message}"):
        OldModel(**{"prototypes": torch.ones(3, 4), "known": KNOWN} | arguments)


@pytest.mark.parametrize(("embedding_dim", "old_dim"), [(3, 4), (3, 0)])
def test_an_embedding_is_at_least_as_long_as_the_old_one(embedding_dim, old_dim):
    with pytest.raises(InvalidInput, match=f"0 < old_dim <= embedding_dim, came {old_dim} and {embedding_dim}"):
        Plain(feature_dim=5, embedding_dim=embedding_dim, old_dim=old_dim)


def test_the_first_coordinates_are_what_is_comparable():
    objective = Plain(feature_dim=5, embedding_dim=5, old_dim=3)
    rows = torch.randn(4, 5)
    rows[0] = 0
    result = objective.comparable(rows)
    torch.testing.assert_close(result.norm(dim=1), torch.tensor([0.0, 1.0, 1.0, 1.0]))
    bridge = objective.bridge(Space("new", "1", 5), Space("old", "1", 3))
    np.testing.assert_allclose(bridge.apply(rows.numpy()), result, atol=1e-6)


def test_nothing_is_refreshed_unless_an_objective_says_so():
    Plain(feature_dim=5, embedding_dim=5, old_dim=3).begin_epoch(0, 1, lambda: pytest.fail("asked for"))
