"""`embridge fit` with image-text pairs: trained after the bridge, taken up again, measured and searched with."""

import contextlib
import csv
import json
import re
import shutil
import signal
import sys
import time

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from embridge import Embeddings, Upgrade
from embridge.adapters.base import normalized
from embridge.cli import app
from embridge.datasets import glyph_models, glyphs
from embridge.encoders import load
from embridge.errors import SettingsError, SpaceMismatch
from embridge.jobs.evaluate import evaluate_upgrade
from embridge.jobs.fit import fit_upgrade
from embridge.nearest import top_k
from embridge.settings import load_settings
from embridge.stores import open_store
from embridge.vector_files import write_vectors

pytestmark = pytest.mark.slow  # what its models need is trained for all

MODELS = {side: f"clip:{glyph_models.folder(side)}" for side in ("old", "new")}
FINETUNE = {
    "batch_size": 32, "epochs": 2, "learning_rate": 0.001, "checks": 2, "validation_fraction": 0.25,
    "warmup_fraction": 0.5,
    "checkpoint_every_steps": 2, "target_modules": ["q_proj", "v_proj"],
}  # fmt: skip
FIT = {"captions": "captions.txt", "method": "procrustes", "settings": {"center": False}}
TUNED = FIT | {"finetune_pairs": "pairs.csv", "finetune": FINETUNE}


def write_pairs(path, code_points):
    drawn = glyphs.render(code_points, one_each=True)
    (path.parent / "pictures").mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "image"])
        for number, name, image in zip(drawn.code_points, drawn.captions, drawn.images, strict=True):
            Image.fromarray(image).save(path.parent / "pictures" / f"{number}.png")
            table.writerow([name, f"pictures/{number}.png"])


def settings_of(folder, name="settings", **changes):
    evaluate = {"judged": "judged.csv", "metrics": ["recall_at_1", "recall_at_10"], "cells": []}
    said = MODELS | {"fit": TUNED, "evaluate": evaluate, "upgrade": name, "report": f"{name}.json"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(said | changes))
    return load_settings(folder / f"{name}.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Captions, pairs to train on, and pairs to report on, of characters that are apart."""
    folder = tmp_path_factory.mktemp("project")
    parts = glyphs.split()
    (folder / "captions.txt").write_text("\n".join(glyphs.caption(c) for c in parts["train"][::4]))
    write_pairs(folder / "pairs.csv", parts["validation"][:240])
    write_pairs(folder / "judged.csv", parts["test"][:80])
    return folder


@pytest.fixture(scope="module")
def fitted(project):
    return fit_upgrade(settings_of(project, "whole"))


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def bytes_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Fit


def test_the_upgrade_is_of_the_model_with_the_lora(project, fitted):
    upgrade = Upgrade.load(project / "whole")
    figures = upgrade.provenance.figures
    assert (upgrade.provenance.method, figures["stage_1"], figures["steps"]) == ("xbt-stage2", "procrustes", 10)
    assert figures["best_step"] > 0
    assert upgrade.lora == project / "whole" / "lora"
    assert upgrade.provenance.encoders == MODELS
    assert upgrade.new_space == load(MODELS["new"], lora=upgrade.lora).space
    assert f"on top of procrustes; held-out score {figures['held_out_scores'][0]:.3f} before" in fitted.sentence
    assert fitted.folds.startswith("this bridge is of the new model with the upgrade's LoRA")
    assert fitted.to_dict()["foldable_into"] == []


def test_an_upgrade_with_a_lora_is_not_folded_into_the_model_without(project, fitted):
    done = run("export", project / "whole", "--fold", MODELS["new"], "--out", project / "folded")
    assert (done.exit_code, "an upgrade with a LoRA cannot be folded" in done.stderr) == (2, True)
    assert not (project / "folded").exists()


def test_the_same_command_goes_on_where_it_was_stopped(project, fitted):
    settings = settings_of(project, "stopped", fit=TUNED | {"cache": "apart"})
    told = []

    def progress(done, total, what):
        if what == "finetune steps":
            told.append(done)
            if told == [1, 2, 3, 4, 5]:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_upgrade(settings, progress=progress)
    assert not settings.upgrade.exists()
    (kept,) = (project / "apart").glob("xbt-stage2-*")
    fit_upgrade(settings, progress=progress)
    assert told == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]
    assert list((project / "apart").glob("xbt-stage2-*")) == [kept]
    assert bytes_of(settings.upgrade) == bytes_of(project / "whole")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_process_that_was_ended_is_taken_up_by_the_same_command(project, start, sent, code):
    finetune = FINETUNE | {"epochs": 5, "checkpoint_every_steps": 1}
    name = f"ended-{int(sent)}"
    settings_of(project, name, fit=TUNED | {"finetune": finetune, "cache": name + "-cache"})
    process = start("fit", project / f"{name}.yaml")
    deadline, written = time.monotonic() + 300, set()
    while len(written) < 4 and time.monotonic() < deadline:  # so that more than one step is kept
        with contextlib.suppress(FileNotFoundError):
            written |= {f.stat().st_mtime_ns for f in (project / f"{name}-cache").glob("xbt-stage2-*/last.ckpt")}
        time.sleep(0.01)
    process.send_signal(sent)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (code, ""), stderr
    assert "Traceback" not in stderr
    assert not (project / name).exists()
    done = run("fit", project / f"{name}.yaml")
    assert done.exit_code == 0, done.stderr
    assert 1 < int(re.search(r"finetune steps: (\d+)/25", done.stderr)[1]) <= 25
    assert Upgrade.load(project / name).provenance.figures["steps"] == 25


