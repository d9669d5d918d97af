"""What a training ends by saying, on planted outcomes."""

import numpy as np
import pytest

from embridge.evaluation.compatibility import compatible
from embridge.jobs._training_advice import advice
from embridge.jobs._training_control import Control

LEVEL = [1.0] * 40


def right(share, count=400):
    """So many right, the first of them."""
    return (np.arange(count) < share * count).astype(np.float64)


def sentences(objective="oca", *, old=0.4, cross=0.5, own=0.7, bridge=0.45, alone=0.7, losses=LEVEL, control=True):
    found = {"old/old": right(old), "new/old": right(cross), "new/new": right(own)}
    bridged = {"procrustes": right(bridge), "ridge": right(bridge - 0.05)}
    beside = Control(right(alone), bridged) if control else None
    return advice(objective, found, compatible(found["new/old"], found["old/old"]), beside, losses)


def test_a_compatible_model_says_what_it_won_and_lost():
    verdict, traded, following = sentences(own=0.69)
    assert verdict.startswith("Compatible: new queries find 0.500 in the old index, old ones 0.400 (difference +0.100")
    assert "0.690 in its own index, 0.700 when trained alone (-0.010)" in traded
    assert "finds 0.050 more than the model trained alone with a bridge (procrustes)" in traded
    assert "embridge evaluate" in following


@pytest.mark.parametrize("worse", [{"bridge": 0.5}, {"bridge": 0.55}, {"own": 0.68}])
def test_where_a_bridge_does_as_well_nobody_should_train_for_it(worse):
    """As well by the old index; or all that is won there is paid for in the own index, more than two hundredths of it."""
    following = sentences(**worse)[-1]
    assert "not ahead of a bridge" in following
    assert "method: procrustes" in following


@pytest.mark.parametrize(
    ("objective", "losses", "step"),
    [
        ("oca", LEVEL, "more dimensions"),
        ("bct", LEVEL, "an objective that adds dimensions"),
        ("bc-aligner", LEVEL, "more items of the old classes"),
        ("bct", [1.0] * 36 + [0.8] * 4, "train longer"),
    ],
)
def test_a_model_that_is_not_compatible_hears_what_to_try(objective, losses, step):
    verdict, following = sentences(objective, cross=0.3, losses=losses, control=False)
    assert verdict.startswith("Not compatible: ")
    assert step in following
    assert ("train longer" in following) == (losses is not LEVEL)


def test_too_few_items_to_say_ask_for_more():
    found = {"old/old": np.array([0.0, 1] * 10), "new/old": np.array([1.0, 1] * 2 + [0, 1] * 8), "new/new": np.ones(20)}
    verdict, following = advice("oca", found, compatible(found["new/old"], found["old/old"]), None, LEVEL)
    assert verdict.startswith("Undecided: ")
    assert "more would settle it" in verdict
    assert "hold out more items" in following
