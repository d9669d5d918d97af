"""The command line as people use it: real models, real files, exit codes, nothing but results on stdout."""

import csv
import json
import pickle
import re
import signal
import time
from pathlib import Path

import lancedb
import numpy as np
import pytest
import yaml
from lancedb.index import IvfPq
from PIL import Image
from typer.testing import CliRunner

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Prefix, Provenance
from embridge.cli import app
from embridge.cli._terminal import print_table, progress_bars
from embridge.datasets import glyph_models, glyphs
from embridge.encoders import load
from embridge.evaluation import load_report, load_summary
from embridge.stores import open_store
from embridge.stores.lancedb import LanceStore
from embridge.vector_files import write_vectors

XBT = {
    "captions": "captions.txt",
    "method": "xbt",
    "settings": {"hidden_width": 32, "training": {"min_steps": 20, "epochs": 1}},
}
MODELS = {side: f"clip:{glyph_models.folder(side)}" for side in ("old", "new")}
HELD_OUT = glyphs.split()["test"][::10]


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder as a user would have it: captions, pictures, judged pairs, settings, and a store of the old model."""
    folder = tmp_path_factory.mktemp("project")
    names = [glyphs.caption(c) for c in glyphs.split()["train"]]
    (folder / "captions.txt").write_text("\n".join(names[::2]) + "\n\n" + names[0] + "\n")
    drawn = glyphs.render(HELD_OUT, one_each=True)
    (folder / "pictures").mkdir()
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "image", "font"])
        for image, name, font in zip(drawn.images, drawn.captions, drawn.fonts, strict=True):
            picture = f"pictures/{name}.png"
            Image.fromarray(image).save(folder / picture)
            rows.writerow([name, picture, font])
    old = load(MODELS["old"])
    store = open_store(folder / "store", create=True)
    store.add_space(old.space)
    vectors = old.encode(drawn.images, modality="image")
    store.upsert(Embeddings.of(vectors, old.space, drawn.ids), {"name": drawn.captions})
    settings = MODELS | {
        "fit": {"captions": "captions.txt", "method": "procrustes"},
        "evaluate": {"judged": "pairs.csv", "metrics": ["recall_at_1", "recall_at_10"]},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    assert run("fit", folder / "settings.yaml").exit_code == 0
    return folder


@pytest.fixture(scope="module")
def by_xbt(project):
    """The same project with a trained bridge, and what its fit said."""
    path = settings_of(project, "xbt", fit=XBT, upgrade="made", report="b.json")
    return path, run("fit", path, "--json")


def settings_of(project, name, **changes):
    path = project / f"{name}.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load((project / "settings.yaml").read_text()) | changes))
    return path


@pytest.mark.slow
def test_fit_writes_an_upgrade_and_says_so(project, by_xbt):
    _, done = by_xbt
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    upgrade = Upgrade.load(project / "made")
    assert said["method"] == "xbt-stage1"
    assert said["upgrade"] == str(project / "made")
    assert (said["old"]["id"], said["new"]["id"]) == (upgrade.old_space.id, upgrade.new_space.id)
    assert upgrade.provenance.encoders == MODELS
    assert upgrade.provenance.data.startswith("2931 pairs")  # blank and repeated lines are not captions
    assert "xbt" in done.stderr


@pytest.mark.slow
def test_fit_chooses_where_nothing_is_said_and_shows_why(project):
    fit = {"captions": "captions.txt", "settings": {"candidates": ["procrustes", "low-rank"]}}
    path = settings_of(project, "choose", fit=fit, upgrade="chosen")
    done = run("fit", path)
    assert done.exit_code == 0, done.stderr
    assert "Candidates" in done.stdout
    assert "chosen: " in done.stdout
    assert "score: neighbour agreement" in done.stdout
    assert re.search(r"procrustes .* yes +(chosen|as good|behind)", done.stdout)
    assert "then adds no work to a query" in done.stdout
    said = json.loads(run("fit", path, "--json").stdout)
    assert said["method"] in said["reason"]
    assert {c["method"] for c in said["candidates"]} == {"procrustes", "low-rank"}
    forced = json.loads(run("fit", path, "--method", "procrustes", "--json").stdout)
    assert forced["method"] == Upgrade.load(project / "chosen").provenance.method == "procrustes"
    assert "candidates" not in forced


@pytest.mark.slow
def test_fit_keeps_the_old_model_where_nothing_is_better(project):
    """Pairs whose old vectors belong to other captions: no bridge can be fitted, none is written."""
    generator = np.random.default_rng(0)
    for side in ("old", "new"):
        rows = Embeddings.of(generator.normal(size=(300, 16)).astype(np.float32), Space(side, "", 16))
        write_vectors(rows, project / f"noise-{side}.npy")
    models = {side: {"captions": f"noise-{side}.npy"} for side in ("old", "new")}
    path = settings_of(project, "noise", **models, fit={"settings": {"candidates": ["procrustes"]}}, upgrade="noise")
    done = run("fit", path)
    assert done.exit_code == 3
    assert done.stderr.splitlines()[-1] == "error: keep the old model: procrustes finds no more than chance"
    assert not (project / "noise").exists()


@pytest.mark.slow
def test_judged_queries_choose_but_are_not_reported_on(project):
    rows = list(csv.reader((project / "pairs.csv").read_text().splitlines()))
    for name, part in (("choose", rows[1:50]), ("report", rows[50:])):
        with (project / f"{name}-pairs.csv").open("w", newline="") as file:
            csv.writer(file).writerows([rows[0], *part])
    fit = {"captions": "captions.txt", "judged": "choose-pairs.csv", "settings": {"candidates": ["procrustes"]}}
    shared = settings_of(project, "shared", fit=fit, upgrade="judged")
    done = run("fit", shared)
    assert done.exit_code == 2
    assert "fit.judged and evaluate.judged share 49 queries" in done.stderr
    apart = settings_of(project, "apart", fit=fit, evaluate={"judged": "report-pairs.csv"}, upgrade="judged")
    assert run("fit", apart, "--json").exit_code in (0, 3)


@pytest.mark.slow
def test_repeats_weigh_where_they_are_asked_to(project):
    lines = (project / "captions.txt").read_text().split("\n")
    (project / "repeats.txt").write_text("\n".join(lines[:300] + lines[:30] * 40))
    fit = {"captions": "repeats.txt", "method": "procrustes"}
    bridges = []
    for weigh in (False, True):
        path = settings_of(project, f"repeats-{weigh}", fit=fit | {"weigh_repeats": weigh}, upgrade=f"repeats-{weigh}")
        assert run("fit", path).exit_code == 0
        bridges.append(Upgrade.load(project / f"repeats-{weigh}").bridge.weights()["weight"])
    assert np.abs(bridges[0] - bridges[1]).max() > 0.01


@pytest.mark.slow
def test_evaluate_measures_what_was_fitted(project):
    done = run("evaluate", project / "settings.yaml", "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    report = load_report(project / "report.json")
    assert said["schema"] == "embridge.evaluation/1"
    assert said["cells"] == report.figures()
    assert set(said["cells"]["t2i"]) == {"old/old", "new/old", "fused/old", "ceiling", "new/new", "naive"}
    assert said["cells"]["t2i"]["new/new"]["recall_at_10"] > said["cells"]["t2i"]["old/old"]["recall_at_10"] > 0.3
    assert said["cells"]["t2i"]["naive"]["recall_at_10"] < 0.3
    assert said["compatible"]["i2t"]["recall_at_10"] == report.compatible("i2t", "recall_at_10").answer
    assert len(report.task("t2i").query_ids) == 100
    assert load_summary(project / "report.json").headline()["verdict"] == said["verdict"]
    assert (said["report"], said["page"]) == (str(project / "report.json"), str(project / "report.html"))
    assert "data:image/jpeg;base64," in (project / "report.html").read_text()  # the pictures of the worst flips


@pytest.mark.slow
def test_evaluate_prints_tables_and_a_verdict(project):
    done = run("evaluate", project / "settings.yaml")
    assert done.exit_code == 0
    for text in ("text to image, 100 queries", "What the bridge keeps", "Worst flips", "95 % interval", "report.html"):
        assert text in done.stdout
    assert re.match(r"Verdict: [a-z ]+\n", done.stdout)
    assert "95 % interval" in done.stdout.split("\n\nreport ")[0].splitlines()[-1]
    table = done.stdout.split("What the bridge keeps")[0]
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.slow
def test_a_gate_that_fails_ends_with_3_and_is_named(project):
    gates = [
        "recall_at_10.t2i new/new > old/old",
        "recall_at_10.t2i naive >= 0.98 * old/old",
        "negative_flip_rate <= 1",
    ]
    pairs = {"judged": "pairs.csv", "gates": gates}
    path = settings_of(project, "gated", evaluate=pairs, report="gated.json")
    done = run("evaluate", path, "--json")
    assert done.exit_code == 3
    assert done.stderr.splitlines()[-1].startswith(
        "error: 1 of 4 gate checks failed: recall_at_10.t2i naive >= 0.98 * old/old (text to image: "
    )
    said = json.loads(done.stdout)  # the result is there, and the files too
    assert "But 1 of 4 gate checks failed: recall_at_10.t2i naive >= 0.98 * old/old (text to image)." in said["verdict"]
    assert "But 1 of 4 gate checks failed" in (project / "gated.html").read_text()
    assert re.match(r"Verdict: .*, but 1 of 4 gate checks failed\n", run("report", project / "gated.json").stdout)
    assert [gate["passed"] for gate in said["gates"]] == [True, False, True, True]
    assert "FAILED" in run("report", project / "gated.json").stdout
    assert (
        run("evaluate", settings_of(project, "met", evaluate=pairs | {"gates": gates[:1]}, report="m.json")).exit_code
        == 0
    )


@pytest.mark.slow
def test_slices_curves_and_gates_on_slices(project):
    evaluate = {
        "judged": "pairs.csv",
        "metrics": ["mrr_at_10", "ndcg_at_10", "recall_at_10"],
        "slices": ["font"],
        "curve": True,
        "cells": ["cascade"],
        "cascade_items": 20,
        "gates": ["recall_at_10[font] new/new >= 0.01"],
    }
    done = run("evaluate", settings_of(project, "sliced", evaluate=evaluate, report="sliced.json"))
    assert done.exit_code == 0, done.stderr
    fonts = {row["font"] for row in csv.DictReader((project / "pairs.csv").read_text().splitlines())}
    for font in fonts:
        assert f"font={font}" in done.stdout
    assert "Backfilled so far" in done.stdout
    summary = load_summary(project / "sliced.json")
    assert summary.asked[0].cells == ("old/old", "new/old", "cascade", "new/new", "naive")
    assert {(s.column, s.label) for s in summary.slices} == {("font", font) for font in fonts}


@pytest.mark.slow
def test_a_report_is_shown_again(project, tmp_path):
    assert run("evaluate", project / "settings.yaml").exit_code == 0
    report = project / "report.json"
    tables, markdown = run("report", report).stdout, run("report", report, "--markdown").stdout
    assert "text to image, 100 queries" in tables
    assert "| old/old |" in markdown
    assert json.loads(run("report", report, "--json").stdout)["schema"] == "embridge.report/2"
    page = tmp_path / "page.html"
    assert run("report", report, "--page", page, "--items", project).exit_code == 0
    assert page.read_text() == (project / "report.html").read_text()
    report.with_suffix(".parquet").rename(tmp_path / "away.parquet")  # figures need no values
    assert run("report", report).stdout == tables


@pytest.mark.slow
def test_two_reports_are_compared(project, by_xbt):
    for settings in (by_xbt[0], project / "settings.yaml"):
        assert run("evaluate", settings).exit_code == 0
    done = run("report", project / "report.json", "--compare", project / "b.json", "--json")
    changes = {(c["direction"], c["cell"], c["metric"]): c for c in json.loads(done.stdout)["changes"]}
    assert changes["t2i", "old/old", "recall_at_10"]["comparison"]["difference"]["value"] == 0
    own = changes["i2t", "new/old", "recall_at_10"]
    assert own["b"] == load_report(project / "b.json").mean("i2t", "new/old", "recall_at_10")
    compared = ("report", project / "report.json", "--compare", project / "b.json")
    shown = run(*compared).stdout.splitlines()
    assert shown[:2] == ["report.json: procrustes", "b.json: xbt-stage1"]
    assert shown[-1].startswith("new/old by R@10: text to image, ")
    assert re.search(r"old/old +R@10 .* identical", "\n".join(shown))
    markdown = run(*compared, "--markdown").stdout
    assert "| query/gallery | metric | report.json | b.json |" in markdown
    assert markdown.splitlines()[-1] == shown[-1] == json.loads(done.stdout)["sentence"]


@pytest.mark.slow
def test_options_that_would_be_ignored_are_refused(project):
    report = project / "report.json"
    for options, message in (
        (("--compare", report, "--page", "p.html"), "--page is of one report"),
        (("--items", project), "name the page with --page FILE"),
        (("--json", "--markdown"), "name one"),
    ):
        done = run("report", report, *options)
        assert (done.exit_code, message in done.stderr, done.stdout) == (2, True, "")


def test_a_report_that_is_none_ends_with_1(project, tmp_path):
    (tmp_path / "x.json").write_text("{}")
    for path, message in (
        (tmp_path / "x.json", "expected schema embridge.report/2"),
        (tmp_path / "no.json", "does not exist"),
    ):
        done = run("report", path)
        assert (done.exit_code, message in done.stderr) == (1, True)


@pytest.mark.slow
def test_vectors_in_files_give_the_same_figures_as_encoders(project):
    by_encoder = json.loads(run("evaluate", project / "settings.yaml", "--json").stdout)["cells"]
    pairs = list(csv.DictReader((project / "pairs.csv").read_text().splitlines()))
    models = {}
    for side, name in MODELS.items():
        encoder = load(name)
        texts, images = [row["text"] for row in pairs], [row["image"] for row in pairs]
        captions = list(dict.fromkeys((project / "captions.txt").read_text().split("\n")))
        parts = {
            "queries": (texts, encoder.encode(texts, modality="text")),
            "gallery": (images, encoder.encode([project / i for i in images], modality="image")),
            "captions": ([c for c in captions if c], encoder.encode([c for c in captions if c], modality="text")),
        }
        suffix = {"old": ".npy", "new": ".parquet"}[side]
        for part, (ids, vectors) in parts.items():
            write_vectors(Embeddings.of(vectors, encoder.space, ids), project / "vectors" / f"{side}-{part}{suffix}")
        models[side] = {part: f"vectors/{side}-{part}{suffix}" for part in parts}
    path = settings_of(
        project, "vectors", **models, fit={"method": "procrustes"}, upgrade="by-vectors", report="v.json"
    )
    assert run("fit", path).exit_code == 0
    assert json.loads(run("evaluate", path, "--json").stdout)["cells"] == by_encoder


@pytest.mark.slow
def test_evaluating_leaves_the_report_in_the_upgrade(project):
    assert run("evaluate", project / "settings.yaml").exit_code == 0
    card = (project / "upgrade" / "README.md").read_text()
    assert "| old/old |" in card
    assert "95 % interval" in card
    assert load_summary(project / "upgrade" / "report.json") == load_summary(project / "report.json")
    assert Upgrade.load(project / "upgrade").provenance.method == "procrustes"


@pytest.mark.slow
def test_a_file_of_vectors_is_searched_whole(tmp_path):
    """Items that no pair names stay in the gallery, as they would in the index."""
    generator = np.random.default_rng(0)
    spaces = {side: Space(side, "", 8) for side in ("old", "new")}
    vectors = generator.normal(size=(300, 8)).astype(np.float32)
    queries = vectors[:50] + 0.7 * generator.normal(size=(50, 8)).astype(np.float32)
    for side, space in spaces.items():
        write_vectors(Embeddings.of(vectors, space, [f"i{j}" for j in range(300)]), tmp_path / f"{side}-gallery.npy")
        write_vectors(Embeddings.of(queries, space, [f"q{j}" for j in range(50)]), tmp_path / f"{side}-queries.npy")
    (tmp_path / "pairs.csv").write_text("text,image\n" + "".join(f"q{j},i{j}\n" for j in range(50)))
    files = {
        part: {s: f"{s}-{name}.npy" for s in spaces} for part, name in (("gallery", "gallery"), ("queries", "queries"))
    }
    models = {
        s: {"gallery": files["gallery"][s], "queries": files["queries"][s], "captions": files["gallery"][s]}
        for s in spaces
    }
    settings = models | {
        "fit": {"method": "procrustes"},
        "evaluate": {"judged": "pairs.csv", "metrics": ["recall_at_1"]},
    }
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    assert run("fit", tmp_path / "settings.yaml").exit_code == 0
    cells = json.loads(run("evaluate", tmp_path / "settings.yaml", "--json").stdout)["cells"]
    similarity = (
        queries @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    )  # cosine, up to a factor a query
    assert cells["t2i"]["old/old"]["recall_at_1"] == pytest.approx((similarity.argmax(axis=1) == np.arange(50)).mean())
    assert (similarity[:, :50].argmax(axis=1) == np.arange(50)).mean() > cells["t2i"]["old/old"]["recall_at_1"]
    assert load_summary(tmp_path / "report.json").asked[0].gallery == 300


@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_one_line(project):
    (project / "taken.json").mkdir(exist_ok=True)
    done = run("evaluate", settings_of(project, "taken", report="taken.json"))
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.slow
def test_few_captions_warn_in_one_line(project):
    names = [glyphs.caption(c) for c in HELD_OUT[:20]]
    (project / "few.txt").write_text("\n".join(names))
    done = run("fit", settings_of(project, "few", fit={"captions": "few.txt", "method": "procrustes"}, upgrade="few"))
    assert done.exit_code == 0
    assert "warning: 20 pairs fit a map into 64 dimensions; at least 128 are advised" in done.stderr
    assert "stacklevel" not in done.stderr


@pytest.mark.slow
def test_a_model_folder_is_relative_to_the_settings(project):
    (project / "models").mkdir()
    (project / "models" / "old").symlink_to(glyph_models.folder("old"))
    path = settings_of(project, "relative", old="clip:models/old", upgrade="relative-made")
    assert run("fit", path).exit_code == 0
    upgrade = Upgrade.load(project / "relative-made")
    assert upgrade.provenance.encoders["old"] == f"clip:{project / 'models' / 'old'}"
    assert upgrade.old_space == load(MODELS["old"]).space


@pytest.mark.slow
def test_text_retrieval_has_one_direction(project):
    path = project / "documents.csv"
    path.write_text("query,document\n" + "".join(f"{glyphs.caption(c)},{glyphs.caption(c)}\n" for c in HELD_OUT[:20]))
    settings = settings_of(
        project, "texts", evaluate={"judged": "documents.csv", "metrics": ["recall_at_1"]}, report="texts.json"
    )
    cells = json.loads(run("evaluate", settings, "--json").stdout)["cells"]
    assert list(cells) == [""]
    assert cells[""]["new/new"]["recall_at_1"] == 1.0


@pytest.mark.slow
def test_search_with_the_new_model_on_the_old_index(project):
    name = glyphs.caption(HELD_OUT[0])
    done = run("search", project / "store", name, "--upgrade", project / "upgrade", "-k", "3", "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["query"], len(said["hits"])) == (name, 3)
    upgrade, encoder = Upgrade.load(project / "upgrade"), load(MODELS["new"])
    query = upgrade.to_index_space(Embeddings.of(encoder.encode([name], modality="text"), encoder.space))
    expected = open_store(project / "store").search(query, 3).ids[0]
    assert [hit["id"] for hit in said["hits"]] == list(expected)
    assert all(hit["payload"]["name"] for hit in said["hits"])


@pytest.mark.slow
def test_search_with_the_old_model_and_with_a_picture(project):
    picture = project / "pictures" / f"{glyphs.caption(HELD_OUT[3])}.png"
    done = run("search", project / "store", picture, "--image", "--encoder", MODELS["old"], "-k", "1", "--json")
    assert json.loads(done.stdout)["hits"][0]["payload"]["name"] == glyphs.caption(HELD_OUT[3])
    assert "arrow" in run("search", project / "store", "arrow", "--encoder", MODELS["old"]).stdout


@pytest.mark.slow
def test_search_with_the_wrong_model_ends_with_4(project):
    done = run("search", project / "store", "arrow", "--encoder", MODELS["new"])
    assert done.exit_code == 4
    assert "this store holds: old@" in done.stderr
    assert done.stdout == ""
    done = run("search", project / "store", "arrow", "--encoder", MODELS["old"], "--upgrade", project / "upgrade")
    assert done.exit_code == 4
    assert "of the old model already" in done.stderr


@pytest.mark.slow
def test_search_needs_an_encoder_and_a_store(project, tmp_path):
    assert run("search", project / "store", "arrow").exit_code == 2
    done = run("search", tmp_path / "nothing", "arrow", "--encoder", MODELS["old"])
    assert (done.exit_code, "does not exist" in done.stderr) == (1, True)
    done = run("search", project / "store", tmp_path / "x.png", "--image", "--encoder", MODELS["old"])
    assert done.exit_code == 1
    assert "x.png" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "message"), [("", "the query is empty"), (" \n", "the query is empty"), ("\udcff", "half of a character")]
)
def test_search_refuses_a_query_that_is_no_text(project, query, message):
    done = run("search", project / "store", query, "--encoder", MODELS["old"], "--json")
    assert (done.exit_code, done.stdout, message in done.stderr) == (1, "", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (
            {"fit": {"captions": "captions.txt", "sigma": 3}},
            2,
            "fit.sigma: there is no such key; there are captions",
        ),
        ({"old": {"encoder": "clip:x", "queries": "q.npy"}}, 2, "say either encoder, or files"),
        ({"fit": {"captions": "captions.txt", "method": "magic"}}, 2, "a method is one of"),
        ({"fit": {"captions": "captions.txt", "method": "xbt", "settings": {"noise": -1}}}, 2, "out of range"),
        ({"fit": {}}, 2, "name a text file with captions"),
        ({"old": "clip"}, 2, "an encoder is named PROVIDER:MODEL"),
        ({"old": "clip:no/such/folder"}, 2, "there is no folder "),
        ({"fit": {"captions": "empty.txt"}}, 1, "holds no caption"),
        ({"fit": {"captions": "missing.txt"}}, 2, "missing.txt does not exist"),
        ({"fit": {"captions": "pictures"}}, 1, "holds no file of captions"),
        ({"fit": {"captions": "captions.txt", "method": "procrustes"}, "upgrade": "pictures"}, 1, "not overwritten"),
    ],
)
def test_settings_that_cannot_work_say_why(project, changes, code, message):
    (project / "empty.txt").write_text("\n \n")
    done = run("fit", settings_of(project, "wrong", **changes))
    assert (done.exit_code, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected keys such as old, new"),
        ("old: [", "cannot be read as YAML"),
        ("{}", "old: Field required; new: Field required"),
    ],
)
def test_settings_that_are_none_say_so(tmp_path, content, message):
    (tmp_path / "settings.yaml").write_text(content)
    done = run("fit", tmp_path / "settings.yaml")
    assert (done.exit_code, message in done.stderr) == (2, True)


def test_settings_that_are_missing_are_not_called_damaged(tmp_path):
    done = run("fit", tmp_path / "nowhere.yaml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nowhere.yaml does not exist; expected a YAML settings file" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message", "code"),
    [
        ("text,image\n", "no rows", 1),
        ("caption,photo\na,b\n", "expected columns text and image", 2),
        ("text,image\na,pictures/none.png\n", "none.png", 1),
        ("text,image\n,pictures/x.png\n", "bad.csv, line 2: a cell is blank", 1),
    ],
)
def test_pairs_that_cannot_work_say_why(project, content, message, code):
    (project / "bad.csv").write_text(content)
    done = run("evaluate", settings_of(project, "bad", evaluate={"judged": "bad.csv"}))
    assert (done.exit_code, message in done.stderr) == (code, True)


@pytest.mark.slow
def test_evaluating_with_an_upgrade_of_other_models_ends_with_4(project):
    swapped = settings_of(project, "swapped", old=MODELS["new"], new=MODELS["old"])
    done = run("evaluate", swapped)
    assert done.exit_code == 4
    assert "expected vectors of" in done.stderr


def test_a_pickle_in_the_place_of_the_weights_is_never_read(project):
    copy = project / "hostile"
    Upgrade.load(project / "upgrade").save(copy)
    (copy / "weights.safetensors").write_bytes(pickle.dumps({"weight": [1.0]}))
    done = run("search", project / "store", "arrow", "--upgrade", copy)
    assert (done.exit_code, "truncated, altered or replaced" in done.stderr) == (1, True)


def test_tables_without_names_of_columns_have_no_line_for_them(capsys):
    print_table(["", ""], [["this is", "an upgrade"], ["method", "xbt"]], title="up")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line.split()[0] if line else "" for line in lines] == ["up", "this", "method", ""]


def test_inspect_a_store_and_good_vectors(project):
    done = run("inspect", project / "store", "--json")
    assert done.exit_code == 0
    (one,) = json.loads(done.stdout)["inspections"]
    assert (one["rows"], one["dim"], one["problems"]) == (100, 64, [])
    assert one["space"]["model"] == "old"
    assert one["norms"][1] == pytest.approx(1, abs=1e-3)
    assert "length" not in " ".join(one["suspicions"])
    assert "space" in run("inspect", project / "store").stdout


@pytest.mark.slow
def test_inspect_checks_the_search_of_a_store(project):
    done = run("inspect", project / "store", "--check-index", 30, "--json")
    assert done.exit_code == 0
    (one,) = json.loads(done.stdout)["inspections"]
    check = one["index_check"]
    assert check.pop("search_p50_milliseconds") > 0
    assert check == {"k": 10, "queries": 30, "recall": 1.0, "low": 1.0, "high": 1.0}
    assert "exact search" in done.stderr
    shown = run("inspect", project / "store", "--check-index", 1_000).stdout
    assert re.search(r"recall at 10 against exact search +1\.000 ± 0\.000 *\n", shown)
    assert re.search(r"queries checked, median +milliseconds +100, \d|queries checked, median +100, \d", shown)
    (plain,) = json.loads(run("inspect", project / "store", "--json").stdout)["inspections"]
    assert plain == one | {"index_check": None}


@pytest.mark.slow
def test_inspect_checks_the_search_through_an_index_by_space(tmp_path):
    store = open_store(tmp_path / "store", create=True)
    spaces = [Space("toy", revision, 16, "l2") for revision in ("indexed", "plain", "lone")]
    for space, n in zip(spaces, (1_000, 300, 1), strict=True):
        store.add_space(space)
        vectors = np.random.default_rng(0).normal(size=(n, 16)).astype(np.float32)
        store.upsert(Embeddings.of(vectors, space))
    table = lancedb.connect(str(store.path)).open_table(f"space_{spaces[0].id}")
    table.create_index("vector", config=IvfPq(distance_type="l2", num_partitions=4, num_sub_vectors=1))
    found = json.loads(run("inspect", store.path, "--check-index", 50, "--json").stdout)["inspections"]
    by_revision = {one["space"]["revision"]: one for one in found}
    indexed, plain = by_revision["indexed"]["index_check"], by_revision["plain"]["index_check"]
    assert 0 < indexed["low"] < indexed["recall"] < indexed["high"] < 0.9
    assert plain["recall"] == 1.0
    assert by_revision["lone"]["index_check"] is None
    assert by_revision["lone"]["suspicions"] == ["search was not checked: fewer than two rows can be found"]


def test_inspect_says_what_an_upgrade_is(tmp_path):
    new, old = Space("new", "1", 3), Space("old", "1", 2)
    Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")).save(tmp_path / "up")
    done = run("inspect", tmp_path / "up", "--json")
    assert done.exit_code == 0
    (one,) = json.loads(done.stdout)["inspections"]
    assert (one["kind"], one["facts"]["dims"], one["problems"]) == ("upgrade", "3 → 2", [])
    assert "an upgrade" in run("inspect", tmp_path / "up").stdout
    (tmp_path / "up" / "weights.safetensors").write_bytes(b"")
    done = run("inspect", tmp_path / "up")
    assert done.exit_code == 1
    assert "truncated, altered or replaced" in done.stderr


def test_inspect_has_no_index_to_check_in_a_file(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3, dtype=np.float32))
    done = run("inspect", tmp_path / "x.npy", "--check-index", 5)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "x.npy is a file, which has no index to check; name a store's folder" in done.stderr
    assert run("inspect", tmp_path / "x.npy", "--check-index", -1).exit_code == 2


def test_inspect_finds_what_is_wrong(tmp_path):
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(200, 8)).astype(np.float32)
    vectors[3, 1], vectors[7], vectors[9] = np.nan, 0, vectors[8]
    np.save(tmp_path / "bad.npy", vectors)
    done = run("inspect", tmp_path / "bad.npy", "--json")
    (one,) = json.loads(done.stdout)["inspections"]
    assert done.exit_code == 1
    assert (one["not_finite_rows"], one["zero_rows"], one["duplicate_vectors"]) == (1, 1, 1)
    assert one["problems"] == ["1 rows hold NaN or infinity"]
    assert one["space"] is None


def test_inspect_says_calmly_what_repeated_vectors_mean(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(1_000, 8)).astype(np.float32)
    vectors[500:800] = vectors[:300]
    np.save(tmp_path / "twins.npy", vectors)
    vectors[800:] = vectors[0]
    np.save(tmp_path / "failed.npy", vectors)
    said = {}
    for name in ("twins", "failed"):
        (one,) = json.loads(run("inspect", tmp_path / f"{name}.npy", "--json").stdout)["inspections"]
        said[name] = " ".join(one["suspicions"])
    assert "300 rows (30%) repeat an earlier row's vector, none more than 2 times" in said["twins"]
    assert "fine, unless they should all differ" in said["twins"]
    assert "one vector stands in 202 of 1,000 rows: did the encoder fail there" in said["failed"]


def test_inspect_finds_repeated_ids(tmp_path):
    write_vectors(Embeddings.of(np.eye(3, dtype=np.float32), Space("a", "", 3)), tmp_path / "x.npy")
    sidecar = tmp_path / "x.npy.json"
    sidecar.write_text(sidecar.read_text().replace('"2"', '"1"'))
    (one,) = json.loads(run("inspect", tmp_path / "x.npy", "--json").stdout)["inspections"]
    assert one["problems"] == ["1 ids repeat"]


@pytest.mark.slow
def test_inspect_suspects_mixing_only_where_two_models_are_mixed(tmp_path):
    drawn = glyphs.render(HELD_OUT)
    one_model = load(MODELS["old"]).encode(drawn.images, modality="image")
    other = load(MODELS["new"]).encode(drawn.images, modality="image")[:, :64]
    for name, rows in (("pure", one_model), ("mixed", np.concatenate([one_model[::2], other[1::2]]))):
        np.save(tmp_path / f"{name}.npy", np.ascontiguousarray(rows))
    said = {n: json.loads(run("inspect", tmp_path / f"{n}.npy", "--json").stdout) for n in ("pure", "mixed")}
    suspicions = {n: " ".join(s["inspections"][0]["suspicions"]) for n, s in said.items()}
    assert "suspected mixing" in suspicions["mixed"]
    assert "suspected mixing" not in suspicions["pure"]


def test_usage_errors_end_with_2(tmp_path):
    assert run("inspect").exit_code == 2
    assert run("no-such-command").exit_code == 2
    assert run("search", tmp_path, "x", "-k", "0").exit_code == 2
    assert run("--version").stdout.strip() == "0.1.0"


def wait_for(process, word):
    """Wait until it has said the word."""
    deadline = time.monotonic() + 120
    while word not in process.stderr and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert word in process.stderr


@pytest.mark.slow
def test_an_interrupted_fit_ends_with_130_and_leaves_the_earlier_upgrade(project, start):
    before = {p.name: p.read_bytes() for p in (project / "upgrade").iterdir()}
    fit = {
        "captions": "captions.txt",
        "method": "xbt",
        "settings": {"training": {"min_steps": 1_000_000, "patience": 1_000}},
    }
    process = start("fit", settings_of(project, "long", fit=fit))
    wait_for(process, "xbt")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert {p.name: p.read_bytes() for p in (project / "upgrade").iterdir()} == before
    assert [p.name for p in project.iterdir() if p.name.startswith(".")] == [".embridge-cache"]


@pytest.mark.slow
def test_an_interrupted_demo_ends_with_130_and_leaves_nothing(tmp_path, monkeypatch):
    """Right after its store was written, by LanceDB's own threads; with some of the pictures."""
    drawn, write, written = glyphs.render(glyphs.split()["test"][:40]), LanceStore.upsert, []

    def interrupted(store, *rows):
        write(store, *rows)
        written.append(list(tmp_path.rglob("*.lance")))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(glyphs, "render", lambda: drawn)
    monkeypatch.setattr(LanceStore, "upsert", interrupted)
    done = run("demo", "--out", tmp_path / "demo")
    assert (done.exit_code, done.stdout) == (130, "")
    assert "interrupted: " in done.stderr
    assert len(written) == 1
    assert written[0] != []
    assert list(tmp_path.iterdir()) == []


