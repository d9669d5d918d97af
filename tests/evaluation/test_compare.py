from dataclasses import replace

import numpy as np
import pytest

from embridge import Upgrade
from embridge.adapters import Linear, Provenance
from embridge.errors import InvalidInput
from embridge.evaluation import Relevance, Scope, Side, compare, evaluate, flip_rates


@pytest.fixture(scope="module")
def worse(world):
    """The same queries through a bridge that was cut short."""
    old, new, upgrade, relevance = world
    matrix = np.where(np.arange(12)[:, None] < 6, upgrade.bridge.apply(np.eye(12, dtype=np.float32)), np.float32(0))
    bridge = Linear(upgrade.new_space, upgrade.old_space, matrix)
    return evaluate(old, new, Upgrade(upgrade.head, bridge, Provenance("cut")), relevance)


@pytest.mark.slow
def test_cells_in_common_are_compared_query_by_query(report, worse):
    changes = {(c.direction, c.cell, c.metric): c for c in compare(report, worse)}
    assert set(changes) == {
        (d, c, f"recall_at_{k}")
        for d in ("t2i", "i2t")
        for c in ("old/old", "new/old", "new/new", "naive")
        for k in (1, 5, 10)
    }
    own = changes["t2i", "new/old", "recall_at_10"]
    assert (own.a, own.b) == (
        report.mean("t2i", "new/old", "recall_at_10"),
        worse.mean("t2i", "new/old", "recall_at_10"),
    )
    assert own.comparison.answer == "no"
    assert own.comparison.difference.value == pytest.approx(own.b - own.a)
    values = [r.values("t2i", "new/old", "recall_at_10") for r in (worse, report)]
    assert (own.negative_flip_rate, own.positive_flip_rate) == flip_rates(*values)
    same = changes["t2i", "old/old", "recall_at_10"]
    assert (same.comparison.answer, same.comparison.difference.value) == ("undecided", 0.0)
    assert same.identical
    assert not own.identical


def test_the_other_way_round_is_the_other_answer(report, worse):
    (change,) = (
        c for c in compare(worse, report, metrics=["recall_at_10"]) if (c.direction, c.cell) == ("t2i", "new/old")
    )
    assert change.comparison.answer == "yes"


def test_queries_are_matched_by_id(world, report):
    old, new, upgrade, relevance = world
    some = np.random.default_rng(0).permutation(600)[:250]
    sides = (Side(s.queries.take(some), s.gallery) for s in (old, new))
    part = evaluate(*sides, upgrade, relevance, scope=Scope(directions=("t2i",)))
    changes = compare(report, part)
    assert {c.queries for c in changes} == {250}
    assert {c.comparison.difference.value for c in changes} == {0.0}


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused(world, report):
    old, new, upgrade, relevance = world
    scope = Scope(directions=("t2i",))
    more = Relevance.from_pairs(
        [(q, i) for q, items in relevance.gains.items() for i in items] + [("caption 0", "photo 5")]
    )
    with pytest.raises(InvalidInput, match="judged by different pairs or galleries"):
        compare(report, evaluate(old, new, upgrade, more, scope=scope))
    fewer = [Side(s.queries, s.gallery.take(np.arange(299))) for s in (old, new)]  # a gallery that is easier to search
    easier = evaluate(*fewer, upgrade, relevance, scope=Scope(directions=("t2i",), unjudged="skip"))
    graded = Relevance({q: dict.fromkeys(items, 2.0) for q, items in relevance.gains.items()})
    weighted = replace(relevance, weights={"caption 0": 5.0})
    others = (evaluate(old, new, upgrade, relevance, scope=scope) for relevance in (graded, weighted))
    for made in (easier, *others):
        with pytest.raises(InvalidInput, match="judged by different pairs or galleries"):
            compare(report, made)
    other = evaluate(old, new, upgrade, relevance, scope=Scope(directions=("elsewhere",)))
    with pytest.raises(InvalidInput, match="the reports share no direction"):
        compare(report, other)
    with pytest.raises(InvalidInput, match="the reports share no direction"):
        compare(report, evaluate(old, new, upgrade, relevance, scope=Scope(metrics=("mrr_at_3",))))
