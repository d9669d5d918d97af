import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.evaluation import LabelRelevance, Relevance
from embridge.evaluation.judged import JudgedByLabel, JudgedByPair


@st.composite
def worlds(draw):
    """Grades [q, n], of which few are above 0; either side may be empty."""
    queries, items = draw(st.integers(0, 6)), draw(st.integers(0, 8))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    return generator.integers(0, 4, (queries, items)) * (generator.random((queries, items)) < 0.4)


def by_pair(grades, seed=0):
    query, row = np.nonzero(grades)
    order = np.random.default_rng(seed).permutation(len(query))
    keys = (query * grades.shape[1] + row)[order]
    return JudgedByPair.of(keys, grades[query, row][order].astype(float), grades.shape, None)


def rankings(queries, items, seed=0):
    return np.argsort(np.random.default_rng(seed).random((queries, items)), axis=1)


@given(worlds(), st.integers(0, 10))
def test_pairs_are_their_naive_loop(grades, depth):
    queries, items = grades.shape
    judged = by_pair(grades)
    rows = rankings(queries, items)
    assert judged.gains(rows).tolist() == [[grades[i, j] for j in row] for i, row in enumerate(rows)]
    assert judged.relevant.tolist() == [sum(g > 0 for g in row) for row in grades]
    best = [(sorted(row, reverse=True) + [0] * depth)[:depth] for row in grades.tolist()]
    assert judged.ideal(depth).tolist() == best
    assert judged.weights is None


def test_the_order_of_the_keys_does_not_matter():
    grades = np.random.default_rng(0).integers(0, 3, (10, 12))
    rows = rankings(10, 12)
    one, other = by_pair(grades, 1), by_pair(grades, 2)
    for array in (lambda j: j.gains(rows), lambda j: j.ideal(5), lambda j: j.relevant):
        np.testing.assert_array_equal(array(one), array(other))


@pytest.mark.slow
@given(st.lists(st.integers(-1, 3), max_size=6), st.lists(st.sampled_from([-2, 0, 1, 2, 5]), max_size=8), st.data())
def test_labels_are_their_naive_loop(queries, gallery, data):
    rows = st.integers(-1, len(gallery) - 1)
    own = data.draw(st.lists(rows, min_size=len(queries), max_size=len(queries)))
    judged = JudgedByLabel.of(*(np.array(codes, np.int64) for codes in (queries, gallery, own)))
    right = [
        [float(code >= 0 and code == other and row != self) for row, other in enumerate(gallery)]
        for code, self in zip(queries, own, strict=True)
    ]
    everything = np.tile(np.arange(len(gallery)), (len(queries), 1))
    assert judged.gains(everything).tolist() == right
    assert judged.relevant.tolist() == [sum(row) for row in right]
    for depth in (0, 3, 9):
        assert judged.ideal(depth).tolist() == [([1.0] * int(sum(row)) + [0.0] * depth)[:depth] for row in right]


def made(kind, seed=0):
    generator = np.random.default_rng(seed)
    if kind == "pairs":
        return by_pair(generator.integers(0, 3, (10, 30)))
    gallery = generator.choice([-2, 0, 1, 2, 3], 30)
    return JudgedByLabel.of(generator.integers(-1, 4, 10), gallery, np.arange(10) - 1)


@pytest.mark.parametrize("kind", ["pairs", "labels"])
def test_blocks_of_queries_are_judged_as_the_whole(kind):
    judged, rows = made(kind), rankings(10, 30)[:, :7]
    whole = judged.gains(rows)
    blocks = [judged.gains(rows[start : start + 3], first=start) for start in range(0, 10, 3)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert whole.any()


@pytest.mark.parametrize("kind", ["pairs", "labels"])
def test_sums_are_their_naive_loop(kind):
    judged = made(kind)
    vectors = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    right = judged.gains(np.tile(np.arange(30), (10, 1))) > 0
    expected = [sum((vectors[j].astype(float) for j in np.flatnonzero(row)), np.zeros(4)) for row in right]
    np.testing.assert_allclose(judged.sums(vectors), expected, atol=1e-12)
    assert right.any()


def test_nothing_relevant_has_no_gains():
    judged = by_pair(np.zeros((2, 3), int))
    assert judged.relevant.tolist() == [0, 0]
    assert not judged.gains(rankings(2, 3)).any()
    assert not judged.ideal(2).any()


def test_queries_with_the_same_right_items_are_one_group():
    relevance = Relevance.from_pairs(
        [
            ("a", "x"),
            ("b", "x"),
            ("c", "y"),
            ("d", "x"),
            ("d", "y"),
            ("e", "y"),
            ("e", "x"),
            ("f", "z"),
            ("g", "nowhere"),
        ]
    )
    queries = list("abcdefgh")
    groups = relevance.judge(queries, list("xyz")).groups
    same = {(p, q) for i, p in enumerate(queries) for j, q in enumerate(queries) if i < j and groups[i] == groups[j]}
    assert same == {("a", "b"), ("d", "e")}
    assert relevance.judge(list("acf"), list("xyz")).groups is None
    labels = LabelRelevance(dict.fromkeys("ab", "one"), dict.fromkeys("xy", "one"))
    assert labels.judge(list("ab"), list("xy")).groups is None
