from math import exp, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.errors import InvalidInput
from embridge.evaluation.compatibility import FEWEST_CHANGED, compatible, flip_rates, flips
from embridge.evaluation.ratios import break_even, p_1, p_comp, p_up, retention, update_gain
from embridge.evaluation.statistics import bootstrap_mean

SHARES = st.floats(0.01, 1)
PAIRED = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30
)


def draws(share, size, seed):
    return (np.random.default_rng(seed).random(size) < share).astype(float)


# ---- compatible


def test_compatible_says_yes_no_and_undecided():
    old = draws(0.4, 1_000, 0)
    better, worse = np.maximum(old, draws(0.2, 1_000, 1)), old * draws(0.8, 1_000, 2)
    assert compatible(better, old).answer == "yes"
    assert compatible(better, old).difference.low > 0
    assert compatible(worse, old).answer == "no"
    assert compatible(worse, old).difference.high < 0
    assert compatible(draws(0.4, 1_000, 3), old).answer == "undecided"


@pytest.mark.slow
@given(PAIRED, st.booleans())
def test_the_interval_is_of_the_paired_differences(pairs, weighted):
    new, old = (np.array(column) for column in zip(*pairs, strict=True))
    weights = np.arange(1.0, len(new) + 1) if weighted else None
    comparison = compatible(new, old, weights=weights, resamples=200, seed=3)
    assert comparison.difference == bootstrap_mean(new - old, weights=weights, resamples=200, seed=3)
    interval = comparison.difference
    changed = sum(a != b for a, b in pairs)
    expected = "yes" if interval.low > 0 else "no" if interval.high < 0 else "undecided"
    assert comparison.answer == (expected if changed >= FEWEST_CHANGED else "undecided")
    assert comparison.more_queries is None or comparison.answer == "undecided"


def test_being_equal_is_not_being_compatible():
    old = draws(0.4, 100, 0)
    comparison = compatible(old, old)
    assert comparison.answer == "undecided"
    assert comparison.difference.value == 0
    assert comparison.more_queries is None


@pytest.mark.parametrize("size", [FEWEST_CHANGED, 1_000])
def test_a_handful_of_changes_settles_nothing(size):
    old = np.zeros(size)
    for changed, answer in ((FEWEST_CHANGED - 1, "undecided"), (FEWEST_CHANGED, "yes")):
        new = old.copy()
        new[:changed] = 1.0
        assert compatible(new, old).answer == answer
    assert 2 * 0.5**FEWEST_CHANGED < 0.05 < 2 * 0.5 ** (FEWEST_CHANGED - 1)  # the exact sign test


@pytest.mark.parametrize(("changed", "total"), [(1, 1), (1, 10), (5, 1_000)])
def test_more_queries_bring_enough_changes(changed, total):
    old, new = np.zeros(total), np.zeros(total)
    new[:changed] = 1.0
    more = compatible(new, old).more_queries
    assert more >= 1
    assert (total + more) * changed / total >= FEWEST_CHANGED
    assert compatible(old, new).more_queries == more


def test_so_many_more_queries_of_the_kind_settle_it():
    kind = np.array([1.0] * 11 + [-1.0] * 7 + [0.0] * 82)
    new, old = (kind > 0).astype(float), (kind < 0).astype(float)
    comparison = compatible(new, old)
    assert comparison.answer == "undecided"
    times = -(-(100 + comparison.more_queries) // 100)
    assert times > 2
    assert compatible(np.tile(new, times), np.tile(old, times)).answer == "yes"


def test_weights_can_turn_the_answer():
    new, old = np.array([1.0] * 60 + [0.0] * 40), np.array([0.0] * 60 + [1.0] * 40)
    weights = np.array([1.0] * 60 + [10.0] * 40)
    assert compatible(new, old).difference.value == pytest.approx(0.2)
    weighed = compatible(new, old, weights=weights)
    assert weighed.difference.value == pytest.approx((60 - 400) / 460)
    assert weighed.answer == "no"
    # a difference by weights alone has its number of queries too
    even, heavy = np.array([1.0] * 8 + [0.0] * 8), np.array([1.2] * 8 + [1.0] * 8)
    assert compatible(even, 1 - even).more_queries is None
    assert compatible(even, 1 - even, weights=heavy).more_queries > 100


def test_the_seed_settles_the_comparison():
    old, new = (np.random.default_rng(seed).random(100) for seed in (0, 1))
    assert compatible(new, old, seed=1) == compatible(new, old, seed=1)
    assert compatible(new, old, seed=1) != compatible(new, old, seed=2)
    assert compatible(new, old, seed=1, resamples=50) != compatible(new, old, seed=1, resamples=60)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "changed"), [(300, 0.02), (300, 0.05), (300, 0.3), (40, 0.5)])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_no_true_difference_is_rarely_called_one(size, changed, weighted):
    answers = []
    for seed in range(1_000):
        generator = np.random.default_rng(seed)
        old = (generator.random(size) < 0.5).astype(float)
        new = np.where(generator.random(size) < changed, 1 - old, old)
        weights = generator.integers(1, 4, size).astype(float) if weighted else None
        answers.append(compatible(new, old, weights=weights, resamples=1_000, seed=seed).answer)
    noise = 3 * (0.025 * 0.975 / 1_000) ** 0.5
    assert answers.count("yes") / 1_000 <= 0.025 + noise
    assert answers.count("no") / 1_000 <= 0.025 + noise


