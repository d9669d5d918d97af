import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc

from embridge.errors import InvalidInput
from embridge.evaluation.landmarks import (
    SETTINGS,
    LandmarkRelevance,
    landmark_average_precision,
    landmark_precision_at_k,
    without_junk,
)
from embridge.nearest import top_k

ALL = pytest.mark.parametrize("setting", SETTINGS)
POSITIVE = {"easy": "e", "medium": "eh", "hard": "h"}
REMOVED = {"easy": "jh", "medium": "j", "hard": "je"}


def world(seed, *, queries=4, items=25):
    """Whole rankings and the letter of every row for every query: easy, hard, junk, or none of them."""
    generator = np.random.default_rng(seed)
    letters = generator.choice(list("ehj."), (queries, items), p=[0.15, 0.15, 0.2, 0.5])
    rows = np.argsort(generator.random((queries, items)), axis=1)
    return rows, letters


def truth_of(letters):
    lists = (tuple(np.flatnonzero(row == letter) for row in letters) for letter in "ehj")
    return LandmarkRelevance(*lists)


def naive(ranking, letters, setting, ks):
    """As the protocol counts: positions of positives, each less the junk before it."""
    positions, junk = [], 0
    for place, row in enumerate(ranking):
        if letters[row] in REMOVED[setting]:
            junk += 1
        elif letters[row] in POSITIVE[setting]:
            positions.append(place - junk)
    if not positions:
        return None
    total = 0.0
    for found, place in enumerate(positions):
        before = found / place if place else 1.0
        total += (before + (found + 1) / (place + 1)) / 2
    limits = [min(k, positions[-1] + 1) for k in ks]
    at = [sum(place < limit for place in positions) / limit for limit in limits]
    return [total / len(positions), *at]


def figures(rows, relevance, setting, ks=(1, 5, 10), empty="skip"):
    return np.stack(
        [
            landmark_average_precision(rows, relevance, setting, empty=empty),
            *(landmark_precision_at_k(rows, relevance, setting, k, empty=empty) for k in ks),
        ],
        axis=1,
    )


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(1, 40))
@ALL
def test_the_figures_are_the_protocols_naive_loop(setting, seed, items):
    rows, letters = world(seed, items=items)
    expected = [
        naive(ranking, of_query, setting, (1, 5, 10)) or [np.nan] * 4
        for ranking, of_query in zip(rows.tolist(), letters, strict=True)
    ]
    np.testing.assert_allclose(figures(rows, truth_of(letters), setting), expected, atol=1e-12)


@ALL
def test_average_precision_is_the_area_under_precision_and_recall(setting):
    rows, letters = world(1, queries=30)
    came = landmark_average_precision(rows, truth_of(letters), setting, empty="skip")
    for ranking, of_query, value in zip(rows, letters, came, strict=True):
        kept = [of_query[row] in POSITIVE[setting] for row in ranking if of_query[row] not in REMOVED[setting]]
        found = np.cumsum(kept)
        if found[-1]:
            curve = np.append(0, found / found[-1]), np.append(1, found / np.arange(1, len(kept) + 1))
            assert value == pytest.approx(auc(*curve))
    assert np.isfinite(came).sum() >= 25


@ALL
def test_junk_counts_as_if_it_had_never_been_there(setting):
    rows, letters = world(2, queries=1)
    relevance = truth_of(letters)
    junk = np.concatenate([getattr(relevance, name)[0] for name in SETTINGS[setting][1]])
    assert len(junk) >= 3
    came = figures(rows, relevance, setting)
    for ranking in (
        np.concatenate([junk, rows[0][~np.isin(rows[0], junk)]]),  # all of it first
        rows[0][~np.isin(rows[0], junk)],
    ):
        np.testing.assert_array_equal(figures(ranking[None], relevance, setting), came)


def test_an_example_by_hand():
    """Rows 0 and 1 easy, 2 hard, 3 junk; ranked 3, 0, 4, 2, 5, 1."""
    relevance = LandmarkRelevance((np.array([0, 1]),), (np.array([2]),), (np.array([3]),))
    rows = np.array([[3, 0, 4, 2, 5, 1]])
    easy = (1 + (1 / 3 + 2 / 4) / 2) / 2  # 0, 4, 5, 1
    medium = (1 + (1 / 2 + 2 / 3) / 2 + (2 / 4 + 3 / 5) / 2) / 3  # 0, 4, 2, 5, 1
    hard = (0 + 1 / 2) / 2  # 4, 2, 5
    assert figures(rows, relevance, "easy")[0] == pytest.approx([easy, 1, 2 / 4, 2 / 4])
    assert figures(rows, relevance, "medium")[0] == pytest.approx([medium, 1, 3 / 5, 3 / 5])
    assert figures(rows, relevance, "hard")[0] == pytest.approx([hard, 0, 1 / 2, 1 / 2])
    gains, relevant = without_junk(rows, relevance, "hard")
    assert gains.tolist() == [[0, 1, 0, 0, 0, 0]]
    assert relevant.tolist() == [1]


