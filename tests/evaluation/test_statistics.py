from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from embridge.errors import InvalidInput
from embridge.evaluation.compatibility import compatible
from embridge.evaluation.statistics import Interval, bootstrap_mean, queries_needed, weighted_mean

FINITE = st.floats(-10, 10)
WEIGHTS = st.floats(0.01, 100)


def draws(share, size, seed):
    return (np.random.default_rng(seed).random(size) < share).astype(float)


@given(st.lists(st.tuples(FINITE, WEIGHTS), min_size=1, max_size=20))
def test_the_weighted_mean_is_its_naive_loop(pairs):
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    total = sum(value * weight for value, weight in pairs)
    assert weighted_mean(values, weights) == pytest.approx(total / sum(w for _, w in pairs), abs=1e-12)
    assert weighted_mean(values) == pytest.approx(sum(values) / len(values), abs=1e-12)
    assert weighted_mean(values, np.full(len(values), 3.0)) == pytest.approx(weighted_mean(values), abs=1e-12)


# ---- the bootstrap


@pytest.mark.slow
@pytest.mark.parametrize(
    "values", [draws(0.3, 400, 0), np.random.default_rng(1).random(150) ** 2], ids=["0/1", "graded"]
)
def test_the_interval_is_scipys(values):
    ours = bootstrap_mean(values, resamples=20_000)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert ours.value == values.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    narrow = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", confidence_level=0.8, rng=1)
    came = bootstrap_mean(values, resamples=20_000, level=0.8)
    assert (came.low, came.high) == pytest.approx(tuple(narrow.confidence_interval), abs=0.004)


@pytest.mark.slow
def test_the_weighted_interval_is_scipys():
    values, weights = draws(0.3, 200, 0), np.random.default_rng(1).integers(1, 20, 200).astype(float)
    ours = bootstrap_mean(values, weights=weights, resamples=20_000)
    theirs = bootstrap(
        (values, weights),
        lambda v, w, axis: (v * w).sum(axis=axis) / w.sum(axis=axis),
        n_resamples=20_000,
        method="percentile",
        paired=True,
        vectorized=True,
        batch=1_000,
        rng=1,
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def naive_bootstrap(values, weights, resamples, generator):
    """Drawn query by query, as the book says."""
    means = []
    for _ in range(resamples):
        drawn = generator.integers(0, len(values), len(values))
        means.append((values[drawn] @ weights[drawn]) / weights[drawn].sum())
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.slow
def test_the_interval_is_the_naive_loop():
    generator = np.random.default_rng(2)
    values, weights = generator.random(60), generator.integers(1, 4, 60).astype(float)
    low, high = naive_bootstrap(values, weights, 8_000, generator)
    ours = bootstrap_mean(values, weights=weights, resamples=20_000)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.006)


GRADES, CHANCES = np.array([0.0, 0.25, 0.5, 1.0]), np.array([0.4, 0.3, 0.2, 0.1])
KINDS = np.arange(1.0, 6.0)


def graded_draw(generator, size):
    return generator.choice(GRADES, size, p=CHANCES), None


def weighted_draw(generator, size):
    """Frequent queries are answered better, so that the weighted mean is another than the plain one."""
    weights = generator.choice(KINDS, size)
    return (generator.random(size) < 0.2 + 0.1 * weights).astype(float), weights


COVERED = {
    "binary": (lambda generator, size: ((generator.random(size) < 0.4).astype(float), None), 0.4),
    "graded": (graded_draw, float(GRADES @ CHANCES)),
    "weighted": (weighted_draw, float(KINDS @ (0.2 + 0.1 * KINDS) / KINDS.sum())),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COVERED)
def test_the_interval_covers_the_truth_nineteen_times_in_twenty(kind):
    draw, truth = COVERED[kind]
    covered = 0
    for seed in range(1_000):
        values, weights = draw(np.random.default_rng(seed), 300)
        interval = bootstrap_mean(values, weights=weights, resamples=1_000, seed=seed)
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / 1_000 <= 0.97


def test_the_seed_settles_the_interval():
    values = draws(0.5, 200, 0)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_the_order_of_queries_and_the_scale_of_weights_do_not_matter():
    values, weights = np.random.default_rng(0).random(50), np.random.default_rng(1).integers(1, 5, 50).astype(float)
    order = np.random.default_rng(2).permutation(50)
    came = bootstrap_mean(values, weights=weights)
    for other in (
        bootstrap_mean(values[order], weights=weights[order]),
        bootstrap_mean(values, weights=2 * weights),
    ):
        assert (other.value, other.low, other.high) == pytest.approx((came.value, came.low, came.high), abs=1e-12)