# ---- flips


@pytest.mark.slow
@given(PAIRED, st.booleans())
def test_flips_are_their_naive_loop(pairs, weighted):
    new, old = (np.array(column) for column in zip(*pairs, strict=True))
    weights = [float(1 + i % 5) for i in range(len(pairs))] if weighted else [1.0] * len(pairs)
    negative = [i for i, (now, was) in enumerate(pairs) if was > 0 and not now > 0]
    positive = [i for i, (now, was) in enumerate(pairs) if now > 0 and not was > 0]
    assert [rows.tolist() for rows in flips(new, old)] == [negative, positive]
    expected = [sum(weights[i] for i in rows) / sum(weights) for rows in (negative, positive)]
    assert flip_rates(new, old, weights=np.array(weights) if weighted else None) == pytest.approx(expected)


def test_flips_are_counted():
    old = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    new = np.array([0.0, 1.0, 1.0, 0.0, 0.0])
    assert flip_rates(new, old) == (0.4, 0.2)
    assert flip_rates(old, new) == (0.2, 0.4)
    assert flip_rates(old, old) == (0.0, 0.0)


# ---- figures of means


def sigmoid(x):
    return 1 / (1 + exp(-x))


@given(
    st.lists(
        st.tuples(SHARES, SHARES, SHARES, SHARES).filter(lambda f: abs(f[3] - f[2]) > 0.01), min_size=1, max_size=4
    )
)
def test_the_advbct_figures_are_their_formulas(figures):
    own, crossed, old, best = (list(column) for column in zip(*figures, strict=True))
    ups, comps = [], []
    for nn, no, oo, star in figures:
        ups.append(sigmoid((nn - star) / star))
        comps.append(sigmoid((no - oo) / (star - oo)))
    harmonic = [2 / (1 / up + 1 / comp) for up, comp in zip(ups, comps, strict=True)]
    assert p_up(own, best) == pytest.approx(sum(ups) / len(ups))
    assert p_comp(crossed, old, best) == pytest.approx(sum(comps) / len(comps))
    assert p_1(own, crossed, old, best) == pytest.approx(sum(harmonic) / len(harmonic))


OLD, PARAGON = [74.29, 54.34, 11.43], [81.15, 63.85, 16.48]  # mAP of the old and of the independent new model, percent
ADVBCT = {  # self-test and cross-test on RParis, ROxford and GLDv2-test; P_up, P_comp, P_1 as printed, percent
    "BCT": ([79.45, 58.94, 14.79], [76.13, 53.43, 12.26], (48.33, 52.79, 50.41)),
    "LCE": ([81.26, 60.49, 16.07], [76.78, 54.29, 12.04], (49.37, 53.95, 51.51)),
    "UniBCT": ([76.92, 59.07, 14.80], [74.55, 57.82, 12.31], (48.09, 54.78, 51.17)),
    "RACT": ([78.93, 60.31, 14.0], [75.33, 51.68, 10.41], (48.06, 47.26, 47.57)),
    "AdvBCT": ([82.05, 64.51, 16.44], [77.16, 54.82, 12.05], (50.16, 54.87, 52.35)),
}


