"""Judged items and queries that are not there, and queries that are items of the gallery."""

import numpy as np
import pytest

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Provenance
from embridge.evaluation import LabelRelevance, Relevance, Scope, Side, evaluate, summarise

OLD, NEW = Space("old", "1", 16), Space("new", "1", 16)
UPGRADE = Upgrade(Identity(NEW, NEW), Identity(NEW, OLD), Provenance("known"))
VECTORS = np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32)
ITEMS = [f"d{i}" for i in range(50)]


def measured(queries, ids, relevance, items=ITEMS, gallery=VECTORS, new_queries=None, **scope):
    new_queries = queries if new_queries is None else new_queries
    sides = [
        Side(Embeddings.of(q, space, ids), Embeddings.of(gallery, space, items))
        for q, space in ((queries, OLD), (new_queries, NEW))
    ]
    options = {"metrics": ["recall_at_1"], "directions": [""]} | scope
    return evaluate(*sides, UPGRADE, relevance, scope=Scope(**options))


def cautions(report):
    return summarise(report).cautions


@pytest.mark.slow
def test_right_items_that_the_gallery_lacks_count_as_not_found():
    """Nine of ten are missing, and the tenth is first: the figures of trec_eval."""
    ids = [f"q{i}" for i in range(5)]
    rows = [(f"q{i}", d, 1) for i in range(5) for d in [f"d{i}", *(f"gone{i}_{k}" for k in range(9))]]
    metrics = [
        "recall_share_at_10",
        "ndcg_at_10",
        "ndcg_exp_at_10",
        "map_at_10",
        "map_min_at_10",
        "mrr_at_10",
        "recall_at_1",
    ]
    report = measured(VECTORS[:5], ids, Relevance.from_grades(rows), metrics=metrics)
    best = (1 / np.log2(np.arange(2, 12))).sum()
    found = {m: report.mean("", "old/old", m) for m in metrics}
    assert found == pytest.approx(dict(zip(metrics, [0.1, 1 / best, 1 / best, 0.1, 0.1, 1, 1], strict=True)))
    whole = measured(VECTORS[:5], ids, Relevance.from_grades(rows), metrics=["map"])
    assert whole.mean("", "old/old", "map") == pytest.approx(0.1)
    expected = (
        "search: most are missing: 45 of 50 items judged right are not in the gallery and count as not found: 'gone0_0'"
    )
    assert cautions(report)[0].startswith(expected)
    ceiling = measured(VECTORS[:5], ids, Relevance.from_grades(rows), cells=["ceiling"])
    assert ceiling.mean("", "ceiling", "recall_at_1") == 1


@pytest.mark.parametrize(("rule", "asked", "value"), [("skip", 2, 0.5), ("zero", 3, 1 / 3)])
def test_a_query_whose_right_items_are_all_missing_fails(rule, asked, value):
    relevance = Relevance.from_pairs([("q0", "d0"), ("q1", "gone")])
    report = measured(VECTORS[:3], ["q0", "q1", "q2"], relevance, unjudged=rule)
    assert len(report.task("").query_ids) == asked
    assert report.mean("", "old/old", "recall_at_1") == pytest.approx(value)


def test_judged_queries_without_a_vector_are_counted_and_named():
    relevance = Relevance.from_pairs([(f"q{i}", f"d{i % 50}") for i in range(100)])
    report = measured(VECTORS[:10], [f"q{i}" for i in range(10)], relevance, unjudged="error")
    assert cautions(report)[0] == (
        "search: most are missing: 90 of 100 judged queries have no vector and were not asked: 'q10', 'q11', 'q12', …"
    )


def test_what_the_scope_notes_is_a_caution_of_the_first_direction():
    relevance = Relevance.from_pairs([(f"q{i}", f"d{i}") for i in range(5)])
    report = measured(
        VECTORS[:5],
        [f"q{i}" for i in range(5)],
        relevance,
        directions=["t2i", "i2t"],
        notes=["mind this"],
        unjudged="skip",
    )
    assert [text for text in cautions(report) if "mind this" in text] == ["text to image: mind this"]


def test_labelled_items_without_a_vector_are_named():
    labels = {name: str(i % 5) for i, name in enumerate([*ITEMS, "q0", "gone"])}
    report = measured(VECTORS[:1], ["q0"], LabelRelevance(labels, labels))
    assert "search: 1 of 52 labelled items have no vector and count for nothing: 'gone'" in cautions(report)


PAIRED = np.concatenate([VECTORS[:25], VECTORS[:25] + 0.3 * VECTORS[25:]])


def asking(ids, queries, **options):
    """Item i + 25 lies near item i, and is right for it."""
    relevance = Relevance.from_pairs([(f"d{i}", f"d{i + 25}") for i in range(20)] + [("extra", "d44")])
    return measured(queries, ids, relevance, gallery=PAIRED, **options)


def test_a_query_that_is_an_item_does_not_find_itself_whoever_else_asks():
    whole = asking(ITEMS[:20], PAIRED[:20])
    part = asking([*ITEMS[:19], "extra"], PAIRED[:20])
    assert whole.mean("", "old/old", "recall_at_1") == 1
    assert part.mean("", "old/old", "recall_at_1") >= 0.95
    assert not [text for text in cautions(whole) if "own_items" in text]
    assert any("19 of 20 queries are items of the gallery by id and vector, such as 'd0'" in c for c in cautions(part))
    for cell in part.names(""):
        assert not [
            q for q, row in zip(part.task("").query_ids, part.cell("", cell).rows[:, 0], strict=True) if q == ITEMS[row]
        ]


@pytest.mark.parametrize(("rule", "value"), [("leave_out", 1.0), ("keep", 0.0)])
def test_the_setting_decides_without_a_caution(rule, value):
    report = asking(ITEMS[:20], PAIRED[:20], own_items=rule)
    assert report.mean("", "old/old", "recall_at_1") == value
    assert not [text for text in cautions(report) if "own_items" in text]


def test_equal_ids_of_other_vectors_stay_with_a_caution_and_row_numbers_without():
    prompted = PAIRED[:20] + np.float32(0.01)
    report = asking(ITEMS[:20], prompted)
    assert report.mean("", "old/old", "recall_at_1") == 0
    assert any(
        "20 of 20 queries have the id of an item of the gallery and another vector" in c for c in cautions(report)
    )
    assert asking(ITEMS[:20], prompted, own_items="leave_out").mean("", "old/old", "recall_at_1") == 1
    one_model = asking(ITEMS[:20], PAIRED[:20], new_queries=prompted)
    assert one_model.mean("", "new/new", "recall_at_1") == 1  # by the old model's vectors they are the items
    numbers = [str(i) for i in range(50)]
    relevance = Relevance.from_pairs([(str(i), str(i + 25)) for i in range(20)])
    plain = measured(prompted, numbers[:20], relevance, items=numbers, gallery=PAIRED)
    assert not [text for text in cautions(plain) if "own_items" in text]
