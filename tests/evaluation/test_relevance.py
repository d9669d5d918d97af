import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge import Embeddings, Space
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.evaluation.relevance import LabelRelevance, Relevance
from embridge.nearest import search

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
CLICKS = st.lists(st.tuples(NAMES, NAMES, st.integers(1, 9)), min_size=1, max_size=20)
LABELS = st.dictionaries(NAMES, st.sampled_from(["cat", "dog", "cow"]))
SOME_IDS = st.lists(NAMES, unique=True, max_size=5)


def same(a, b):
    return (a.gains, a.weights, a.source) == (b.gains, b.weights, b.source)


# ---- pairs and grades


def test_pairs_count_one_each_however_often_they_come():
    relevance = Relevance.from_pairs([("q", "a"), ("q", "b"), ("r", "a"), ("q", "a")])
    assert relevance.gains == {"q": {"a": 1.0, "b": 1.0}, "r": {"a": 1.0}}
    assert not relevance.weights
    assert relevance.source == "judged pairs"


def test_grades_of_zero_and_less_are_not_relevant():
    relevance = Relevance.from_grades([("q", "a", 2), ("q", "b", 0), ("q", "c", -2), ("r", "a", 0)])
    assert relevance.gains == {"q": {"a": 2.0}}
    assert relevance.source == "qrels"
    assert Relevance.from_grades([("q", "a", 1)], source="people").source == "people"


def test_two_grades_of_a_pair_must_agree():
    assert Relevance.from_grades([("q", "a", 2), ("q", "a", 2.0)]).gains == {"q": {"a": 2.0}}
    with pytest.raises(InvalidInput, match="query 'q', item 'a' was graded both 2 and 1"):
        Relevance.from_grades([("q", "a", 2), ("q", "a", 1)])
    with pytest.raises(InvalidInput, match="graded both 0 and 1"):
        Relevance.from_grades([("q", "a", 0), ("q", "a", 1)])


@pytest.mark.parametrize("make", [Relevance.from_pairs, Relevance.from_grades, Relevance.from_log])
def test_nothing_to_judge_by_is_refused(make):
    with pytest.raises(InvalidInput, match="nothing relevant came; nothing could be judged"):
        make([])
    if make != Relevance.from_pairs:
        with pytest.raises(InvalidInput, match="nothing relevant came"):
            make([("q", "a", 0), ("q", "b", -1)])


@pytest.mark.parametrize("make", [Relevance.from_grades, Relevance.from_log])
@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(make, hole):
    for rows in ([("q", "b", hole)], [("q", "a", 1.0), ("q", "b", hole), ("q", "b", hole)]):
        with pytest.raises(InvalidInput, match="query 'q', item 'b': expected a finite number, came"):
            make(rows)


# ---- logs


@given(CLICKS)
def test_a_log_is_its_naive_loop(clicks):
    relevance = Relevance.from_log(clicks)
    for query in {q for q, _, _ in clicks}:
        items = {i for q, i, _ in clicks if q == query}
        assert relevance.gains[query] == {
            item: sum(n for q, i, n in clicks if (q, i) == (query, item)) for item in items
        }
        assert relevance.weights[query] == sum(n for q, _, n in clicks if q == query)
    assert set(relevance.gains) == set(relevance.weights) == {q for q, _, _ in clicks}
    assert relevance.source == "click log"


def test_a_query_of_the_log_counts_as_often_as_it_was_clicked():
    relevance = Relevance.from_log(
        [("shoe", "a", 3), ("shoe", "b", 1), ("shoe", "a", 2), ("hat", "c", 1), ("cap", "c", 0)]
    )
    assert relevance.judge(["hat", "shoe"], ["a", "b", "c"]).weights.tolist() == [1, 6]
    assert relevance.judge(["shoe", "cap"], ["a"]).weights.tolist() == [6, 1]  # what no click names counts once
    assert Relevance.from_pairs([("shoe", "a")]).judge(["shoe"], ["a"]).weights is None


# ---- neighbours


def test_neighbours_are_the_models_own_top_k_and_say_so():
    space = Space("small-model", "1", 8)
    generator = np.random.default_rng(0)
    queries, gallery = (
        Embeddings.of(generator.normal(size=(n, 8)).astype(np.float32), space, [f"{kind}{i}" for i in range(n)])
        for kind, n in (("q", 20), ("g", 50))
    )
    relevance = Relevance.from_neighbours(queries, gallery, 7)
    hits = search(queries, gallery, 7)
    assert {q: set(items) for q, items in relevance.gains.items()} == dict(
        zip(queries.ids, map(set, hits.ids), strict=True)
    )
    assert relevance.source == "the 7 nearest items by small-model, not people"
    judged = relevance.judge(queries.ids, gallery.ids)
    own = np.array([[gallery.ids.index(item) for item in items] for items in hits.ids])
    assert judged.gains(own).all()
    assert Relevance.from_neighbours(queries, gallery, 99).source.startswith("the 50 nearest")
    with pytest.raises(SpaceMismatch, match="the queries"):
        Relevance.from_neighbours(queries.with_vectors(queries.vectors, Space("other", "1", 8)), gallery, 7)
    with pytest.raises(InvalidInput, match="nothing relevant came"):
        Relevance.from_neighbours(queries.take([]), gallery, 7)