def test_pairing_the_queries_narrows_the_interval():
    old = draws(0.5, 500, 0)
    new = old.copy()
    new[:15] = 1.0
    assert bootstrap_mean(new - old).half < bootstrap_mean(new).half / 2


def test_half_of_an_interval():
    assert Interval(0.5, 0.25, 0.75).half == 0.25


@pytest.mark.parametrize("weights", [None, np.array([0.1, 3.0, 7.0])], ids=["plain", "weighted"])
def test_what_does_not_vary_has_no_width(weights):
    same = bootstrap_mean(np.full(3, 0.3), weights=weights)
    assert (same.low, same.high) == pytest.approx((0.3, 0.3), abs=1e-15)
    one = bootstrap_mean(np.array([0.7]), weights=None if weights is None else weights[:1])
    assert one.low == one.value == one.high == pytest.approx(0.7)


# ---- how many queries


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_queries_needed_is_its_formula(numbers):
    differences = np.array(numbers)
    mean = sum(numbers) / len(numbers)
    variance = sum((x - mean) ** 2 for x in numbers) / len(numbers)
    came = queries_needed(differences)
    if abs(mean) < 1e-12:
        assert came is None
    else:
        expected = (1.959963984540054 + 0.8416212335729143) ** 2 * variance / mean**2
        assert came >= 1
        assert isclose(came, expected, rel_tol=1e-9, abs_tol=1.0)
        assert queries_needed(-differences) == came


def test_a_query_of_weight_two_moves_the_mean_twice():
    differences, weights = np.array([1.0, -1.0, 1.0, 0.0]), np.array([2.0, 2.0, 1.0, 1.0])
    mean, total = 1 / 6, 36
    variance = sum(w**2 * (d - mean) ** 2 for d, w in zip(differences, weights, strict=True)) / total * 4
    expected = (1.959963984540054 + 0.8416212335729143) ** 2 * variance / mean**2
    assert queries_needed(differences, weights=weights) == np.ceil(expected)
    assert queries_needed(differences, weights=np.full(4, 3.0)) == queries_needed(differences)


@pytest.mark.slow
@pytest.mark.parametrize(("better", "worse", "power"), [(0.2, 0.12, 0.8), (0.3, 0.1, 0.8), (0.2, 0.12, 0.5)])
def test_so_many_queries_have_the_power_asked(better, worse, power):
    outcomes, chances = np.array([1.0, -1.0, 0.0]), np.array([better, worse, 1 - better - worse])
    pilot = np.repeat(outcomes, (1_000 * chances).round().astype(int))
    size = queries_needed(pilot, power=power)
    answers = []
    for seed in range(1_000):
        changes = np.random.default_rng(seed).choice(outcomes, size, p=chances)
        answers.append(compatible((changes > 0).astype(float), (changes < 0).astype(float), seed=seed).answer)
    assert answers.count("yes") / 1_000 == pytest.approx(power, abs=0.05)
    assert answers.count("no") < 5


@pytest.mark.slow
def test_weighted_queries_have_the_power_asked():
    generator = np.random.default_rng(0)
    outcomes, chances = np.array([1.0, -1.0, 0.0]), np.array([0.25, 0.1, 0.65])
    pilot, weights = generator.choice(outcomes, 50_000, p=chances), generator.choice([1.0, 10.0], 50_000)
    size = queries_needed(pilot, weights=weights)
    assert size > 1.4 * queries_needed(pilot)  # unequal weights make fewer queries of many
    means = []
    for _ in range(2_000):
        drawn = generator.choice(outcomes, size, p=chances)
        means.append(weighted_mean(drawn, generator.choice([1.0, 10.0], size)))
    assert np.mean(np.array(means) > 1.96 * np.std(means)) == pytest.approx(0.8, abs=0.03)


def test_no_difference_has_no_number_and_no_variation_is_one():
    assert queries_needed(np.array([1.0, -1.0])) is None
    assert queries_needed(np.array([0.1, 0.2, -0.3])) is None  # but for rounding
    assert queries_needed(np.zeros(5)) is None
    assert queries_needed(np.array([0.5])) == 1
    assert queries_needed(np.full(4, -0.5)) == 1


