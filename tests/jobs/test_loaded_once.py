"""Each job loads a model once, and reads a file once; what a cache holds is not even loaded for."""

import csv
import inspect
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from embridge.datasets import glyph_models, glyphs
from embridge.encoders import providers
from embridge.jobs.evaluate import evaluate_upgrade
from embridge.jobs.fit import fit_upgrade
from embridge.jobs.train import train_model
from embridge.settings import load_settings, load_training_settings

OLD, NEW = (f"clip:{glyph_models.folder(side)}" for side in ("old", "new"))
QUICK = {"hidden_width": 16, "training": {"epochs": 1, "min_steps": 20, "batch_size": 256}}

_opened = Counter()
_watching = False


def _hear(event, arguments):
    if _watching and event == "open" and isinstance(arguments[0], (str, Path)) and "r" in str(arguments[1]):
        _opened[Path(arguments[0]).name] += 1


sys.addaudithook(_hear)  # it stays for the process, and hears nothing but within `counted`


@contextmanager
def counted(monkeypatch):
    """How often each model is loaded, and each file opened to be read."""
    global _watching
    loaded, opened = Counter(), Counter()
    with monkeypatch.context() as patch:
        for name, provider in providers.PROVIDERS.items():
            if name in ("clip", "trained"):
                kind = provider.encoder_class()
                patch.setattr(kind, "__init__", _counting(kind.__init__, loaded))
        _opened.clear()
        _watching = True
        try:
            yield loaded, opened
        finally:
            _watching = False
            opened.update(_opened)


def _counting(whole, loaded):
    def init(self, model, **options):
        if isinstance(model, (str, Path)):  # not one that is in memory, as what was just trained is
            loaded[Path(model).name] += 1
        whole(self, model, **options)

    init.__signature__ = inspect.signature(whole)
    return init


def write_pairs(path, code_points):
    drawn = glyphs.render(code_points, one_each=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "image"))
        for number, text, image in zip(drawn.code_points, drawn.captions, drawn.images, strict=True):
            Image.fromarray(image).save(path.parent / f"{number}.png")
            writer.writerow((text, f"{number}.png"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """All that a fit can read: captions, pairs to judge, to validate and to choose by, and pairs to finetune on."""
    folder, parts = tmp_path_factory.mktemp("project"), glyphs.split()
    (folder / "captions.txt").write_text("\n".join(glyphs.caption(c) for c in parts["train"][::4]))
    for name, code_points in (
        ("validation.csv", parts["validation"][:120]),
        ("choose.csv", parts["validation"][120:200]),
        ("finetune.csv", parts["validation"][200:300]),
        ("judged.csv", parts["test"][:40]),
    ):
        write_pairs(folder / name, code_points)
    settings = {
        "old": OLD,
        "new": NEW,
        "fit": {
            "captions": "captions.txt",
            "settings": {"candidates": ["procrustes", "xbt"], "settings": {"xbt": QUICK}},
            "validation_pairs": "validation.csv",
            "judged": "choose.csv",
            "finetune_pairs": "finetune.csv",
            "finetune": {"epochs": 2, "batch_size": 32, "learning_rate": 0.003, "checks": 2},
        },
        "evaluate": {"judged": "judged.csv", "metrics": ["recall_at_1"]},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    return folder


TABLES = ("captions.txt", "validation.csv", "choose.csv", "finetune.csv", "judged.csv", "settings.yaml")


@pytest.mark.slow
def test_fit_and_evaluate_load_each_model_once_and_read_each_file_once(project, monkeypatch):
    with counted(monkeypatch) as (loaded, opened):
        fitted = fit_upgrade(load_settings(project / "settings.yaml"))
    assert loaded == {"old": 1, "new": 1}
    assert {name: opened[name] for name in TABLES} == dict.fromkeys(TABLES, 1)
    assert fitted.upgrade is not None
    with counted(monkeypatch) as (loaded, opened):
        evaluate_upgrade(load_settings(project / "settings.yaml"))
    assert loaded == {"old": 1, "new": 1}  # the new model with the LoRA and without, of one set of weights
    assert (opened["judged.csv"], opened["settings.yaml"], opened["finetune.csv"]) == (1, 1, 0)


@pytest.mark.slow
def test_captions_that_are_in_the_cache_need_no_weights(project, monkeypatch):
    settings = load_settings(project / "settings.yaml")
    fit = settings.fit.model_copy(
        update={"method": "procrustes", "settings": {}, "judged": None, "validation_pairs": None, "finetune_pairs": None,
                "finetune": {}, "cache": project / "cache"}
    )  # fmt: skip
    settings = settings.model_copy(update={"fit": fit, "upgrade": project / "first"})
    with counted(monkeypatch) as (loaded, _):
        first = fit_upgrade(settings).upgrade
    assert loaded == {"old": 1, "new": 1}
    with counted(monkeypatch) as (loaded, _):
        again = fit_upgrade(settings.model_copy(update={"upgrade": project / "again"})).upgrade
    assert not loaded
    assert again.new_space == first.new_space
    for name, weights in first.bridge.weights().items():
        np.testing.assert_array_equal(again.bridge.weights()[name], weights)


@pytest.mark.slow
def test_train_loads_the_old_model_once(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 16, 3), dtype=np.uint8)
    for label, images in zip("ab", pixels, strict=True):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "images" / label / f"{number}.png")
    settings = {
        "data": {"images": "images", "side": 16, "held_out": 0.25},
        "old": {"encoder": OLD},
        "objective": {"name": "bct", "settings": {"prototype_scale": 10.0}},
        "backbone": {"name": "small-resnet", "settings": {"width": 8, "depth": 8}},
        "training": {"epochs": 1, "batch_size": 8, "device": "cpu", "augment": {"crop_padding": 1}},
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(settings))
    with counted(monkeypatch) as (loaded, opened):
        train_model(load_training_settings(tmp_path / "train.yaml"))
    assert loaded == {"old": 1}
    assert opened["train.yaml"] == 1