def test_other_settings_are_another_training(project, fitted):
    before = set((project / ".embridge-cache").glob("xbt-stage2-*"))
    fit_upgrade(settings_of(project, "other", fit=TUNED | {"finetune": FINETUNE | {"rank": 2, "epochs": 1}}))
    after = set((project / ".embridge-cache").glob("xbt-stage2-*"))
    assert len(after - before) == 1
    assert before < after


def test_where_no_step_helps_that_is_said_and_the_upgrade_is_that_of_the_bridge(project, bridge_cells):
    finetune = FINETUNE | {"learning_rate": 10.0, "projection_learning_rate": 10.0, "warmup_fraction": 0.0}
    settings = settings_of(project, "harm", fit=TUNED | {"finetune": finetune})
    made = fit_upgrade(settings)
    assert made.upgrade.lora is None
    assert re.search(r"no step scored above the start \(0\.\d+\), so this is the upgrade of procrustes", made.sentence)
    assert evaluate_upgrade(settings).headline()["cells"] == bridge_cells


def test_pairs_on_the_command_line_follow_the_choice(project):
    fit = {"captions": "captions.txt", "settings": {"candidates": ["procrustes"]}, "finetune": FINETUNE | {"epochs": 1}}
    settings_of(project, "chosen", fit=fit)
    done = run("fit", project / "chosen.yaml", "--finetune-pairs", project / "pairs.csv", "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["method"], said["figures"]["stage_1"]) == ("xbt-stage2", "procrustes")
    assert said["figures"]["chosen_from"][0]["method"] == said["candidates"][0]["method"] == "procrustes"
    assert "finetune steps" in done.stderr
    done = run("fit", project / "chosen.yaml")
    assert (done.exit_code, "name them in fit.finetune_pairs" in done.stderr) == (2, True)


def test_a_choice_that_cannot_be_trained_on_is_said(project):
    fit = TUNED | {"method": "choose", "settings": {"candidates": ["low-rank"]}}
    settings = settings_of(project, "low", fit=fit)
    with pytest.raises(
        SettingsError, match="low-rank made one that is backward and composed; set method: xbt, name other"
    ):
        fit_upgrade(settings)
    assert not settings.upgrade.exists()


# What is refused before any work


def test_pairs_that_are_reported_on_are_refused(project, tmp_path):
    shutil.copytree(project / "pictures", tmp_path / "pictures")
    shutil.copyfile(project / "captions.txt", tmp_path / "captions.txt")
    rows = list(csv.reader((project / "judged.csv").read_text().splitlines()))[1:]
    own = list(csv.reader((project / "pairs.csv").read_text().splitlines()))[1:]
    judged = [*rows, (own[3][0], "pictures/none.png"), ("a new text", f"./pictures/../{own[5][1]}")]
    for rows, message in (
        (judged, f"share 1 texts, first '{own[3][0]}'"),
        (judged[:-2] + judged[-1:], r"share 1 images, first '.*\.png'"),
    ):
        for name, part in (("judged.csv", rows), ("pairs.csv", own)):
            with (tmp_path / name).open("w", newline="") as file:
                csv.writer(file).writerows([("text", "image"), *part])
        with pytest.raises(
            SettingsError, match=f"fit.finetune_pairs and evaluate.judged {message}: a model trained on what is"
        ):
            fit_upgrade(settings_of(tmp_path))
    assert not (tmp_path / ".embridge-cache").exists()


def test_texts_that_are_reported_on_are_refused_as_documents_too(project, tmp_path):
    for name in ("captions.txt", "pairs.csv"):
        shutil.copyfile(project / name, tmp_path / name)
    (tmp_path / "pictures").symlink_to(project / "pictures")
    own = (project / "pairs.csv").read_text().splitlines()[4].partition(",")[0]
    (tmp_path / "judged.csv").write_text(f"query,document\nwhat is it,{own}\n")
    with pytest.raises(SettingsError, match=f"share 1 texts, first '{own}'"):
        fit_upgrade(settings_of(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": TUNED | {"finetune_pairs": "none.csv"}}, r"fit\.finetune_pairs: .*none\.csv does not exist"),
        ({"fit": TUNED | {"method": "fct", "settings": {}}}, "linear or an mlp; fct makes none: set method: xbt"),
        ({"fit": TUNED | {"finetune": {"ranks": 3}}}, "fit.finetune has no setting ranks; it has "),
        ({"fit": TUNED | {"finetune": {"rank": "3"}}}, "fit.finetune: rank: Input should be a valid integer, came '3'"),
        ({"fit": TUNED | {"finetune": {"rank": 0}}}, "finetune: rank is a whole number of at least 1, came 0"),
        ({"fit": TUNED | {"finetune": {}}}, r"batch_size 256 is more than the \d+ pairs there are to train on"),
        ({"fit": FIT | {"finetune": {"rank": 3}}}, r"image-text pairs: name them in fit\.finetune_pairs"),
        (
            {"new": "sentence-transformers:some/model"},
            "takes a LoRA .clip:MODEL.; it is sentence-transformers:some",
        ),
        ({"new": {"captions": "captions.txt"}}, "takes a LoRA .clip:MODEL.; it is files of vectors"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(project, tmp_path, changes, message):
    for name in ("captions.txt", "pairs.csv", "judged.csv"):
        shutil.copyfile(project / name, tmp_path / name)
    (tmp_path / "pictures").symlink_to(project / "pictures")
    with pytest.raises(SettingsError, match=message):
        fit_upgrade(settings_of(tmp_path, **changes))
    assert not (tmp_path / ".embridge-cache").exists()


@pytest.mark.parametrize("library", ["lightning", "peft"])
def test_the_extra_is_missed_before_any_work(project, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    settings = settings_of(project, "missing", fit=TUNED | {"cache": "nothing"})
    with pytest.raises(ImportError, match=rf"{library} is needed here .*embridge\[finetune\]"):
        fit_upgrade(settings)
    assert not (project / "nothing").exists()


# Evaluate and search


@pytest.fixture(scope="module")
def bridge_cells(project):
    settings = settings_of(project, "first", fit=FIT)
    fit_upgrade(settings)
    return evaluate_upgrade(settings).headline()["cells"]


def judged_of(project):
    rows = list(csv.DictReader((project / "judged.csv").read_text().splitlines()))
    return {"text": [row["text"] for row in rows], "image": [str(project / row["image"]) for row in rows]}


def encoded(encoder, items):
    return {modality: encoder.encode(items[modality], modality=modality) for modality in ("text", "image")}


def recall_at_1(queries, gallery):
    return (top_k(queries, gallery, 1).rows[:, 0] == np.arange(len(queries))).mean()


def test_new_new_is_without_the_lora_and_new_old_has_it(project, fitted, bridge_cells):
    made = evaluate_upgrade(settings_of(project, "whole")).headline()["cells"]
    upgrade, items = Upgrade.load(project / "whole"), judged_of(project)
    tuned, old = encoded(load(MODELS["new"], lora=upgrade.lora), items), encoded(load(MODELS["old"]), items)
    bridged = {modality: normalized(upgrade.bridge.apply(rows)) for modality, rows in tuned.items()}
    for direction, asks, answers in (("t2i", "text", "image"), ("i2t", "image", "text")):
        for cell in ("old/old", "new/new", "naive"):
            assert made[direction][cell] == bridge_cells[direction][cell]
        expected = recall_at_1(bridged[asks], old[answers])
        assert made[direction]["new/old"]["recall_at_1"] == pytest.approx(expected, abs=1e-6)
    assert made["i2t"]["new/old"] != bridge_cells["i2t"]["new/old"]


def test_vectors_in_files_have_to_be_of_the_lora(project, fitted):
    upgrade, items = Upgrade.load(project / "whole"), judged_of(project)
    ids = {"text": items["text"], "image": [path.removeprefix(f"{project}/") for path in items["image"]]}
    files = {}
    for name, encoder in (("without-lora", load(MODELS["new"])), ("tuned", load(MODELS["new"], lora=upgrade.lora))):
        files[name] = {}
        for part, modality in (("queries", "text"), ("gallery", "image")):
            vectors = Embeddings.of(encoder.encode(items[modality], modality=modality), encoder.space, ids[modality])
            write_vectors(vectors, project / f"{name}-{part}.parquet")
            files[name][part] = f"{name}-{part}.parquet"
    by_encoder = evaluate_upgrade(settings_of(project, "whole")).headline()["cells"]
    whole = settings_of(project, "whole", new=files["tuned"], new_without_lora=files["without-lora"])
    assert evaluate_upgrade(whole).headline()["cells"] == by_encoder
    with pytest.warns(UserWarning, match="a backfill would be of the model without; name its vectors"):
        alone = evaluate_upgrade(settings_of(project, "whole", new=files["tuned"])).headline()["cells"]
    assert alone["i2t"]["new/old"] == by_encoder["i2t"]["new/old"]
    with pytest.raises(SpaceMismatch, match=r"new: this upgrade is of .*whose recipe is '.*lora \w{12}'"):
        evaluate_upgrade(settings_of(project, "whole", new=files["without-lora"]))


def test_a_store_is_searched_with_the_lora(project, fitted):
    upgrade, items, old = Upgrade.load(project / "whole"), judged_of(project), load(MODELS["old"])
    store = open_store(project / "store", create=True)
    store.add_space(old.space)
    store.upsert(Embeddings.of(old.encode(items["image"], modality="image"), old.space, items["text"]))
    tuned = load(MODELS["new"], lora=upgrade.lora)
    query = Embeddings.of(tuned.encode(items["text"][:1], modality="text"), tuned.space)
    expected = store.search(upgrade.to_index_space(query), 5)
    for named in ((), ("--encoder", MODELS["new"])):
        searched = ("search", project / "store", items["text"][0], "--upgrade", project / "whole", "-k", "5", "--json")
        done = run(*searched, *named)
        assert done.exit_code == 0, done.stderr
        hits = json.loads(done.stdout)["hits"]
        assert [hit["id"] for hit in hits] == list(expected.ids[0])
        assert [hit["score"] for hit in hits] == pytest.approx(expected.scores[0].tolist())
    done = run(*searched, "--encoder", "sentence-transformers:some/model")
    assert (done.exit_code, "a model with a LoRA, which only clip:MODEL takes" in done.stderr) == (2, True)