# ---- what is refused


@pytest.mark.parametrize("function", [weighted_mean, bootstrap_mean, queries_needed])
def test_no_values_and_wrong_weights_are_refused(function, as_in_production):
    with pytest.raises(InvalidInput, match="expected values, came none"):
        function(np.empty(0))
    for weights in ([1.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf], [1.0]):
        with pytest.raises(InvalidInput, match="one finite weight above 0 a value"):
            function(np.ones(2), weights=np.array(weights))


def test_nan_makes_no_interval_and_no_number():
    for hole in (np.nan, np.inf):
        for function in (bootstrap_mean, queries_needed):
            with pytest.raises(InvalidInput, match="leave out queries that have no value"):
                function(np.array([1.0, hole]))
    assert np.isnan(weighted_mean(np.array([1.0, np.nan])))


@pytest.mark.parametrize("settings", [{"resamples": 0}, {"level": 0.0}, {"level": 1.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InvalidInput, match=r"resamples >= 1, level in \(0, 1\)"):
        bootstrap_mean(np.ones(3), **settings)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_many_different_values_are_drawn_query_by_query_to_the_same_effect(weighted):
    generator = np.random.default_rng(3)
    values, weights = generator.random(4_000), generator.integers(1, 4, 4_000).astype(float)
    made = bootstrap_mean(values, weights=weights if weighted else None, seed=5)
    shares = weights / weights.sum() if weighted else np.full(4_000, 1 / 4_000)
    error = np.sqrt(np.square(shares * (values - values @ shares)).sum())
    assert made.value == pytest.approx(values @ shares)
    assert (made.low, made.high) == pytest.approx(
        (made.value - 1.96 * error, made.value + 1.96 * error), abs=0.2 * error
    )
    assert made == bootstrap_mean(values, weights=weights if weighted else None, seed=5)


def grouped_draws(seed, photos=60, each=5):
    """Captions of one photo share half of their luck."""
    generator = np.random.default_rng(seed)
    luck = np.repeat(generator.normal(size=photos), each) + generator.normal(size=photos * each)
    return (luck > 0.5).astype(float), np.repeat(np.arange(photos), each)


def test_groups_are_drawn_together():
    """A bootstrap of one sum and one size a group, drawn group by group, by hand."""
    values, groups = grouped_draws(0)
    interval = bootstrap_mean(values, groups=groups, resamples=20_000)
    sums = values.reshape(60, 5).sum(axis=1)
    generator = np.random.default_rng(1)
    means = sums[generator.integers(60, size=(20_000, 60))].sum(axis=1) / 300
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.008)
    assert interval.value == values.mean()
    alone = bootstrap_mean(values, resamples=20_000)
    assert interval.high - interval.low > 1.2 * (alone.high - alone.low)
    assert bootstrap_mean(values, groups=np.arange(300)).value == alone.value


@pytest.mark.slow
def test_the_interval_of_grouped_queries_covers_the_truth_and_the_plain_one_does_not():
    truth = np.mean([grouped_draws(seed, photos=2_000)[0].mean() for seed in range(40)])
    covered = {"plain": 0, "grouped": 0}
    for seed in range(1_000):
        values, groups = grouped_draws(1_000 + seed)
        for name, own in (("plain", None), ("grouped", groups)):
            interval = bootstrap_mean(values, groups=own, resamples=500, seed=seed)
            covered[name] += interval.low <= truth <= interval.high
    assert 0.93 <= covered["grouped"] / 1_000 <= 0.97
    assert covered["plain"] / 1_000 < 0.90


def test_weighted_groups_are_ratios(as_in_production):
    values, groups = grouped_draws(0)
    weights = np.random.default_rng(2).uniform(0.5, 2, size=300)
    interval = bootstrap_mean(values, weights=weights, groups=groups)
    assert interval.value == pytest.approx(np.average(values, weights=weights))
    assert interval.low < interval.value < interval.high
    with pytest.raises(InvalidInput, match="one group a value"):
        bootstrap_mean(values, groups=groups[:-1])


def test_grouped_queries_need_more_of_them():
    values, groups = grouped_draws(3)
    differences = values - 0.3
    assert queries_needed(differences, groups=groups) > 1.3 * queries_needed(differences)
    assert queries_needed(differences, groups=np.arange(300)) == queries_needed(differences)
