"""Every way of saying what is right, from a settings file to a report."""

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from embridge import Embeddings, Space
from embridge.cli import app
from embridge.encoders import CachedEncoder
from embridge.errors import SettingsError
from embridge.evaluation import load_report, load_summary
from embridge.jobs._judgements import read_judgements
from embridge.jobs._model_vectors import _encoded
from embridge.settings import EvaluateSettings
from embridge.vector_files import write_vectors


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def project(tmp_path):
    """200 documents of ten labels, 60 queries near the first 60, as vectors of two models."""
    generator = np.random.default_rng(0)
    documents = generator.normal(size=(200, 12)).astype(np.float32)
    documents += 2 * np.eye(12, dtype=np.float32)[np.arange(200) % 10]
    queries = documents[:60] + 0.8 * generator.normal(size=(60, 12)).astype(np.float32)
    models = {}
    for side, dim, noise in (("old", 8, 0.8), ("new", 12, 0.0)):
        space = Space(side, "", dim)
        for part, x, ids in (("gallery", documents, "d"), ("queries", queries, "q")):
            rows = (x + noise * generator.normal(size=x.shape)).astype(np.float32)[:, :dim]
            write_vectors(
                Embeddings.of(rows, space, [f"{ids}{i}" for i in range(len(x))]), tmp_path / f"{side}-{part}.npy"
            )
        models[side] = {
            "captions": f"{side}-gallery.npy",
            "gallery": f"{side}-gallery.npy",
            "queries": f"{side}-queries.npy",
        }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(models | {"fit": {"method": "procrustes"}}))
    assert run("fit", tmp_path / "base.yaml").exit_code == 0
    (tmp_path / "pairs.csv").write_text(
        "query,document,clicks,language,title,asked\n"
        + "".join(f"q{i},d{i},{1 + i},{'de' if i % 2 else 'en'},shoe {i},which {i}?\n" for i in range(60))
    )

    def evaluate(**settings):
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(models | {"evaluate": settings}))
        return run("evaluate", path, "--json")

    evaluate.folder = tmp_path
    return evaluate


@pytest.mark.slow
def test_pairs_with_slices_of_a_column(project):
    names = {"query_title": "asked"}
    done = project(
        judged="pairs.csv", columns=names, slices=["language"], gates=["recall_at_10[language=de] new/new >= 0.5"]
    )
    assert done.exit_code == 0, done.stderr
    summary = load_summary(project.folder / "report.json")
    assert {(s.label, s.queries) for s in summary.slices} == {("de", 30), ("en", 30)}
    assert summary.asked[0].source == "judged pairs"
    assert summary.asked[0].gallery == 200
    assert "cascade" not in summary.asked[0].cells  # 100 of 200 documents would be half a backfill
    page = (project.folder / "report.html").read_text()
    number = next(flip.query.removeprefix("q") for flip in [*summary.flips, *summary.wins])
    assert f"which {number}? (q{number})" in page, "a query by what its table calls it"
    assert f"shoe {number} (d{number})" in page


@pytest.mark.slow
def test_clicks_weigh_queries(project):
    plain = json.loads(project(judged="pairs.csv").stdout)["cells"][""]["old/old"]["recall_at_1"]
    done = project(judged="pairs.csv", clicks="clicks")
    assert done.exit_code == 0, done.stderr
    report = load_report(project.folder / "report.json")
    assert report.task("").source == "click log"
    assert set(report.task("").labels("frequency")) == {"head", "torso", "tail"}
    weights = dict(zip(report.task("").query_ids, report.task("").weights, strict=True))
    assert weights["q9"] == 10.0
    weighted = json.loads(done.stdout)["cells"][""]["old/old"]["recall_at_1"]
    values = report.values("", "old/old", "recall_at_1")
    assert weighted == pytest.approx(np.average(values, weights=report.task("").weights), abs=1e-6)
    assert plain == pytest.approx(values.mean(), abs=1e-6)


def test_a_text_that_is_both_query_and_document_is_sliced_as_the_query(tmp_path):
    (tmp_path / "pairs.csv").write_text(
        "query,document,clicks\nshoe,a,80\nhat,shoe,1\n" + "".join(f"q{i},b,1\n" for i in range(19))
    )
    read = read_judgements(EvaluateSettings(judged=tmp_path / "pairs.csv", clicks="clicks"))
    assert read.slices["frequency"]["shoe"] == "head"


@pytest.mark.slow
@pytest.mark.parametrize("beir", [True, False])
def test_qrels_with_grades(project, beir):
    lines = [(f"q{i}", f"d{(i + j) % 200}", 2 - j) for i in range(60) for j in range(3)]
    text = "query-id\tcorpus-id\tscore\n" if beir else ""
    text += "".join(f"{q}\t{d}\t{g}\n" if beir else f"{q} 0 {d} {g}\n" for q, d, g in lines)
    (project.folder / "qrels.txt").write_text(text)
    done = project(qrels="qrels.txt", metrics=["map", "ndcg_at_10"])
    assert done.exit_code == 0, done.stderr
    report = load_report(project.folder / "report.json")
    assert report.task("").source == "qrels"
    assert set(report.task("").relevant.tolist()) == {2}
    assert report.task("").ideal[0, :3].tolist() == [2.0, 1.0, 0.0]
    done = project(qrels="qrels.txt", metrics=["recall_at_10"])
    assert any("recall_share_at_10" in text for text in json.loads(done.stdout)["cautions"])
    assert report.mean("", "new/new", "ndcg_at_10") > report.mean("", "naive", "ndcg_at_10")


