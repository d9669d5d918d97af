import numpy as np
import pytest

from embridge.adapters import Composed, Linear, Prefix
from embridge.adapters.composed import adapter_to_config
from embridge.errors import ArtefactError, SpaceMismatch
from embridge.space import Space

A, B, C = (Space(name, "1", dim) for name, dim in (("newest", 4), ("new", 3), ("old", 2)))
WEIGHT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def test_steps_run_one_after_the_other():
    first, second = Linear(A, B, WEIGHT), Prefix(B, C)
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    both = Composed([first, second])
    assert (both.source, both.target) == (A, C)
    np.testing.assert_array_equal(both.apply(x), second.apply(first.apply(x)))


def test_nesting_changes_nothing():
    steps = [Linear(A, B, WEIGHT), Prefix(B, B), Prefix(B, C)]
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    expected = Composed(steps).apply(x)
    np.testing.assert_array_equal(Composed([steps[0], Composed(steps[1:])]).apply(x), expected)
    np.testing.assert_array_equal(Composed([Composed(steps[:2]), steps[2]]).apply(x), expected)


def test_steps_that_do_not_join_are_refused():
    other = Space("new", "2", 3)
    with pytest.raises(SpaceMismatch, match=r"the step before the prefix adapter: expected vectors of new@2"):
        Composed([Linear(A, B, WEIGHT), Prefix(other, C)])
    with pytest.raises(ArtefactError, match="a composition has at least one step"):
        Composed([])


def test_parts_of_other_spaces_are_refused():
    both = Composed([Linear(A, B, WEIGHT), Prefix(B, C)])
    config = adapter_to_config(both)["config"]
    with pytest.raises(SpaceMismatch, match="the first step of a composition"):
        Composed.from_parts(B, C, config, both.weights())
    with pytest.raises(SpaceMismatch, match="the last step of a composition"):
        Composed.from_parts(A, B, config, both.weights())
    with pytest.raises(ArtefactError, match=r"lack 'weight'"):
        Composed.from_parts(A, C, config, {})
