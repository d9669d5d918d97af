from dataclasses import replace

import numpy as np
import pytest

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Linear, Provenance
from embridge.adapters.lora_folder import LORA_FILES, space_with_lora
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.evaluation import LabelRelevance, Relevance, Scope, Side, decide, evaluate

T2I = Scope(directions=("t2i",))
DIRECTIONS = (
    ("t2i", "queries", "gallery", lambda i, j: i // 2 == j),
    ("i2t", "gallery", "queries", lambda i, j: j // 2 == i),
)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def naive_recall(queries, gallery, right, k):
    scores = unit(queries) @ unit(gallery).T
    return np.mean([any(right(i, j) for j in np.argsort(-row, kind="stable")[:k]) for i, row in enumerate(scores)])


@pytest.mark.slow
@pytest.mark.parametrize(("direction", "asks", "answers", "right"), DIRECTIONS, ids=("t2i", "i2t"))
def test_every_cell_is_its_naive_loop(world, report, direction, asks, answers, right):
    old, new, upgrade, _ = world
    bridged = upgrade.to_index_space(getattr(new, asks)).vectors
    a, b, c, d = (getattr(s, w).vectors for s in (old, new) for w in (asks, answers))
    means = [np.mean([unit(b)[j] for j in range(len(b)) if right(i, j)], axis=0) for i in range(len(a))]
    searches = {
        "old/old": (a, b),
        "new/old": (bridged, b),
        "same/old": (bridged, b),
        "fused/old": (unit(a) + unit(bridged), b),
        "new/new": (c, d),
        "ceiling": (np.array(means), b),
        "naive": (c[:, :8], b),
    }
    for name, (queries, gallery) in searches.items():
        for k in (1, 5, 10):
            expected = naive_recall(queries, gallery, right, k)
            assert report.mean(direction, name, f"recall_at_{k}") == pytest.approx(expected, abs=1e-9), (name, k)


@pytest.mark.parametrize(("direction", "asks", "answers", "right"), DIRECTIONS, ids=("t2i", "i2t"))
def test_a_cascade_ranks_the_bridges_best_by_the_new_model(world, report, direction, asks, answers, right):
    old, new, upgrade, _ = world
    bridged = upgrade.to_index_space(getattr(new, asks)).vectors
    rough = unit(bridged) @ unit(getattr(old, answers).vectors).T
    fine = unit(getattr(new, asks).vectors) @ unit(getattr(new, answers).vectors).T
    hits = []
    for i in range(len(rough)):
        best = np.argsort(-rough[i], kind="stable")[:30]
        hits.append(any(right(i, j) for j in best[np.argsort(-fine[i, best], kind="stable")][:5]))
    assert report.mean(direction, "cascade", "recall_at_5") == pytest.approx(np.mean(hits))


@pytest.mark.slow
def test_a_cascade_over_everything_is_a_backfill(world):
    scope = Scope(directions=("t2i",), cells=("cascade",), cascade_items=300)
    made = evaluate(*world, scope=scope)
    np.testing.assert_array_equal(made.cell("t2i", "cascade").rows, made.cell("t2i", "new/new").rows)


def test_tables_are_in_one_order(report):
    assert report.names("i2t") == (
        *("old/old", "new/old", "same/old", "fused/old", "ceiling", "cascade", "new/new", "naive"),
    )


def test_a_bridge_at_chance_is_at_chance(world):
    old, new, _, relevance = world
    noise = np.random.default_rng(1).normal(size=(12, 8)).astype(np.float32)
    upgrade = Upgrade(
        Identity(new.queries.space, new.queries.space),
        Linear(new.queries.space, old.queries.space, noise),
        Provenance("noise"),
    )
    made = evaluate(old, new, upgrade, relevance)
    assert made.mean("t2i", "new/old", "recall_at_1") < 0.02
    assert made.compatible("t2i", "recall_at_10").answer == "no"
    assert decide(made).decision == "backfill first"


@pytest.mark.slow
def test_random_vectors_are_at_chance_in_every_cell_and_metric():
    """1,000 queries, 200 items, one right each: whatever finds more than chance looks at the answer."""
    generator = np.random.default_rng(0)
    spaces = Space("old", "", 8), Space("new", "", 8)
    ids = [f"q{i}" for i in range(1_000)], [f"g{i}" for i in range(200)]
    sides = [
        Side(*(Embeddings.of(generator.normal(size=(len(i), 8)).astype(np.float32), s, i) for i in ids)) for s in spaces
    ]
    upgrade = Upgrade(
        Identity(spaces[1], spaces[1]), Linear(spaces[1], spaces[0], np.eye(8, dtype=np.float32)), Provenance("x")
    )
    relevance = Relevance.from_pairs((f"q{i}", f"g{i % 200}") for i in range(1_000))
    scope = Scope(
        metrics=(
            "mrr_at_20",
            "ndcg_at_10",
            "map_at_10",
            "map_min_at_10",
            "recall_share_at_10",
            "cmc_at_10",
            "recall_at_10",
        ),
        directions=("",),
        cells=("fused/old", "cascade"),
        cascade_items=20,
    )
    made = evaluate(*sides, upgrade, relevance, scope=scope)
    ranks = np.arange(1, 201)
    chance = {"mrr_at_20": np.sum(1 / ranks[:20]) / 200, "ndcg_at_10": np.sum(1 / np.log2(ranks[:10] + 1)) / 200}
    chance |= {f"map{x}_at_10": np.sum(1 / ranks[:10]) / 200 for x in ("", "_min")}
    for cell in made.cells:
        for metric in scope.metrics:
            expected = chance.get(metric, 10 / 200)
            assert made.mean("", cell.name, metric) == pytest.approx(expected, abs=0.025), (cell.name, metric)


@pytest.mark.slow
def test_perfect_vectors_score_one_in_every_metric():
    generator = np.random.default_rng(0)
    space, other = Space("old", "", 16), Space("new", "", 16)
    vectors = generator.normal(size=(120, 16)).astype(np.float32)
    sides = [Side(*(Embeddings.of(vectors, s, [f"{x}{i}" for i in range(120)]) for x in "qg")) for s in (space, other)]
    upgrade = Upgrade(Identity(other, other), Linear(other, space, np.eye(16, dtype=np.float32)), Provenance("x"))
    metrics = (
        "map",
        "mrr_at_5",
        "ndcg_at_5",
        "ndcg_exp_at_5",
        "map_at_5",
        "map_min_at_5",
        "recall_share_at_1",
        "recall_at_1",
    )
    relevance = Relevance.from_pairs((f"q{i}", f"g{i}") for i in range(120))
    made = evaluate(*sides, upgrade, relevance, scope=Scope(metrics=metrics, cells=("ceiling", "fused/old")))
    for figures in made.figures().values():
        assert {name: set(f.values()) for name, f in figures.items()} == {name: {1.0} for name in figures}


@pytest.mark.slow
def test_one_set_never_finds_itself_and_labels_judge():
    """1,000 items of ten classes with random vectors: chance is the share of the class among the others."""
    generator = np.random.default_rng(0)
    space, other = Space("old", "", 6), Space("new", "", 6)
    sides = []
    for s in (space, other):
        rows = Embeddings.of(generator.normal(size=(1_000, 6)).astype(np.float32), s)
        sides.append(Side(rows, rows))
    labels = {str(i): f"class {i % 10}" for i in range(1_000)}
    upgrade = Upgrade(Identity(other, other), Linear(other, space, np.eye(6, dtype=np.float32)), Provenance("x"))
    scope = Scope(metrics=("map", "cmc_at_1"), directions=("",))
    made = evaluate(*sides, upgrade, LabelRelevance(labels, labels), scope=scope)
    own = np.arange(1_000)[:, None]
    for name in made.names(""):
        assert not (made.cell("", name).rows == own).any()
        assert made.mean("", name, "cmc_at_1") == pytest.approx(99 / 999, abs=0.03)
        assert made.mean("", name, "map") == pytest.approx(99 / 999, abs=0.02)
    assert set(made.task("").relevant.tolist()) == {99}


def test_equal_ids_alone_do_not_make_one_set():
    """Row numbers as ids on both sides: query 3 and item 3 are two things, and item 3 is right."""
    space, other = Space("old", "", 4), Space("new", "", 4)
    generator = np.random.default_rng(0)
    sides = [
        Side(*(Embeddings.of(generator.normal(size=(50, 4)).astype(np.float32), s) for _ in range(2)))
        for s in (space, other)
    ]
    upgrade = Upgrade(Identity(other, other), Linear(other, space, np.eye(4, dtype=np.float32)), Provenance("x"))
    relevance = Relevance.from_pairs((str(i), str(i)) for i in range(50))
    made = evaluate(*sides, upgrade, relevance, scope=Scope(metrics=("recall_at_50",), directions=("",)))
    assert made.mean("", "old/old", "recall_at_50") == 1.0


def test_pairs_that_name_an_item_right_for_itself_make_two_sets():
    """Twenty texts, each its own document: encoded alike, yet the document is what is looked for."""
    space, other = Space("old", "", 4), Space("new", "", 4)
    rows = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    sides = [Side(Embeddings.of(rows, s), Embeddings.of(rows, s)) for s in (space, other)]
    upgrade = Upgrade(Identity(other, other), Linear(other, space, np.eye(4, dtype=np.float32)), Provenance("x"))
    relevance = Relevance.from_pairs((str(i), str(i)) for i in range(20))
    made = evaluate(*sides, upgrade, relevance, scope=Scope(metrics=("recall_at_1",), directions=("",)))
    assert made.mean("", "old/old", "recall_at_1") == 1.0
    neighbours = Relevance.from_neighbours(sides[0].queries, sides[0].gallery, 3)
    assert not neighbours.names_itself
    assert {len(items) for items in neighbours.gains.values()} == {3}


def test_a_head_that_changes_the_new_vectors_is_used_for_the_backfilled_gallery(world):
    old, new, _, relevance = world
    space = new.queries.space
    written = Space("new, first six", "1", 6)
    cut = np.eye(12, 6, dtype=np.float32)
    headed = Upgrade(
        Linear(space, written, cut), Linear(written, old.queries.space, np.ones((6, 8), np.float32)), Provenance("cut")
    )
    made = evaluate(old, new, headed, relevance, scope=T2I)
    expected = naive_recall(new.queries.vectors @ cut, new.gallery.vectors @ cut, lambda i, j: i // 2 == j, 10)
    assert made.mean("t2i", "new/new", "recall_at_10") == pytest.approx(expected)


@pytest.fixture
def tuned(world, tmp_path):
    """The new model with a LoRA that turns its vectors, the upgrade of it, and the LoRA's folder."""
    _, new, upgrade, _ = world
    for name in LORA_FILES:
        (tmp_path / name).write_text("any")
    space = space_with_lora(new.queries.space, tmp_path)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(12, 12)))[0].astype(np.float32)
    side = Side(*(rows.with_vectors(rows.vectors @ turn, space) for rows in (new.queries, new.gallery)))
    bridge = Linear(space, upgrade.old_space, turn.T @ upgrade.bridge.weights()["weight"])
    return side, Upgrade(Identity(space, space), bridge, Provenance("known"), lora=tmp_path)


@pytest.mark.slow
def test_a_backfill_is_of_the_model_without_lora_and_the_bridge_of_the_model_with_it(world, tuned):
    """Every cell of the model without its LoRA stays as it was, a cascade and a curve rank by it, a control asks by it."""
    old, new, upgrade, relevance = world
    side, with_lora = tuned
    rng = np.random.default_rng(3)
    rough = Linear(side.queries.space, old.queries.space, rng.normal(size=(12, 8)).astype(np.float32))
    scope = Scope(cells=("cascade",), cascade_items=30, orders={"random": None})
    plain = evaluate(*world, scope=scope)
    both = replace(side, without_lora=new)
    same = evaluate(old, both, with_lora, relevance, scope=replace(scope, controls={"without a LoRA": upgrade}))
    chance = evaluate(old, both, replace(with_lora, bridge=rough), relevance, scope=scope)
    for direction in ("t2i", "i2t"):
        for name in plain.names(direction):
            for made in (same, chance):
                if made is same or name in ("old/old", "new/new", "naive", "mixed@1.0000/random"):
                    rows = made.cell(direction, name).rows
                    assert (rows == plain.cell(direction, name).rows).mean() > 0.99, name
        np.testing.assert_array_equal(
            same.cell(direction, "without a LoRA/old").rows, plain.cell(direction, "new/old").rows
        )
        assert chance.mean(direction, "new/old", "recall_at_10") < 0.1
        assert chance.mean(direction, "mixed@0.0000/random", "recall_at_10") < 0.1
    assert same.about["new_without_lora"] == str(new.queries.space) != same.about["new"]
    assert "new_without_lora" not in plain.about


def test_vectors_without_lora_are_asked_as_often_as_the_others(world, tuned):
    old, new, _, relevance = world
    side, with_lora = tuned
    some = Relevance.from_pairs([("caption 0", "photo 0"), ("caption 9", "photo 4")])
    made = evaluate(old, replace(side, without_lora=new), with_lora, some, scope=replace(T2I, unjudged="skip"))
    assert made.task("t2i").skipped == 2 * len(new.gallery) - 2
    assert made.cell("t2i", "new/new").rows.shape == (2, 10)
    few = Side(new.queries, new.gallery.take(np.arange(5)))
    with pytest.raises(InvalidInput, match="gallery items: both models must see the same items"):
        evaluate(old, replace(side, without_lora=few), with_lora, relevance)


def test_sides_of_other_models_are_refused(world, tuned):
    old, new, upgrade, relevance = world
    side, with_lora = tuned
    for plain, of in ((side, with_lora), (side, upgrade), (old, with_lora)):
        with pytest.raises(
            SpaceMismatch, match="new side without LoRA, once the upgrade's LoRA is attached: expected vectors of new@1"
        ):
            evaluate(old, replace(side, without_lora=plain), of, relevance)
    with pytest.raises(SpaceMismatch, match=r"queries for this upgrade: expected vectors of new@1 .* differ in recipe"):
        evaluate(old, new, with_lora, relevance)
    same = replace(new, without_lora=new)
    assert evaluate(old, same, upgrade, relevance, scope=T2I).mean("t2i", "new/new", "recall_at_1") > 0.5


def test_a_forward_upgrade_maps_the_gallery(world):
    old, new, _, relevance = world
    lift = np.eye(8, 12, dtype=np.float32)
    space = new.queries.space
    upgrade = Upgrade(
        Identity(space, space), Linear(old.queries.space, space, lift), Provenance("forward"), direction="forward"
    )
    made = evaluate(old, new, upgrade, relevance, scope=T2I)
    expected = naive_recall(new.queries.vectors, old.gallery.vectors @ lift, lambda i, j: i // 2 == j, 10)
    assert made.mean("t2i", "new/old", "recall_at_10") == pytest.approx(expected)
    with pytest.raises(InvalidInput, match="needs a backward upgrade and cosine"):
        evaluate(old, new, upgrade, relevance, scope=Scope(directions=("t2i",), cells=("fused/old",)))


def test_sides_must_hold_the_same_items(world):
    old, new, upgrade, relevance = world
    shuffled = Side(new.queries, new.gallery.take(np.arange(300)[::-1]))
    with pytest.raises(InvalidInput, match=r"gallery items: both models must see the same items.*ordered differently"):
        evaluate(old, shuffled, upgrade, relevance)
    with pytest.raises(InvalidInput, match="only old has 'photo 299'"):
        evaluate(old, Side(new.queries, new.gallery.take(np.arange(299))), upgrade, relevance)
    with pytest.raises(SpaceMismatch, match="the queries of a side"):
        Side(old.queries, new.gallery)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "asked"), [("skip", 100), ("zero", 600)])