@pytest.mark.slow
def test_labels_of_queries_and_items(project):
    rows = [f"{x}{i},{i % 10},{'long' if i % 2 else 'short'}\n" for x, n in (("q", 60), ("d", 200)) for i in range(n)]
    (project.folder / "labels.csv").write_text("id,label,length\n" + "".join(rows))
    done = project(labels="labels.csv", metrics=["cmc_at_1", "map"], slices=["length"])
    assert done.exit_code == 0, done.stderr
    report = load_report(project.folder / "report.json")
    assert report.task("").source == "labels"
    assert set(report.task("").relevant.tolist()) == {20}
    assert report.mean("", "new/new", "map") > 0.2  # chance is .1
    assert set(report.task("").labels("length")) == {"long", "short"}


def test_labels_of_texts_for_encoders_that_take_no_images(tmp_path):
    (tmp_path / "labels.csv").write_text("id,label,text\n7,cat,a black cat\n8,dog,a dog\n9,cat,kitten\n")
    options = EvaluateSettings(labels=tmp_path / "labels.csv")
    judgements = read_judgements(options, images=False)
    texts = ["a black cat", "a dog", "kitten"]
    encoder = CachedEncoder(text=Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3), texts))
    side = _encoded(encoder, judgements, tmp_path)
    assert (judgements.modalities, side.gallery.ids) == ({"text"}, ("7", "8", "9"))
    np.testing.assert_array_equal(side.gallery.vectors, np.eye(3))
    assert read_judgements(options).modalities == {"image"}
    (tmp_path / "labels.csv").write_text("id,label\n7,cat\n")
    with pytest.raises(
        SettingsError, match=r"labels are of texts, in a column 'text' beside each id; .*csv has id, label"
    ):
        read_judgements(options, images=False)


@pytest.mark.slow
def test_neighbours_are_labelled_as_such(project):
    done = project(neighbours=5)
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["cells"][""]["new/new"]["recall_at_1"] == 1.0
    assert any("the 5 nearest items by new, not people" in text for text in said["cautions"])


@pytest.mark.slow
def test_orders_of_a_backfill(project):
    (project.folder / "popular.txt").write_text("\n".join(f"d{i}" for i in range(200)))
    done = project(judged="pairs.csv", curve=True, orders={"popular": "popular.txt"})
    assert done.exit_code == 0, done.stderr
    curves = {curve.order: curve for curve in load_summary(project.folder / "report.json").curves}
    assert set(curves) == {"random", "popular"}
    assert curves["popular"].auc >= curves["random"].auc  # the right documents come first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({}, 2, "exactly one of judged, qrels, labels, neighbours"),
        ({"judged": "pairs.csv", "neighbours": 3}, 2, "exactly one of"),
        ({"judged": "pairs.csv", "metrics": ["recall"]}, 2, "there is no metric 'recall'"),
        ({"judged": "pairs.csv", "gates": ["good"]}, 2, "gate 'good': expected METRIC"),
        (
            {"judged": "pairs.csv", "gates": ["recall_at_10.t2i new/old > 0"]},
            2,
            "no direction 't2i', only one search, without a name",
        ),
        (
            {"judged": "pairs.csv", "gates": ["recall_at_10[country] new/old > 0"]},
            2,
            "no slice column 'country'; there are none; name it in slices",
        ),
        (
            {"judged": "pairs.csv", "gates": ["recall_at_10 x/old > 0"]},
            2,
            "there is no cell 'x/old'; there are old/old",
        ),
        (
            {"judged": "pairs.csv", "slices": ["language"], "gates": ["recall_at_10[language=fr] new/old > 0"]},
            2,
            "nothing has language = 'fr'; there are ['de', 'en']",
        ),
        ({"judged": "pairs.csv", "cells": ["slerp"]}, 2, "there is no cell 'slerp'"),
        ({"judged": "pairs.csv", "ks": [1]}, 2, "evaluate.ks: there is no such key"),
        ({"judged": "pairs.csv", "metric": ["map"]}, 2, "did you mean metrics?"),
        (
            {"judged": "pairs.csv", "slices": ["country"]},
            2,
            "has no column 'country'; there are query, document, clicks",
        ),
        ({"judged": "pairs.csv", "clicks": "language"}, 1, "expected a number above 0, came 'en'"),
        ({"neighbours": 3, "slices": ["language"]}, 2, "columns of these or of the labels"),
        ({"qrels": "missing.txt"}, 2, "missing.txt does not exist"),
        ({"judged": "pairs.csv", "metrics": ["map"], "curve": True}, 2, "map is of whole rankings"),
    ],
)
def test_what_cannot_work_says_why(project, settings, code, message):
    done = project(**settings)
    assert (done.exit_code, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr
