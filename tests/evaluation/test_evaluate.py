import json

import numpy as np
import pytest

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Linear, Provenance
from embridge.errors import ArtefactError, InvalidInput, SpaceMismatch
from embridge.evaluation import Cell, Relevance, Report, Side, decide, evaluate
from embridge.evaluation.render.terminal import report_tables

OLD, NEW = Space("old", "1", 8), Space("new", "1", 12)
ITEMS = 300


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def world():
    """Photos with two captions each; the new model is the better one, the bridge a known linear map."""
    generator = np.random.default_rng(0)
    truth, mix = generator.normal(size=(ITEMS, 12)), generator.normal(size=(12, 8)) / 12**0.5

    def side(space, image_noise, text_noise):
        captions = np.repeat(truth, 2, axis=0)
        basis = np.eye(12) if space == NEW else mix
        texts = unit((captions + text_noise * generator.normal(size=captions.shape)) @ basis)
        images = unit((truth + image_noise * generator.normal(size=truth.shape)) @ basis)
        text_ids = [f"caption {i}" for i in range(2 * ITEMS)]
        return Side(
            Embeddings.of(texts, space, text_ids), Embeddings.of(images, space, [f"photo {i}" for i in range(ITEMS)])
        )

    old, new = side(OLD, 0.6, 1.2), side(NEW, 0.3, 0.3)
    upgrade = Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, mix.astype(np.float32)), Provenance("known"))
    relevance = Relevance.from_pairs((f"caption {i}", f"photo {i // 2}") for i in range(2 * ITEMS))
    return old, new, upgrade, relevance


@pytest.fixture(scope="module")
def report(world):
    return evaluate(*world, controls={"same": world[2]}, about={"data": "made up"})


def naive_recall(queries, gallery, right, k):
    scores = unit(queries) @ unit(gallery).T
    return np.mean([any(right(i, j) for j in np.argsort(-row, kind="stable")[:k]) for i, row in enumerate(scores)])


def test_every_cell_is_its_naive_loop(world, report):
    old, new, upgrade, _ = world
    bridged = {side: upgrade.to_index_space(getattr(new, side)).vectors for side in ("queries", "gallery")}
    for k in (1, 5, 10):
        for direction, asks, answers, right in (
            ("t2i", "queries", "gallery", lambda i, j: i // 2 == j),
            ("i2t", "gallery", "queries", lambda i, j: j // 2 == i),
        ):
            a, b, c, d = (getattr(s, w).vectors for s in (old, new) for w in (asks, answers))
            expected = {
                "old/old": naive_recall(a, b, right, k),
                "new/old": naive_recall(bridged[asks], b, right, k),
                "new/new": naive_recall(c, d, right, k),
                "naive": naive_recall(c[:, :8], b, right, k),
                "same/old": naive_recall(bridged[asks], b, right, k),
            }
            for name, value in expected.items():
                assert report.recall(direction, name, k).value == pytest.approx(value, abs=1e-9)


def test_a_bridge_at_chance_is_at_chance(world):
    old, new, _, relevance = world
    noise = np.random.default_rng(1).normal(size=(12, 8)).astype(np.float32)
    upgrade = Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, noise), Provenance("noise"))
    made = evaluate(old, new, upgrade, relevance)
    assert made.recall("t2i", "new/old", 1).value < 0.02
    assert made.compatible("t2i", 10).answer == "no"
    assert decide(made).decision == "backfill first"


def test_the_verdict_follows_from_the_cells(report):
    verdict = decide(report)
    assert verdict.decision == "upgrade"
    assert verdict.sentence.startswith("Upgrade: text to image Recall@10 goes from 0.")
    assert verdict.sentence.count("95 % interval") == 2


@pytest.mark.parametrize(
    ("new_old", "new_new", "decision"),
    [
        (0.6, 0.8, "upgrade"),
        (0.1, 0.8, "backfill first"),
        (0.1, 0.2, "keep the old model"),
        (0.4, 0.8, "not enough evidence"),
    ],
)
def test_every_decision_is_reached(new_old, new_new, decision):
    def hits(share):
        return (np.arange(1_000) % 10 < 10 * share).astype(np.int64)

    cells = {"old/old": 0.4, "new/old": new_old, "new/new": new_new}
    ids = tuple(map(str, range(1_000)))
    made = Report(tuple(Cell("", n, hits(s)) for n, s in cells.items()), {"": ids}, ks=(1,))
    assert decide(made).decision == decision


