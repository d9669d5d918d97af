import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.errors import InvalidInput
from embridge.evaluation import Relevance, recall_at_k
from embridge.search import top_k


def naive_recall(scores, right, k):
    """One query at a time: sort by score, ties by row, and look whether any of the first k is right."""
    values = []
    for row, wanted in zip(scores, right, strict=True):
        order = sorted(range(len(row)), key=lambda j: (-row[j], j))
        values.append(float(any(j in wanted for j in order[:k])))
    return values


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 40), st.integers(1, 45))
def test_recall_is_the_naive_loop(seed, queries, items, k):
    generator = np.random.default_rng(seed)
    q, g = (generator.integers(-2, 3, size=(n, 4)).astype(np.float32) for n in (queries, items))  # many ties
    right = [set(generator.choice(items, generator.integers(1, items + 1), replace=False).tolist()) for _ in q]
    judged = Relevance.from_pairs((f"q{i}", f"g{j}") for i, wanted in enumerate(right) for j in wanted)
    rows = top_k(q, g, max(k, 1), metric="dot").rows
    first = judged.first_hits([f"q{i}" for i in range(queries)], [f"g{j}" for j in range(items)], rows)
    assert recall_at_k(first, k).tolist() == naive_recall((q @ g.T).tolist(), right, k)


def test_random_vectors_score_at_chance_and_the_same_vectors_score_one():
    generator = np.random.default_rng(0)
    q, g = (generator.normal(size=(2_000, 32)).astype(np.float32) for _ in range(2))
    ids = [str(i) for i in range(2_000)]
    judged = Relevance.from_pairs(zip(ids, ids, strict=True))
    by_chance = recall_at_k(judged.first_hits(ids, ids, top_k(q, g, 20).rows), 20).mean()
    assert by_chance == pytest.approx(20 / 2_000, abs=4 * (0.01 * 0.99 / 2_000) ** 0.5)
    assert recall_at_k(judged.first_hits(ids, ids, top_k(q, q, 1).rows), 1).mean() == 1.0


def test_constant_vectors_do_not_score_above_chance():
    same = np.ones((100, 8), np.float32)
    ids = [str(i) for i in range(100)]
    judged = Relevance.from_pairs(zip(ids, ids, strict=True))
    assert recall_at_k(judged.first_hits(ids, ids, top_k(same, same, 10).rows), 10).mean() == pytest.approx(0.1)


def test_any_caption_of_a_photo_counts():
    captions, photos = ["c0", "c1", "c2", "c3"], ["p0", "p1"]
    judged = Relevance.from_pairs([("c0", "p0"), ("c1", "p0"), ("c2", "p1"), ("c3", "p1")])
    image_to_text = judged.inverted()
    rankings = np.array([[3, 1, 0, 2], [0, 1, 3, 2]])
    assert image_to_text.first_hits(photos, captions, rankings).tolist() == [2, 3]


def test_a_query_without_a_right_item_is_refused():
    judged = Relevance.from_pairs([("a", "x")])
    with pytest.raises(InvalidInput, match="query 'b' has no relevant item in this gallery of 2"):
        judged.first_hits(["a", "b"], ["x", "y"], np.zeros((2, 1), np.int64))
    with pytest.raises(InvalidInput, match="query 'a' has no relevant item"):
        judged.first_hits(["a"], ["y", "z"], np.zeros((1, 1), np.int64))


def test_no_judgements_and_no_k_are_refused():
    with pytest.raises(InvalidInput, match="no pairs came"):
        Relevance.from_pairs([])
    with pytest.raises(InvalidInput, match="k is at least 1"):
        recall_at_k(np.array([1]), 0)


def test_inverting_twice_is_nothing():
    judged = Relevance.from_pairs([("a", "x"), ("a", "y"), ("b", "y")])
    assert judged.inverted().inverted() == judged
