import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from embridge.errors import InvalidInput
from embridge.evaluation.verification import Acceptance, tar_at_far

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=25)  # many ties


def naive(same, different, far):
    """Every score seen as a threshold, and the infinite one: the lowest that keeps the rate."""
    for threshold in sorted({*same, *different, float("inf")}):
        wrong = sum(s >= threshold for s in different) / len(different)
        if wrong <= far:
            return Acceptance(threshold, sum(s >= threshold for s in same) / len(same), wrong)
    raise AssertionError("the infinite threshold accepts nothing")


@pytest.mark.slow
@given(SCORES, SCORES, st.floats(0.01, 1))
def test_it_is_the_naive_loop_and_scikit_learns_curve(same, different, far):
    assume(len(different) * far >= 1)
    came = tar_at_far(np.array(same), np.array(different), far)
    assert came == naive(same, different, far)
    wrong, right, thresholds = roc_curve(
        [1] * len(same) + [0] * len(different), same + different, drop_intermediate=False
    )
    last = np.flatnonzero(wrong <= far)[-1]
    assert (came.threshold, came.true_accept_rate, came.false_accept_rate) == pytest.approx(
        (thresholds[last], right[last], wrong[last])
    )


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_rate_that_the_pairs_can_show_is_reached(part, whole):
    assume(part <= whole)
    came = tar_at_far(np.ones(1), -np.arange(float(whole)), part / whole)
    assert came.false_accept_rate == part / whole


def test_ties_at_the_threshold_are_settled_conservatively():
    different = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    came = tar_at_far(np.array([0.5, 0.6, 0.9]), different, 0.4)
    assert came == Acceptance(0.6, 2 / 3, 0.2)
    assert tar_at_far(np.array([0.5, 0.6, 0.9]), different, 0.8) == Acceptance(0.5, 1.0, 0.8)


def test_constant_scores_accept_nothing_unless_all():
    same, different = np.full(10, 0.5), np.full(20, 0.5)
    assert tar_at_far(same, different, 0.9) == Acceptance(float("inf"), 0.0, 0.0)
    assert tar_at_far(same, different, 1.0) == Acceptance(0.5, 1.0, 1.0)


def test_chance_and_perfection():
    generator = np.random.default_rng(0)
    same, different = generator.normal(size=20_000), generator.normal(size=20_000)
    for far in (0.001, 0.01, 0.1, 0.5):
        came = tar_at_far(same, different, far)
        assert came.true_accept_rate == pytest.approx(far, abs=5 * (far / 20_000) ** 0.5)
        assert came.false_accept_rate == far
    assert tar_at_far(same + 100, different, 0.001).true_accept_rate == 1.0
    assert tar_at_far(same - 100, different, 0.001).true_accept_rate == 0.0


def test_order_repetition_and_rising_transforms_do_not_matter():
    generator = np.random.default_rng(1)
    same, different = generator.normal(size=300) + 1, generator.normal(size=500)
    came = tar_at_far(same, different, 0.05)
    assert tar_at_far(generator.permutation(same), generator.permutation(different), 0.05) == came
    assert tar_at_far(np.repeat(same, 3), np.repeat(different, 3), 0.05) == came
    moved = tar_at_far(np.exp(same), np.exp(different), 0.05)
    assert moved == Acceptance(float(np.exp(came.threshold)), came.true_accept_rate, came.false_accept_rate)


def test_too_few_different_pairs_are_refused():
    with pytest.raises(
        InvalidInput, match=r"false accept rate of 0\.001 takes at least 1,000 different pairs, came 999"
    ):
        tar_at_far(np.ones(5), np.zeros(999), 0.001)
    assert tar_at_far(np.ones(5), np.zeros(1_000), 0.001).true_accept_rate == 1.0


@pytest.mark.parametrize(
    ("same", "different", "far"), [([], [0.1], 0.5), ([0.1], [], 0.5), ([0.1], [0.1], 0.0), ([0.1], [0.1], 1.1)]
)
def test_no_pairs_and_impossible_rates_are_refused(same, different, far):
    with pytest.raises(InvalidInput, match=r"scores of same and different pairs and a rate in \(0, 1\]"):
        tar_at_far(np.array(same, float), np.array(different, float), far)


def test_nan_is_refused():
    for pair in (([np.nan, 1.0], [0.0]), ([1.0], [np.inf])):
        with pytest.raises(InvalidInput, match="leave out pairs that have no score"):
            tar_at_far(np.array(pair[0]), np.array(pair[1]), 1.0)