def test_a_forward_upgrade_maps_the_gallery(world):
    old, new, _, relevance = world
    lift = np.eye(8, 12, dtype=np.float32)
    upgrade = Upgrade(Identity(NEW, NEW), Linear(OLD, NEW, lift), Provenance("forward"), direction="forward")
    made = evaluate(old, new, upgrade, relevance, directions=("t2i",))
    expected = naive_recall(new.queries.vectors, old.gallery.vectors @ lift, lambda i, j: i // 2 == j, 10)
    assert made.recall("t2i", "new/old", 10).value == pytest.approx(expected)


def test_a_report_is_read_back_and_computes_the_same(report, tmp_path):
    again = Report.load(report.save(tmp_path / "report.json"))
    assert again.to_dict() == report.to_dict()
    assert again.figures() == report.figures()
    assert again.about == {"data": "made up"}
    written = json.loads((tmp_path / "report.json").read_text())
    row = next(
        r for r in written["summary"] if (r["direction"], r["cell"], r["metric"]) == ("t2i", "new/old", "recall_at_5")
    )
    first = next(c for c in written["cells"] if (c["direction"], c["name"]) == ("t2i", "new/old"))["first_hits"]
    assert row["value"] == pytest.approx(np.mean([0 < f <= 5 for f in first]))
    assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a whole report"),
        ("[1, 2]", "not a whole report"),
        ('{"schema": "embridge.report/9"}', "expected schema embridge.report/1"),
        ('{"schema": "embridge.report/1", "cells": []}', "not a whole report"),
    ],
)
def test_hostile_reports_are_refused(content, message, tmp_path):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(ArtefactError, match=message):
        Report.load(tmp_path / "report.json")
    with pytest.raises(ArtefactError, match="not a whole report"):
        Report.load(tmp_path / "missing.json")


def test_a_truncated_report_is_refused(report, tmp_path):
    path = report.save(tmp_path / "report.json")
    path.write_text(path.read_text()[:-100])
    with pytest.raises(ArtefactError, match="not a whole report"):
        Report.load(path)


def test_tables_hold_every_cell(report):
    tables = report_tables(report)
    assert [t.title for t in tables] == ["text to image, 600 queries", "image to text, 300 queries"]
    assert [row[0] for row in tables[0].rows] == ["old/old", "new/old", "same/old", "new/new", "naive"]
    assert all(len(row) == len(tables[0].columns) for row in tables[0].rows)
    assert tables[0].rows[1][1].startswith(f"{report.recall('t2i', 'new/old', 1).value:.3f} ±")


def test_sides_must_hold_the_same_items(world):
    old, new, upgrade, relevance = world
    shuffled = Side(new.queries, new.gallery.take(np.arange(ITEMS)[::-1]))
    with pytest.raises(InvalidInput, match="gallery items: both models must see the same items"):
        evaluate(old, shuffled, upgrade, relevance)
    with pytest.raises(SpaceMismatch, match="the queries of a side"):
        Side(old.queries, new.gallery)


def test_a_query_without_judgement_is_refused_or_not_asked(world):
    old, new, upgrade, relevance = world
    part = Relevance({q: items for q, items in relevance.relevant.items() if int(q.split()[1]) < 100})
    with pytest.raises(InvalidInput, match="query 'caption 100' has no relevant item"):
        evaluate(old, new, upgrade, part)
    made = evaluate(old, new, upgrade, part, unjudged="skip")
    assert (len(made.query_ids["t2i"]), len(made.query_ids["i2t"])) == (100, 50)
    expected = naive_recall(old.queries.vectors[:100], old.gallery.vectors, lambda i, j: i // 2 == j, 10)
    assert made.recall("t2i", "old/old", 10).value == pytest.approx(expected)  # the gallery stayed whole
    with pytest.raises(InvalidInput, match="none of the 600 queries has a right item"):
        evaluate(old, new, upgrade, Relevance({"somebody": frozenset({"else"})}), unjudged="skip")


def test_an_upgrade_of_another_index_is_refused(world):
    old, new, _, relevance = world
    other = Space("other", "1", 8)
    upgrade = Upgrade(Identity(NEW, NEW), Linear(NEW, other, np.eye(12, 8, dtype=np.float32)), Provenance("other"))
    with pytest.raises(SpaceMismatch, match=r"the old gallery of this upgrade.*Equal dimensions do not make"):
        evaluate(old, new, upgrade, relevance)


def test_unknown_cells_and_uneven_ones_are_refused(report):
    with pytest.raises(InvalidInput, match="no cell 'paragon' in direction 't2i'"):
        report.cell("t2i", "paragon")
    with pytest.raises(InvalidInput, match="one value a query"):
        Report((Cell("t2i", "old/old", np.ones(3, np.int64)),), {"t2i": ("a", "b")})
