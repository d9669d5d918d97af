"""`fit.validation_pairs`: image-text pairs that XBT is judged by while it trains."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from embridge import Upgrade
from embridge.cli import app
from embridge.datasets import glyph_models, glyphs
from embridge.datasets.image_text import read_image_text
from embridge.encoders import load
from embridge.errors import InvalidInput, SettingsError
from embridge.jobs._fit_inputs import read_fit_inputs
from embridge.jobs._validation_pairs import encoded_validation_pairs
from embridge.jobs.fit import fit_upgrade
from embridge.jobs.models import Models
from embridge.settings import load_settings

MODELS = {side: f"clip:{glyph_models.folder(side)}" for side in ("old", "new")}
SHORT = {"min_steps": 40, "epochs": 1}
QUICK = {"hidden_width": 32, "precision": "float32", "training": SHORT}
FIT = {"captions": "captions.txt", "method": "xbt", "settings": QUICK, "validation_pairs": "pairs.csv"}


def write_table(path, rows, columns=("text", "image")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def settings_of(folder, name="settings", **changes):
    evaluate = {"judged": "judged.csv", "metrics": ["recall_at_10"], "cells": []}
    said = MODELS | {"fit": FIT, "evaluate": evaluate, "upgrade": name, "report": f"{name}.json"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(said | changes))
    return load_settings(folder / f"{name}.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Names to fit on, pairs to judge by, where the first two share an image, and pairs to report on."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pictures").mkdir()
    parts = glyphs.split()
    (folder / "captions.txt").write_text("\n".join(glyphs.caption(c) for c in parts["train"][::4]))
    for name, code_points in (("pairs.csv", parts["validation"][:150]), ("judged.csv", parts["test"][:40])):
        drawn, rows = glyphs.render(code_points, one_each=True), []
        for number, text, image in zip(drawn.code_points, drawn.captions, drawn.images, strict=True):
            Image.fromarray(image).save(folder / "pictures" / f"{number}.png")
            rows.append((text, f"pictures/{number}.png"))
        if name == "pairs.csv":
            rows.insert(1, ("what a picture", rows[0][1]))
        write_table(folder / name, rows)
    return folder


def real_pairs(settings):
    """What ``fit.validation_pairs`` names, as both models see it."""
    return encoded_validation_pairs(settings, read_fit_inputs(settings).validation_pairs, Models())


@pytest.mark.slow
def test_both_models_see_the_pairs(project):
    settings = settings_of(project, "seen")
    real = real_pairs(settings)
    pairs = read_image_text(project / "pairs.csv")
    old, new = (load(MODELS[side]) for side in ("old", "new"))
    for side, encoder, items, modality in (
        (real.new_images, new, pairs.images, "image"),
        (real.new_texts, new, pairs.captions, "text"),
        (real.old_images, old, pairs.images, "image"),
        (real.old_texts, old, pairs.captions, "text"),
    ):
        assert side.space == encoder.space
        np.testing.assert_allclose(side.vectors, encoder.encode(items, modality=modality), atol=1e-5)
    assert len(real) == len(pairs) - 1
    assert real.groups[0] == real.groups[1]
    fit = {key: value for key, value in FIT.items() if key != "validation_pairs"}
    assert real_pairs(settings_of(project, "none", fit=fit)) is None


@pytest.mark.slow
def test_xbt_is_judged_by_them_from_settings_to_upgrade(project):
    settings_of(project, "whole")
    done = CliRunner().invoke(app, ["fit", str(project / "whole.yaml"), "--json"])
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    real = real_pairs(load_settings(project / "whole.yaml"))
    upgrade = Upgrade.load(project / "whole")
    assert figures["judged_by"] == f"{len(real)} image-text pairs, i2t and t2i"
    assert upgrade.provenance.figures == figures
    by_text = fit_upgrade(settings_of(project, "text", fit={**FIT, "validation_pairs": None})).upgrade
    assert by_text.provenance.figures["validation_scores"] != figures["validation_scores"]
    assert by_text.provenance.data != upgrade.provenance.data


@pytest.mark.slow
def test_the_score_is_of_the_searches_themselves(project):
    """What training starts at, once more with the encoders and the bridge of the closed form."""
    fit = FIT | {
        "settings": QUICK
        | {"closed_form": "procrustes", "center": False, "training": SHORT | {"validation_fraction": 0.001}}
    }
    settings = settings_of(project, "start", fit=fit)
    figures = fit_upgrade(settings).upgrade.provenance.figures
    rotation = {"captions": "captions.txt", "method": "procrustes", "settings": {"center": False}}
    closed = fit_upgrade(settings_of(project, "closed", fit=rotation))
    real = real_pairs(settings)
    texts = load(MODELS["old"]).encode((project / "captions.txt").read_text().splitlines(), modality="text")
    expected = real.reciprocal_ranks(closed.upgrade.bridge.apply, texts)
    assert figures["validation_scores"][0] == pytest.approx(expected.mean(), abs=0.01)


@pytest.mark.slow
def test_fit_says_how_near_the_bridge_is_to_an_isometry(project):
    fit = FIT | {
        "settings": {"hidden_width": 0, "closed_form": "procrustes", "center": False},
        "validation_pairs": None,
    }
    settings_of(project, "rotation", fit=fit)
    done = CliRunner().invoke(app, ["fit", str(project / "rotation.yaml")])
    assert done.exit_code == 0, done.stderr
    assert "nine in ten of them by 1.00 to 1.00 times that (a rotation: 1.00 to 1.00)" in done.stdout
    fit = {"captions": "captions.txt", "method": "procrustes"}
    assert fit_upgrade(settings_of(project, "unmeasured", fit=fit)).stretch == ""


@pytest.mark.slow
def test_an_old_model_of_texts_alone_is_searched_by_images(project):
    class Texts:
        """The old model's text tower."""

        def __init__(self, encoder):
            self.space, self.encode, self.modalities = encoder.space, encoder.encode, frozenset({"text"})

    settings, models = settings_of(project, "texts"), Models()

    class OldOfTexts(Models):
        """The models, of which the old one is a text tower."""

        def encoder(self, model):
            encoder = models.encoder(model)
            return Texts(encoder) if model.encoder == MODELS["old"] else encoder

    real = encoded_validation_pairs(settings, read_fit_inputs(settings).validation_pairs, OldOfTexts())
    assert real.old_images is None
    assert real.directions == ("i2t",)
    with pytest.raises(SettingsError, match=r"new encodes their images, and sentence-transformers:mini takes none"):
        fit_upgrade(settings_of(project, "texts", new="sentence-transformers:mini"))


