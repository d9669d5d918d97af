"""Neighbour agreement against a count by hand, with ties, and where vectors say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from embridge.errors import InvalidInput
from embridge.evaluation import NeighbourAgreement, neighbour_agreement_at_k

RNG = np.random.default_rng(0)


def random_rows(count: int, dim: int) -> np.ndarray:
    return RNG.normal(size=(count, dim)).astype(np.float32)


def nearest(queries: np.ndarray, items: np.ndarray, own: np.ndarray, k: int) -> list[set[int]]:
    queries, items = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, items))
    ranked = [[j for j in np.argsort(-(items @ q)) if j != i] for q, i in zip(queries, own, strict=True)]
    return [set(rows[:k]) for rows in ranked]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_it_is_the_overlap_of_two_lists(k: int) -> None:
    new, old = random_rows(60, 8), random_rows(60, 5)
    old[:, :4] += new[:, :4]
    own = np.arange(20)
    lists = [nearest(side[:20], side, own, k) for side in (new, old)]
    by_hand = [len(a & b) / k for a, b in zip(*lists, strict=True)]
    assert neighbour_agreement_at_k((old[:20], old), (new[:20], new), own=own, k=k).tolist() == by_hand


def test_queries_that_are_no_items_leave_nothing_out() -> None:
    new = random_rows(30, 6)
    assert neighbour_agreement_at_k((new[:4], new), (new[:4], new), k=1).tolist() == [1.0] * 4


def test_a_collapsed_map_agrees_by_chance_wherever_its_rows_stand() -> None:
    new, same = random_rows(41, 8), np.ones((41, 5), np.float32)
    for order in (np.arange(41), RNG.permutation(41)):
        value = neighbour_agreement_at_k((same[:9], same), (new[order[:9]], new), own=order[:9], k=10)
        np.testing.assert_allclose(value, 10 / 40)


def test_items_that_tie_by_both_models_are_counted_by_chance() -> None:
    twins = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)
    value = neighbour_agreement_at_k((twins[:1], twins), (twins[:1], twins), k=1)
    assert value.tolist() == [0.5]  # either twin may be the nearest, by one model as by the other


def test_vectors_that_are_not_finite_agree_with_nothing() -> None:
    new = random_rows(12, 3)
    mapped = new[:3].copy()
    mapped[1] = np.nan
    assert neighbour_agreement_at_k((mapped, new), (new[:3], new), own=np.arange(3), k=4).tolist() == [1.0, 0.0, 1.0]


def test_parts_of_the_queries_are_what_all_of_them_are(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = random_rows(50, 8), random_rows(50, 5)
    whole = neighbour_agreement_at_k((old, old), (new, new), own=np.arange(50), k=5)
    monkeypatch.setattr("embridge.evaluation.agreement._SCORES", 7 * 50)
    np.testing.assert_array_equal(neighbour_agreement_at_k((old, old), (new, new), own=np.arange(50), k=5), whole)


def test_more_neighbours_than_there_are_others_are_all_of_them() -> None:
    new = random_rows(4, 3)
    agreement = NeighbourAgreement.of(new, new, own=np.arange(4), k=10)
    assert agreement.k == 3
    assert agreement.values(-new, new).tolist() == [1.0] * 4


def test_a_lone_item_has_no_neighbours() -> None:
    row = random_rows(1, 3)
    with pytest.raises(InvalidInput, match="two items or more and k above 0, came 1 and 10"):
        NeighbourAgreement.of(row, row)