@ALL
def test_a_perfect_ranking_scores_one_and_the_worst_little(setting):
    _, letters = world(3, queries=20)
    letters[:, :3] = list("ehj")
    ranks = np.select([np.isin(letters, list(POSITIVE[setting]))], [0], 1)
    best, worst = (np.argsort(sign * ranks, axis=1, kind="stable") for sign in (1, -1))
    np.testing.assert_array_equal(figures(best, truth_of(letters), setting), 1.0)
    assert not figures(worst, truth_of(letters), setting)[:, 1].any()


@pytest.mark.slow
@ALL
def test_random_vectors_score_at_chance(setting):
    generator = np.random.default_rng(4)
    letters = generator.choice(list("ehj."), (300, 400), p=[0.1, 0.1, 0.2, 0.6])
    queries, gallery = (generator.normal(size=(n, 16)).astype(np.float32) for n in (300, 400))
    came = figures(top_k(queries, gallery, 400).rows, truth_of(letters), setting)
    left = np.isin(letters, [*POSITIVE[setting], "."]).sum(axis=1)
    share = np.isin(letters, list(POSITIVE[setting])).sum(axis=1) / left
    for k, column in zip((1, 5, 10), came.T[1:], strict=True):
        assert column.mean() == pytest.approx(share.mean(), abs=4 * (share.mean() / k / 300) ** 0.5)
    shuffled = figures(np.argsort(generator.random((300, 400)), axis=1), truth_of(letters), setting)
    assert came[:, 0].mean() == pytest.approx(shuffled[:, 0].mean(), abs=5 * shuffled[:, 0].std() / 300**0.5)


@ALL
def test_gallery_and_queries_may_be_permuted(setting):
    rows, letters = world(5)
    came = figures(rows, truth_of(letters), setting)
    order = np.random.default_rng(0).permutation(25)
    moved = np.argsort(order)[rows]  # the row where each item now lies
    np.testing.assert_array_equal(figures(moved, truth_of(letters[:, order]), setting), came)
    np.testing.assert_array_equal(figures(rows[::-1], truth_of(letters[::-1]), setting), came[::-1])


# ---- degenerate input


def test_a_query_without_a_positive_follows_the_stated_rule():
    relevance = LandmarkRelevance(
        (np.array([0]), np.array([0])), (np.array([1]), np.empty(0, int)), (np.empty(0, int),) * 2
    )
    rows = np.array([[1, 0], [1, 0]])
    assert figures(rows, relevance, "hard", empty="zero").tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(figures(rows, relevance, "hard")[1], [np.nan] * 4)
    for function, more in ((landmark_average_precision, ()), (landmark_precision_at_k, (5,))):
        with pytest.raises(InvalidInput, match="1 of 2 queries have no relevant item, first query 1"):
            function(rows, relevance, "hard", *more, empty="error")


def test_no_query_has_no_value():
    assert figures(np.empty((0, 3), np.int64), LandmarkRelevance((), (), ()), "easy").shape == (0, 4)


def test_a_ranking_that_is_not_the_whole_gallery_is_refused():
    relevance = LandmarkRelevance((np.array([0, 1]),), (np.empty(0, int),), (np.empty(0, int),))
    for rows in ([[0, 2]], [[0, 1, 2, 1]]):
        with pytest.raises(
            InvalidInput, match="ranking of query 0 lacks or repeats a positive; rank the whole gallery"
        ):
            landmark_average_precision(np.array(rows), relevance, "easy", empty="skip")
    with pytest.raises(InvalidInput, match="expected rankings of 1 queries, came 2"):
        without_junk(np.array([[0, 1], [0, 1]]), relevance, "easy")
    with pytest.raises(InvalidInput, match="k is at least 1, came 0"):
        landmark_precision_at_k(np.array([[0, 1]]), relevance, "easy", 0, empty="skip")


def test_lists_that_do_not_agree_are_refused():
    one, other = (np.array([0, 1]),), (np.array([1]),)
    with pytest.raises(InvalidInput, match="query 0 has row 1 more than once"):
        LandmarkRelevance(one, (np.empty(0, int),), other)
    with pytest.raises(InvalidInput, match="query 0 has row 1 more than once"):
        LandmarkRelevance((np.array([1, 1]),), (np.empty(0, int),), (np.empty(0, int),))
    with pytest.raises(InvalidInput, match="rows of the same queries, came 1, 1 and 0 lists"):
        LandmarkRelevance(one, other, ())
