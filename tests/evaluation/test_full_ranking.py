from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embridge import Embeddings, Space
from embridge.evaluation import LabelRelevance, average_precision
from embridge.evaluation.full_ranking import full_average_precision


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@settings(max_examples=20)
@given(st.data())
def test_it_is_the_mean_average_precision_of_stable_sorts_of_every_order(metric, data):
    """Small whole numbers: many equal scores, and zeros of both signs."""
    numbers = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0])
    q, n = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    queries, gallery = (data.draw(arrays(np.float32, (rows, 2), elements=numbers)) for rows in (q, n))
    labels = {str(i): data.draw(st.sampled_from("ab")) for i in range(max(q, n))}
    x, y = queries.astype(np.float64), gallery.astype(np.float64)
    scores = x @ y.T
    if metric == "l2":
        scores = 2 * scores - np.square(y).sum(axis=1)
    if metric == "cosine":
        x, y = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-9) for v in (x, y))
        scores = x @ y.T
    space = Space("toy", "1", 2, metric)
    sides = Embeddings.of(queries, space), Embeddings.of(gallery, space)
    judged = LabelRelevance(labels, labels).judge(sides[0].ids, sides[1].ids)
    scores = scores.round(12).astype(np.float32)
    orders = [np.array(order) for order in permutations(range(n))]
    rows = [order[np.argsort(-scores[:, order], axis=1, kind="stable")] for order in orders]
    options = {"relevant": judged.relevant, "denominator": "relevant", "estimator": "step", "empty": "zero"}
    expected = np.mean([average_precision(judged.gains(r), n, **options) for r in rows], axis=0)
    np.testing.assert_allclose(full_average_precision(*sides, judged, own=None), expected)
