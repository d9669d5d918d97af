import numpy as np
import pytest

from embridge.errors import InvalidInput
from embridge.training.compatible.held_out_items import HeldOut, nearest_is_right
from embridge.training.compatible.labelled import LabelledVectors

LABELS = np.random.default_rng(0).integers(0, 4, 300)


def rows(seed, dim=6):
    return np.random.default_rng(seed).normal(size=(len(LABELS), dim)).astype(np.float32)


@pytest.mark.slow
def test_it_is_the_naive_loop():
    new, old, right = rows(1), rows(2), []
    for i, query in enumerate(new):
        cosines = [query @ g / np.linalg.norm(g) if j != i else -np.inf for j, g in enumerate(old)]
        right.append(LABELS[int(np.argmax(cosines))] == LABELS[i])
    assert nearest_is_right(new, old, LABELS) == pytest.approx(np.mean(right))


def test_random_vectors_score_at_chance_and_planted_ones_fully():
    assert nearest_is_right(rows(1), rows(1), LABELS) == pytest.approx(0.25, abs=0.08)
    planted = np.eye(4, dtype=np.float32)[LABELS]
    assert nearest_is_right(planted, planted, LABELS) == 1


def test_the_score_is_of_both_tests_where_there_are_old_vectors():
    data, planted = LabelledVectors(rows(3), LABELS), np.eye(4, dtype=np.float32)[LABELS]
    assert HeldOut(data).score(planted, rows(1, 4)) == 1
    both = HeldOut(data, rows(2, 4)).score(planted, rows(1, 4))
    assert both == pytest.approx((1 + nearest_is_right(rows(1, 4), rows(2, 4), LABELS)) / 2)


def test_too_few_items_are_refused():
    with pytest.raises(InvalidInput, match="two items or more, and old vectors of all; came 1, none"):
        HeldOut(LabelledVectors(rows(0)[:1], np.array([0])))
    with pytest.raises(InvalidInput, match="came 300, 7"):
        HeldOut(LabelledVectors(rows(0), LABELS), rows(0)[:7])