def test_a_query_without_judgement_is_not_asked_or_counts_as_failed(world, rule, asked):
    old, new, upgrade, relevance = world
    part = Relevance({q: items for q, items in relevance.gains.items() if int(q.split()[1]) < 100})
    made = evaluate(old, new, upgrade, part, scope=Scope(directions=("t2i",), unjudged=rule))
    assert len(made.task("t2i").query_ids) == asked
    whole = evaluate(old, new, upgrade, relevance, scope=T2I).values("t2i", "new/old", "recall_at_10")
    assert made.values("t2i", "new/old", "recall_at_10").sum() == whole[:100].sum()


def test_a_query_without_judgement_is_refused_where_nothing_is_said(world):
    old, new, upgrade, relevance = world
    part = Relevance({q: items for q, items in relevance.gains.items() if int(q.split()[1]) < 100})
    with pytest.raises(InvalidInput, match=r"query 'caption 100' has no relevant item.*unjudged: skip"):
        evaluate(old, new, upgrade, part)
    with pytest.raises(InvalidInput, match="none of the 600 queries has a right item"):
        evaluate(old, new, upgrade, Relevance.from_pairs([("another", "world")]))


def test_weights_of_a_log_weigh_queries(world):
    old, new, upgrade, _ = world
    log = Relevance.from_log([(f"caption {i}", f"photo {i // 2}", 1 + i) for i in range(600)])
    made = evaluate(old, new, upgrade, log, scope=T2I)
    values = made.values("t2i", "new/old", "recall_at_10")
    assert made.mean("t2i", "new/old", "recall_at_10") == pytest.approx(np.average(values, weights=np.arange(1, 601)))
    interval = made.interval("t2i", "new/old", "recall_at_10")
    assert interval.low < made.mean("t2i", "new/old", "recall_at_10") < interval.high


def test_neighbour_truth_is_named_for_what_it_is(world):
    old, new, upgrade, _ = world
    relevance = Relevance.from_neighbours(new.queries, new.gallery, 10)
    made = evaluate(old, new, upgrade, relevance, scope=T2I)
    assert made.task("t2i").source == "the 10 nearest items by new, not people"
    assert made.mean("t2i", "new/new", "recall_at_1") == 1.0


def test_a_metric_deeper_than_the_rankings_is_refused(report):
    with pytest.raises(
        InvalidInput, match="recall_at_20 of old/old cannot be had: its rankings hold the best 10 of 300"
    ):
        report.mean("t2i", "new/old", "recall_at_20")
    with pytest.raises(InvalidInput, match="map of old/old cannot be had"):
        report.mean("t2i", "new/old", "map")


@pytest.mark.slow
def test_k_beyond_the_gallery_finds_all(world):
    old, new, upgrade, relevance = world
    made = evaluate(old, new, upgrade, relevance, scope=Scope(metrics=("recall_at_1000",), directions=("t2i",)))
    assert made.figures()["t2i"]["naive"]["recall_at_1000"] == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ()}, "at least one metric"),
        ({"metrics": ("recall",)}, "there is no metric 'recall'"),
        ({"metrics": ("recall_at_0",)}, "there is no metric 'recall_at_0'"),
        ({"directions": ("a", "b", "c")}, "one or two directions"),
        ({"cells": ("slerp",)}, "there is no cell 'slerp'; more cells are fused/old"),
        ({"metrics": ("map",), "cells": ("cascade",)}, "map is of whole rankings"),
    ],
)
def test_a_scope_that_cannot_be_is_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        Scope(**settings)


def test_an_order_that_lacks_items_is_refused(world):
    with pytest.raises(InvalidInput, match="backfill order 'half' lacks 299 of 300 gallery items"):
        evaluate(*world, scope=Scope(directions=("t2i",), orders={"half": ["photo 1"]}))


def test_what_was_measured_is_said(report, world):
    about = report.about
    assert about["old"] == str(world[0].queries.space)
    assert about["measured on"] == "made-up data"
    assert about["environment"]["libraries"]["numpy"] == np.__version__
    other = Side(world[0].queries, world[0].gallery.take(np.arange(299)))
    from embridge.evaluation.sides import fingerprint

    assert about["data"]["old"] == fingerprint(world[0]) != fingerprint(other)


@pytest.mark.parametrize("about", [{"share": float("nan")}, {"count": np.float32(3)}, {"kinds": {2}}])
def test_what_a_report_could_not_keep_is_refused_at_once(about):
    with pytest.raises(SettingsError, match="about: expected plain JSON"):
        Scope(about=about)