def test_the_demo_refuses_a_folder_with_other_things(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    done = run("demo", "--out", tmp_path)
    assert done.exit_code == 1
    assert "not overwritten" in done.stderr
    assert [p.name for p in Path(tmp_path).iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_terminated_fit_ends_with_143_and_one_line(project, start):
    fit = {
        "captions": "captions.txt",
        "method": "xbt",
        "settings": {"training": {"min_steps": 10**6, "patience": 10**3}},
    }
    process = start("fit", settings_of(project, "terminated", fit=fit))
    wait_for(process, "xbt")
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (143, "")
    assert stderr.splitlines()[-1] == "terminated: what was written before is whole; run the same command again"
    assert "Traceback" not in stderr
    assert [p.name for p in project.iterdir() if p.name.startswith(".")] == [".embridge-cache"]


def test_a_slow_rate_is_told_as_seconds_each(capsys, monkeypatch):
    clock = iter([0.0, 25.0])
    monkeypatch.setattr("embridge.cli._terminal.monotonic", lambda: next(clock))
    with progress_bars() as progress:
        progress(0, 5, "choose")
        progress(5, 5, "choose")
    assert capsys.readouterr().err.splitlines()[-1] == "choose: 5/5, 5.0 s each"


def test_brackets_in_texts_are_printed_as_they_are(capsys):
    print_table(["a [/x]", "b"], [["[/b] black", "recall_at_10[script] [red]"]], title="a [/title]")
    printed = capsys.readouterr().out
    for text in ("a [/x]", "[/b] black", "recall_at_10[script] [red]", "a [/title]"):
        assert text in printed


def test_a_demo_does_not_overwrite_a_project_with_a_report(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "judged.csv").write_text("text,image\n")
    done = run("demo", "--out", tmp_path)
    assert done.exit_code == 1
    assert "holds other things (judged.csv) and is not overwritten" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["judged.csv", "report.json"]
    (tmp_path / "judged.csv").unlink()
    done = run("demo", "--out", tmp_path)
    assert (done.exit_code, "holds other things (no embridge-demo.json in it)" in done.stderr) == (1, True)
