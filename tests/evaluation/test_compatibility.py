import numpy as np
import pytest
from scipy.stats import bootstrap

from embridge.errors import InvalidInput
from embridge.evaluation import bootstrap_mean, compatible, flip_rates


def draws(share, size, seed):
    return (np.random.default_rng(seed).random(size) < share).astype(float)


def test_the_interval_is_scipys():
    values = draws(0.3, 400, 0)
    ours = bootstrap_mean(values, resamples=20_000)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert ours.value == values.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_the_interval_covers_the_truth_nineteen_times_in_twenty():
    covered = 0
    for seed in range(600):
        interval = bootstrap_mean(draws(0.4, 300, seed), resamples=500, seed=seed)
        covered += interval.low <= 0.4 <= interval.high
    assert 0.92 <= covered / 600 <= 0.975


def test_the_seed_settles_the_interval():
    values = draws(0.5, 200, 0)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_compatible_says_yes_no_and_undecided():
    old = draws(0.4, 1_000, 0)
    better, worse = np.maximum(old, draws(0.2, 1_000, 1)), old * draws(0.8, 1_000, 2)
    assert compatible(better, old).answer == "yes"
    assert compatible(better, old).difference.low > 0
    assert compatible(worse, old).answer == "no"
    assert compatible(worse, old).difference.high < 0
    assert compatible(draws(0.4, 1_000, 3), old).answer == "undecided"


def test_being_equal_is_not_being_compatible():
    old = draws(0.4, 100, 0)
    comparison = compatible(old, old)
    assert comparison.answer == "undecided"
    assert comparison.difference.value == 0


def test_pairing_the_queries_narrows_the_interval():
    old = draws(0.5, 500, 0)
    new = old.copy()
    new[:15] = 1.0
    paired = compatible(new, old).difference
    apart = bootstrap_mean(new).high - bootstrap_mean(new).low
    assert paired.high - paired.low < apart / 2


def test_flips_are_counted():
    old = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    new = np.array([0.0, 1.0, 1.0, 0.0, 0.0])
    assert flip_rates(new, old) == (0.4, 0.2)
    assert flip_rates(old, old) == (0.0, 0.0)


def test_unequal_or_no_queries_are_refused(as_in_production):
    with pytest.raises(InvalidInput, match="one value a query from both"):
        compatible(np.ones(3), np.ones(4))
    with pytest.raises(InvalidInput, match="one value a query from both"):
        flip_rates(np.empty(0), np.empty(0))
    with pytest.raises(InvalidInput, match="bootstrap: expected values"):
        bootstrap_mean(np.empty(0))
