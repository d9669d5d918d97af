import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.metrics import precision_score

from embridge.errors import InvalidInput
from embridge.evaluation.score_shift import Threshold, ks_distance, precision_above, threshold_for_precision

FEW = st.integers(-3, 3).map(float)  # many ties
HITS = st.lists(st.tuples(FEW, st.booleans()), min_size=1, max_size=25)


def columns(hits):
    scores, right = zip(*hits, strict=True)
    return np.array(scores), np.array(right)


# ---- the distance of two distributions


@pytest.mark.slow
@given(st.lists(FEW, min_size=1, max_size=20), st.lists(FEW, min_size=1, max_size=20))
def test_the_distance_is_its_naive_loop_and_scipys(a, b):
    largest = 0.0
    for point in [*a, *b]:
        shares = [sum(x <= point for x in side) / len(side) for side in (a, b)]
        largest = max(largest, abs(shares[0] - shares[1]))
    came = ks_distance(np.array(a), np.array(b))
    assert came == pytest.approx(largest)
    assert came == pytest.approx(ks_2samp(a, b, method="exact").statistic)
    assert came == ks_distance(np.array(b), np.array(a))


def test_the_distance_of_equal_far_and_scaled_scores():
    scores = np.random.default_rng(0).normal(size=1_000)
    assert ks_distance(scores, scores[::-1].copy()) == 0
    assert ks_distance(scores, scores + 100) == 1
    assert ks_distance(3 * scores, 3 * scores**3) == ks_distance(scores, scores**3)
    assert ks_distance(np.ones(5), np.ones(7)) == 0
    assert ks_distance(scores, np.random.default_rng(1).normal(size=1_000)) < 0.07


# ---- thresholds


@pytest.mark.slow
@given(HITS, FEW)
def test_what_a_threshold_does_is_its_naive_loop_and_scikit_learns(hits, score):
    scores, right = columns(hits)
    kept = [is_right for value, is_right in hits if value >= score]
    came = precision_above(scores, right, score)
    assert came.score == score
    assert came.kept == pytest.approx(len(kept) / len(hits))
    assert came.precision == pytest.approx(sum(kept) / len(kept) if kept else 1.0)
    assert came.precision == pytest.approx(precision_score(right, scores >= score, zero_division=1.0))


@pytest.mark.slow
@given(HITS, st.floats(0, 1))
def test_the_threshold_for_a_precision_is_its_naive_loop(hits, precision):
    scores, right = columns(hits)
    enough = [s for s in set(scores.tolist()) if precision_above(scores, right, s).precision >= precision]
    came = threshold_for_precision(scores, right, precision)
    if enough:
        assert came.score == min(enough)
        does = precision_above(scores, right, came.score)
        assert (came.precision, came.kept) == pytest.approx((does.precision, does.kept))
    else:
        assert came is None


def test_equal_scores_are_kept_or_dropped_together():
    scores, right = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert threshold_for_precision(scores, right, 0.9) == Threshold(0.9, 1.0, 0.25)
    assert threshold_for_precision(scores, right, 0.6).score == 0.5
    constant = np.full(4, 0.5)
    assert threshold_for_precision(constant, right, 0.5) == Threshold(0.5, 0.5, 1.0)
    assert threshold_for_precision(constant, right, 0.51) is None


def test_no_hits_and_no_precision():
    none, nothing = np.empty(0), np.empty(0, bool)
    assert precision_above(none, nothing, 0.5) == Threshold(0.5, 1.0, 0.0)
    assert threshold_for_precision(none, nothing, 0.0) is None
    assert threshold_for_precision(np.ones(3), np.zeros(3, bool), 0.1) is None
    assert threshold_for_precision(np.ones(3), np.zeros(3, bool), 0.0) == Threshold(1.0, 0.0, 1.0)


def test_no_scores_and_nan_are_refused():
    for pair in ((np.empty(0), np.ones(1)), (np.ones(1), np.empty(0))):
        with pytest.raises(InvalidInput, match="expected scores from both systems"):
            ks_distance(*pair)
    hole, right = np.array([np.nan, 1.0]), np.array([True, True])
    for call in (
        lambda: ks_distance(hole, np.ones(1)),
        lambda: ks_distance(np.ones(1), hole),
        lambda: precision_above(hole, right, 0.5),
        lambda: threshold_for_precision(hole, right, 0.5),
    ):
        with pytest.raises(InvalidInput, match="scores with NaN came; leave out hits that have no score"):
            call()
