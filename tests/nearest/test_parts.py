"""A gallery in parts is answered as one: ids, scores and order to the bit, however it is divided."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embridge.nearest import top_k
from embridge.nearest._parts import Parts, TopK, blocks, over, ranked, scores_of, vectors_of
from embridge.nearest.ties import pair_scores

METRICS = ("cosine", "dot", "l2")


class Cut(Parts):
    """An array in parts, which are done in an order of their own."""

    def __init__(self, vectors, edges, seed=0):
        self.vectors, self.order = vectors, np.random.default_rng(seed)
        self.parts = [slice(*pair) for pair in zip([0, *edges], [*edges, len(vectors)], strict=True)]

    def __len__(self):
        return len(self.vectors)

    def over(self, work):
        results = [
            work.of(self.vectors[part], part.start)
            for part in [self.parts[i] for i in self.order.permutation(len(self.parts))]
        ]
        whole = results[0]
        for result in results[1:]:
            whole = work.joined(whole, result)
        return whole

    def through(self, work, items):
        return [work.through(lambda: ((part.start, self.vectors[part]) for part in self.parts), i) for i in items]


def whole_numbers(seed, *shape, largest=1):
    return np.random.default_rng(seed).integers(-largest, largest + 1, size=shape).astype(np.float32)


@given(
    st.integers(0, 4),
    st.integers(1, 40),
    st.integers(1, 45),
    st.sampled_from(METRICS),
    st.lists(st.integers(0, 40), max_size=6),
    st.integers(0, 2**32 - 1),
)
@example(2, 30, 7, "cosine", [], 0)
@example(2, 30, 7, "dot", [9, 9, 20, 29, 30], 0)
@example(2, 30, 29, "l2", [0, 1, 2, 3, 15, 16], 0)
def test_any_division_gives_the_answer_of_one_array(q, n, k, metric, edges, seed):
    queries, gallery = whole_numbers(seed, q, 3), whole_numbers(seed + 1, n, 3)
    parts = Cut(gallery, sorted(min(edge, n) for edge in edges), seed)
    expected, came = (ranked(queries, one, k, metric=metric) for one in (gallery, parts))
    assert came.rows.tobytes() == expected.rows.tobytes()
    assert came.scores.tobytes() == expected.scores.tobytes()
    rows = np.random.default_rng(seed).integers(n, size=(q, 5))
    assert scores_of(queries, parts, rows, metric=metric).tobytes() == (
        pair_scores(queries, gallery, rows, metric=metric).tobytes()
    )
    np.testing.assert_array_equal(vectors_of(parts, rows.ravel()), gallery[rows.ravel()])


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_scores_that_float32_cannot_tell_apart_are_ordered_by_float64(metric, shards):
    draw = np.random.default_rng(0)
    near = draw.normal(size=8)
    gallery = (near + 1e-7 * draw.normal(size=(200, 8))).astype(np.float32)
    queries, edges = near[None].astype(np.float32), np.linspace(0, 200, shards + 1).astype(int)[1:-1]
    expected = top_k(queries, gallery, 150, metric=metric)
    assert len(np.unique(expected.scores)) < 20  # many are the same in float32
    came = ranked(queries, Cut(gallery, edges.tolist()), 150, metric=metric)
    assert came.rows.tobytes() == expected.rows.tobytes()
    assert came.scores.tobytes() == expected.scores.tobytes()


def test_parts_hold_no_more_than_what_is_asked_for():
    found = TopK(whole_numbers(0, 2, 3), 5, "dot").of(whole_numbers(1, 100, 3), 50)
    assert [array.shape for array in found] == [(2, 5), (2, 5)]
    assert found[0].min() >= 50
    assert over(whole_numbers(1, 3, 3), TopK(whole_numbers(0, 2, 3), 5, "dot"))[0].shape == (2, 3)


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1]), (7, [7]), (8, [4, 4]), (11, [4, 7]), (0, [0])])
def test_the_last_block_takes_the_rest(rows, sizes, monkeypatch):
    monkeypatch.setattr("embridge.nearest._parts.BLOCK", 4)
    assert [block.stop - block.start for block in blocks(rows)] == sizes