@pytest.mark.slow
def test_the_candidate_xbt_of_a_choice_is_judged_by_them(project):
    fit = FIT | {"method": "choose", "settings": {"candidates": ["xbt"], "settings": {"xbt": QUICK}}}
    made = fit_upgrade(settings_of(project, "chosen", fit=fit))
    assert made.upgrade.provenance.figures["judged_by"].endswith("image-text pairs, i2t and t2i")


# What is refused before any work


@pytest.mark.slow
@pytest.mark.parametrize(("key", "name"), [("evaluate", "evaluate.judged"), ("judged", "fit.judged")])
def test_pairs_that_are_measured_by_are_refused(project, tmp_path, key, name):
    for file in ("captions.txt", "judged.csv"):
        shutil.copyfile(project / file, tmp_path / file)
    (tmp_path / "pictures").symlink_to(project / "pictures")
    measured = list(csv.reader((project / "judged.csv").read_text().splitlines()))[1:]
    own = list(csv.reader((project / "pairs.csv").read_text().splitlines()))[1:]
    changes = {"evaluate": {"judged": "judged.csv"}}
    if key == "judged":
        fit = FIT | {"method": "choose", "judged": "judged.csv", "settings": {"candidates": ["xbt"]}}
        changes = {"evaluate": None, "fit": fit}
    for row, message in (
        ((measured[3][0], own[0][1]), f"share 1 texts, first '{measured[3][0]}'"),
        (("a new text", measured[3][1]), r"share 1 images, first '.*\.png'"),
    ):
        write_table(tmp_path / "pairs.csv", [*own, row])
        with pytest.raises(SettingsError, match=f"fit.validation_pairs and {name} {message}: a bridge whose weights"):
            fit_upgrade(settings_of(tmp_path, **changes))
    assert not (tmp_path / ".embridge-cache").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": FIT | {"validation_pairs": "none.csv"}}, r"fit\.validation_pairs: .*none\.csv does not exist"),
        ({"fit": FIT | {"method": "procrustes", "settings": {}}}, "only xbt is judged .* the method is procrustes"),
        (
            {"fit": FIT | {"method": "choose", "settings": {"candidates": ["ridge"]}}},
            "only xbt is judged .* the method is choose",
        ),
        ({"old": {"captions": "captions.txt"}}, "both models encode these pairs, and old is files of vectors"),
    ],
)
def test_what_cannot_be_judged_by_is_refused_before_any_work(project, tmp_path, changes, message):
    for file in ("captions.txt", "pairs.csv", "judged.csv"):
        shutil.copyfile(project / file, tmp_path / file)
    (tmp_path / "pictures").symlink_to(project / "pictures")
    with pytest.raises(SettingsError, match=message):
        fit_upgrade(settings_of(tmp_path, **changes))
    assert not (tmp_path / ".embridge-cache").exists()


def test_pairs_of_texts_alone_are_refused(project, tmp_path):
    shutil.copyfile(project / "captions.txt", tmp_path / "captions.txt")
    shutil.copyfile(project / "judged.csv", tmp_path / "judged.csv")
    write_table(tmp_path / "pairs.csv", [("what is it", "a star")], columns=("query", "document"))
    with pytest.raises(InvalidInput, match="columns text and image; these are of texts alone"):
        fit_upgrade(settings_of(tmp_path))