# ---- the other way round


@pytest.mark.slow
@given(CLICKS)
def test_inverting_twice_is_nothing(clicks):
    for relevance in (Relevance.from_log(clicks), Relevance.from_pairs((q, i) for q, i, _ in clicks)):
        assert same(relevance.inverted().inverted(), relevance)
        turned = relevance.inverted()
        assert {(i, q, g) for q, items in relevance.gains.items() for i, g in items.items()} == {
            (q, i, g) for q, items in turned.gains.items() for i, g in items.items()
        }


def test_an_inverted_log_weighs_an_item_by_its_clicks():
    turned = Relevance.from_log([("shoe", "a", 3), ("hat", "a", 1), ("hat", "b", 5)]).inverted()
    assert turned.weights == {"a": 4, "b": 5}


def test_inverted_labels_exchange_the_sides():
    relevance = LabelRelevance({"q": "cat"}, {"a": "cat", "b": "dog"})
    assert relevance.inverted().judge(["a", "b"], ["q"]).relevant.tolist() == [1, 0]
    twice = relevance.inverted().inverted()
    assert (twice.queries, twice.gallery, twice.source) == (relevance.queries, relevance.gallery, relevance.source)


# ---- judge


def check(judged, gain, query_ids, gallery_ids, absent=()):
    """The arrays against gain(query, item), one pair at a time; absent: items that are judged, and not in the gallery."""
    expected = [[float(gain(query, item)) for item in gallery_ids] for query in query_ids]
    whole = [
        row + [float(gain(query, item)) for item in absent] for query, row in zip(query_ids, expected, strict=True)
    ]
    rows = np.tile(np.arange(len(gallery_ids))[::-1], (len(query_ids), 1))
    assert judged.gains(rows).tolist() == [row[::-1] for row in expected]
    assert judged.present.tolist() == [sum(g > 0 for g in row) for row in expected]
    assert judged.relevant.tolist() == [sum(g > 0 for g in row) for row in whole]
    for depth in (0, 2, 6):
        best = [(sorted(row, reverse=True) + [0.0] * depth)[:depth] for row in whole]
        assert judged.ideal(depth).tolist() == best


@given(CLICKS, SOME_IDS, SOME_IDS, st.booleans())
def test_judged_pairs_are_their_naive_loop(clicks, query_ids, gallery_ids, one_set):
    relevance = Relevance.from_log(clicks)

    def gain(query, item):
        return 0 if one_set and query == item else relevance.gains.get(query, {}).get(item, 0)

    judged = relevance.judge(query_ids, gallery_ids, one_set=one_set)
    check(judged, gain, query_ids, gallery_ids, [name for name in "abcde" if name not in gallery_ids])
    assert judged.weights.tolist() == [relevance.weights.get(query, 1) for query in query_ids]


@given(LABELS, LABELS, SOME_IDS, SOME_IDS, st.booleans())
def test_judged_labels_are_their_naive_loop(of_queries, of_gallery, query_ids, gallery_ids, one_set):
    def gain(query, item):
        if one_set and query == item:
            return False
        return query in of_queries and item in of_gallery and of_queries[query] == of_gallery[item]

    judged = LabelRelevance(of_queries, of_gallery).judge(query_ids, gallery_ids, one_set=one_set)
    check(judged, gain, query_ids, gallery_ids)
    assert judged.weights is None


def test_items_without_a_label_are_relevant_to_nothing():
    labels = {"a": "cat", "b": "cat"}
    judged = LabelRelevance(labels, labels).judge(["a", "x"], ["x", "y", "a", "b"])
    assert judged.relevant.tolist() == [2, 0]
    assert judged.gains(np.array([[0, 1, 2, 3]] * 2)).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0]]


def test_in_one_set_an_item_is_not_right_for_itself():
    labels = {"a": "cat", "b": "cat", "c": "dog"}
    ids = list(labels)
    rows = np.array([[0, 1, 2]] * 3)
    by_label = LabelRelevance(labels, labels)
    assert by_label.judge(ids, ids, one_set=True).relevant.tolist() == [1, 1, 0]
    assert by_label.judge(ids, ids, one_set=True).gains(rows).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert by_label.judge(ids, ids).relevant.tolist() == [2, 2, 1]
    # some of the queries, in another order, and one that is not in the gallery
    some = by_label.judge(["b", "a"], ["b", "c"], one_set=True)
    assert some.relevant.tolist() == [0, 1]
    assert some.gains(np.array([[0, 1], [0, 1]])).tolist() == [[0, 0], [1, 0]]
    by_pair = Relevance.from_pairs([("a", "a"), ("a", "b")])
    assert by_pair.judge(ids, ids, one_set=True).relevant.tolist() == [1, 0, 0]
    assert by_pair.judge(ids, ids).relevant.tolist() == [2, 0, 0]


@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf"), 1e39, 1e-50])
def test_gains_and_weights_that_count_for_nothing_are_refused(number):
    with pytest.raises(InvalidInput, match="'q': expected numbers above 0, of float32's range"):
        Relevance({"q": {"a": 1.0, "b": number, "c": 2.0}})
    with pytest.raises(InvalidInput, match="'weights': expected numbers above 0"):
        Relevance({"q": {"a": 1.0}}, weights={"p": 1.0, "q": number})