@pytest.mark.parametrize("method", ADVBCT)
def test_the_printed_table_of_advbct(method):
    """13 of the 15 printed figures are ours rounded to .01; P_comp of RACT and AdvBCT are printed .01 lower, rounded down."""
    own, crossed, printed = ADVBCT[method]
    came = 100 * np.array([p_up(own, PARAGON), p_comp(crossed, OLD, PARAGON), p_1(own, crossed, OLD, PARAGON)])
    np.testing.assert_allclose(came, printed, atol=0.01)
    lower = {"RACT": [0, 0.01, 0], "AdvBCT": [0, 0.01, 0]}.get(method, [0, 0, 0])
    np.testing.assert_allclose(came.round(2) - printed, lower, atol=1e-9)


def test_the_independent_model_is_the_paragon_and_not_compatible():
    """The table's first row, for which it prints no figures; its old row asks nothing of a new model."""
    crossed = [4.93, 1.29, 0.2]
    assert p_up(PARAGON, PARAGON) == 0.5
    assert p_comp(OLD, OLD, PARAGON) == 0.5
    assert p_comp(PARAGON, OLD, PARAGON) == pytest.approx(sigmoid(1))
    assert p_1(PARAGON, OLD, OLD, PARAGON) == 0.5
    assert 0 < p_comp(crossed, OLD, PARAGON) < p_1(PARAGON, crossed, OLD, PARAGON) < 0.06


@given(SHARES, SHARES, SHARES)
def test_gain_retention_and_break_even_are_their_formulas(crossed, old, best):
    if best != old:
        assert update_gain(crossed, old, best) == pytest.approx((crossed - old) / (best - old))
    assert retention(crossed, best) == pytest.approx(crossed / best)
    assert break_even(crossed, best, old) == pytest.approx((crossed / best) * (best / old))
    if abs(crossed - old) > 1e-9:
        assert (break_even(crossed, best, old) > 1) == (crossed > old)


def test_gain_of_the_old_system_and_of_a_full_backfill():
    assert update_gain(0.4, 0.4, 0.8) == 0
    assert update_gain(0.8, 0.4, 0.8) == 1
    assert update_gain(0.2, 0.4, 0.8) < 0


def test_figures_without_a_meaning_are_nan():
    assert isnan(update_gain(0.5, 0.4, 0.4))
    assert isnan(retention(0.5, 0.0))
    assert isnan(break_even(0.5, 0.0, 0.4))
    assert isnan(break_even(0.5, 0.8, 0.0))
    assert isnan(p_up([0.5, 0.5], [0.5, 0.0]))
    assert isnan(p_comp([0.5], [0.4], [0.4]))
    assert isnan(p_1([0.5], [0.5], [0.4], [0.4]))


# ---- what is refused


def test_unequal_or_no_queries_are_refused(as_in_production):
    for function in (compatible, flips, flip_rates):
        with pytest.raises(InvalidInput, match="one value a query from both"):
            function(np.ones(3), np.ones(4))
        with pytest.raises(InvalidInput, match="one value a query from both"):
            function(np.empty(0), np.empty(0))


@pytest.mark.parametrize("function", [compatible, flips, flip_rates])
def test_nan_is_refused(function):
    hole, whole = np.array([np.nan, 1.0]), np.ones(2)
    for pair in ((hole, whole), (whole, hole), (hole, hole)):
        with pytest.raises(InvalidInput, match="leave out queries that have no value in both systems"):
            function(*pair)


@pytest.mark.parametrize("function", [compatible, flip_rates])
def test_weights_of_zero_are_refused(function):
    with pytest.raises(InvalidInput, match="one finite weight above 0 a value"):
        function(np.ones(2), np.zeros(2), weights=np.array([1.0, 0.0]))


def test_data_sets_that_do_not_match_are_refused():
    with pytest.raises(InvalidInput, match=r"one figure a data set from every system, came \[2, 1\]"):
        p_up([0.5, 0.6], [0.5])
    with pytest.raises(InvalidInput, match=r"came \[1, 2, 1\]"):
        p_comp([0.5], [0.5, 0.6], [0.7])
    with pytest.raises(InvalidInput, match=r"came \[0, 0\]"):
        p_1([], [], [], [])
