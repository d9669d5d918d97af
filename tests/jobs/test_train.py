"""`embridge train`: from a settings file to a model and its upgrade, taken up again, refused before any work."""

import contextlib
import json
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from fenced_blocks import ROOT
from labelled_glyphs import KNOWN, OLD_DIM, QUICK, SCRIPTS, SIDE, items, network, old_encoder
from PIL import Image
from typer.testing import CliRunner

import embridge
from embridge import Embeddings, Pairs, Space, Upgrade
from embridge.backbones import make_backbone
from embridge.backbones.base import drawn_from
from embridge.cli import app
from embridge.encoders import load
from embridge.errors import MissingExtra
from embridge.jobs import _other_models as other_models
from embridge.jobs._training_items import read_items
from embridge.jobs.train import train_model
from embridge.methods import make
from embridge.settings.training import load_training_settings
from embridge.stores import open_store
from embridge.training.compatible.augment import Augment
from embridge.training.compatible.held_out_items import HeldOut, nearest_is_right
from embridge.training.compatible.labelled import Rows, hold_out
from embridge.training.compatible.trainer import CompatibleTraining
from embridge.training.objectives import OBJECTIVES
from embridge.training.objectives.independent import Independent, IndependentSettings
from embridge.vector_files import write_vectors

EXAMPLES = sorted((ROOT / "examples" / "train").glob("*.yaml"))
TRAINING = {
    "epochs": 2, "batch_size": 20, "learning_rate": 0.005, "device": "cpu", "checkpoint_every_steps": 2,
    "augment": {"crop_padding": 1, "flip": 0.0},
}  # fmt: skip
ALONE = ("alone, procrustes/old", "alone, whitened-procrustes/old", "alone, ridge/old")
SMALL = {"name": "small-resnet", "settings": {"width": 8, "depth": 8}}


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torch", "lightning"])
def test_without_the_extra_the_error_names_it(library, tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "train.yaml").write_text("data: {images: images}\nobjective: {name: independent, settings: {dim: 4}}\n")
    settings = load_training_settings(tmp_path / "train.yaml")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"^{library} is needed here .*embridge\[train\]"):
        train_model(settings)


@pytest.mark.parametrize(("name", "extra"), [("CompatibleTraining", "train"), ("XBTFinetune", "finetune")])
def test_a_class_whose_libraries_are_missing_names_their_extra(name, extra, monkeypatch):
    monkeypatch.delitem(vars(embridge), name, raising=False)
    monkeypatch.setitem(sys.modules, f"embridge.{embridge._HOMES[name]}", None)
    with pytest.raises(MissingExtra, match=rf"embridge\[{extra}\]"):
        getattr(embridge, name)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder as a user would have it: images by class, an old model of three of the classes, and a paragon."""
    folder, drawn = tmp_path_factory.mktemp("project"), items("train")
    for row in np.concatenate([np.flatnonzero(drawn.labels == c)[:20] for c in range(len(SCRIPTS))]):
        file = folder / "images" / SCRIPTS[drawn.labels[row]] / f"{row:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.images[row]).save(file)
    old_encoder().model.save(folder / "models" / "old", provenance={})
    rows = Rows(drawn, np.arange(0, 500, 5))
    alone = QUICK.fit(rows, network(10, seed=2), Independent(None, len(SCRIPTS), IndependentSettings(dim=10)))
    alone.save(folder / "models" / "independent")
    first = QUICK.fit(rows, network(4, seed=3), Independent(None, len(SCRIPTS), IndependentSettings(dim=4)))
    first.save(folder / "models" / "first")
    classifier = np.random.default_rng(0).normal(size=(len(SCRIPTS), OLD_DIM)).astype(np.float32)
    np.save(folder / "old-classifier.npy", classifier)
    return folder


def settings_of(project, name, **changes):
    said = {
        "data": {"images": "images", "side": SIDE, "held_out": 0.2},
        "old": {"encoder": "trained:models/old", "device": "cpu", "known": list(KNOWN)},
        "objective": {"name": "bct", "settings": {"prototype_scale": 10.0}},
        "backbone": SMALL, "training": TRAINING, "model": f"{name}/model", "upgrade": f"{name}/upgrade",
        "cache": f"{name}/cache", "control": False,
    }  # fmt: skip
    path = project / f"{name}.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in (said | changes).items() if v is not None}))
    return path


def bytes_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def trained(project):
    done = run("train", settings_of(project, "whole", control=True), "--json")
    assert done.exit_code == 0, done.stderr
    return done


# The examples


def test_every_objective_has_an_example():
    assert {path.stem for path in EXAMPLES} == {*OBJECTIVES, "without-labels"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "example", [pytest.param(p, marks=[] if p.stem == "bt2" else [pytest.mark.slow]) for p in EXAMPLES],
    ids=lambda p: p.stem,
)  # fmt: skip
def test_the_examples_run(example, project):
    """As they stand but for their size; the control is the same for all, and trained beside one."""
    said = yaml.safe_load(example.read_text()) | {"control": example.stem == "oca"}
    said["data"]["side"], said["backbone"], said["training"] = SIDE, SMALL, said["training"] | TRAINING
    said["data"] |= {"clusters": 4} if "clusters" in said["data"] else {}
    said["model"], path = f"models/tried-{example.stem}", project / f"example-{example.stem}.yaml"
    path.write_text(yaml.safe_dump(said))
    done = run("train", path)
    assert done.exit_code == 0, done.stderr
    assert "8 steps, loss" in done.stdout
    model = project / said["model"]
    encoder = load(f"trained:{model}", device="cpu")
    assert (project / "upgrades" / example.stem).exists() == ("old" in said)
    if "old" in said:
        assert Upgrade.load(project / "upgrades" / example.stem).new_space == encoder.space


# What is written and said


@pytest.mark.slow
def test_the_model_and_its_upgrade_are_usable_at_once(project, trained):
    said = json.loads(trained.stdout)
    encoder, upgrade = load(f"trained:{project / 'whole/model'}", device="cpu"), Upgrade.load(project / "whole/upgrade")
    assert said["schema"] == "embridge.train/1"
    assert (said["model"], said["upgrade"]) == (str(project / "whole/model"), str(project / "whole/upgrade"))
    assert (said["new"]["id"], said["old"]["id"]) == (encoder.space.id, old_encoder().space.id)
    assert (upgrade.new_space, upgrade.old_space) == (encoder.space, old_encoder().space)
    assert upgrade.provenance.encoders == {
        "new": f"trained:{project / 'whole/model'}", "old": f"trained:{project / 'models/old'}",
    }  # fmt: skip
    assert load(upgrade.provenance.encoders["new"]).provenance["data"] == said["data"]
    assert said["figures"]["steps"] == 8
    assert set(said["nearest"]) == {"old/old", "new/old", "new/new", "alone/alone", *ALONE}
    assert "bct steps" in trained.stderr


@pytest.mark.slow
def test_the_control_is_the_same_network_trained_alone_and_bridged(project, trained):
    """By hand: the same seed and steps without the old model, Procrustes on what was trained on, judged on what was not."""
    said = json.loads(trained.stdout)
    settings = load_training_settings(project / "whole.yaml")
    data = read_items(settings.data).data
    train, held = hold_out(data, 0.2, seed=0)
    backbone = make_backbone("small-resnet", OLD_DIM, settings=SMALL["settings"], seed=0)
    with drawn_from(0):
        objective = Independent(None, len(SCRIPTS), IndependentSettings(dim=OLD_DIM))
    training = CompatibleTraining(**TRAINING | {"augment": Augment(**TRAINING["augment"])})
    alone = training.fit(train, backbone, objective, held_out=HeldOut(held), seed=0)
    new, old = (
        [encoder.encode(part.items(np.arange(len(part))), modality="image") for part in (train, held)]
        for encoder in (alone.encoder(device="cpu"), old_encoder())
    )
    ids = [str(row) for row in train.rows]
    pairs = Pairs(Embeddings.of(new[0], alone.space, ids), Embeddings.of(old[0], old_encoder().space, ids))
    bridged = make("procrustes").fit(pairs).bridge.apply(new[1])
    assert said["nearest"]["alone/alone"] == pytest.approx(nearest_is_right(new[1], new[1], held.labels))
    assert said["nearest"]["alone, procrustes/old"] == pytest.approx(nearest_is_right(bridged, old[1], held.labels))


@pytest.mark.slow
def test_it_ends_with_what_was_traded_and_what_to_do(project, trained):
    said = json.loads(trained.stdout)
    difference = said["nearest"]["new/old"] - said["nearest"]["old/old"]
    assert said["compatible"]["difference"]["value"] == pytest.approx(difference)
    verdict, traded, following = said["advice"]
    assert f"(difference {difference:+.3f}, 95 % interval" in verdict
    assert f"{said['nearest']['alone/alone']:.3f} when trained alone" in traded
    assert following.startswith("Next: ")
    assert "trained alone" not in run("train", settings_of(project, "bare")).stdout


@pytest.mark.slow
def test_the_upgrade_is_measured_on_labelled_images(project, trained):
    names = [p.relative_to(project).as_posix() for p in sorted((project / "images").rglob("*.png"))]
    (project / "labels.csv").write_text("id,label\n" + "".join(f"{n},{n.split('/')[1]}\n" for n in names))
    said = {
        "old": "trained:models/old", "new": "trained:whole/model", "upgrade": "whole/upgrade",
        "evaluate": {"labels": "labels.csv", "metrics": ["recall_at_1"], "cells": []},
    }  # fmt: skip
    (project / "measure.yaml").write_text(yaml.safe_dump(said))
    done = run("evaluate", project / "measure.yaml", "--json")
    assert done.exit_code == 0, done.stderr
    cells = json.loads(done.stdout)["cells"][""]
    rows = old_encoder().encode([project / name for name in names], modality="image")
    labels = np.unique([name.split("/")[1] for name in names], return_inverse=True)[1]
    assert cells["old/old"]["recall_at_1"] == pytest.approx(nearest_is_right(rows, rows, labels), abs=1e-6)
    assert {"old/old", "new/old", "new/new"} <= set(cells)
    (project / "judged.csv").write_text("text,image\n" + "".join(f"{n.split('/')[1]},{n}\n" for n in names))
    (project / "measure.yaml").write_text(yaml.safe_dump(said | {"evaluate": {"judged": "judged.csv"}}))
    done = run("evaluate", project / "measure.yaml")
    assert (done.exit_code, "takes image alone, and what is judged is image and text" in done.stderr) == (2, True)


@pytest.mark.slow
def test_the_new_model_searches_the_old_index(project, trained):
    pictures = sorted(str(p) for p in (project / "images").rglob("*.png"))
    store = open_store(project / "store", create=True)
    store.add_space(old_encoder().space)
    rows = Embeddings.of(old_encoder().encode(pictures, modality="image"), old_encoder().space, pictures)
    store.upsert(rows, {"script": [Path(p).parent.name for p in pictures]})
    done = run(
        "search", project / "store", pictures[0], "--image", "--upgrade", project / "whole" / "upgrade", "--json"
    )
    assert done.exit_code == 0, done.stderr
    assert len(json.loads(done.stdout)["hits"]) == 10


@pytest.mark.slow
def test_the_table_is_of_held_out_items(project, trained):
    """The same command again reads what is there, and says it for people."""
    before = bytes_of(project / "whole/model")
    done = run("train", project / "whole.yaml")
    assert done.exit_code == 0, done.stderr
    assert bytes_of(project / "whole/model") == before
    assert "Held-out items" in done.stdout
    for pair, share in json.loads(trained.stdout)["nearest"].items():
        assert f"{pair}" in done.stdout
        assert f"{share:.3f}" in done.stdout
    assert "trained: images" not in done.stderr  # encoded once


@pytest.mark.slow
def test_old_vectors_from_a_file_give_the_same_model(project, trained):
    names = [p.relative_to(project / "images").as_posix() for p in sorted((project / "images").rglob("*.png"))]
    encoded = old_encoder().encode([project / "images" / name for name in names], modality="image")
    rows = Embeddings.of(encoded, old_encoder().space, names).take(np.random.default_rng(0).permutation(len(names)))
    write_vectors(rows, project / "old.npy")  # in another order: the names say which is which
    old = {"vectors": "old.npy", "known": list(KNOWN)}
    done = run("train", settings_of(project, "from-file", old=old))
    assert done.exit_code == 0, done.stderr
    weights = [project / name / "model" / "model.safetensors" for name in ("whole", "from-file")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    write_vectors(rows.take(np.arange(99)), project / "old.npy")
    done = run("train", project / "from-file.yaml")
    assert (done.exit_code, "lacks 1 of 100 items, first" in done.stderr) == (1, True)


@pytest.mark.slow
def test_a_model_may_be_held_to_the_versions_before_the_old_one_too(project):
    settings = {"extra": 4, "aligned_to": "rows", "weights": [1.0, 0.0, 30.0]}
    said = {"objective": {"name": "oca", "settings": settings}, "training": TRAINING | {"epochs": 6}}
    ancestors = [{"encoder": "trained:models/first", "device": "cpu", "known": list(KNOWN)}]
    paths = [
        settings_of(project, "beside-one", **said),
        settings_of(project, "beside-two", **said, ancestors=ancestors),
    ]
    for path in paths:
        done = run("train", path)
        assert done.exit_code == 0, (done.stderr, done.exception)
    images = items("train").images[::5]
    wanted, met, held = load("trained:" + str(project / "models" / "first")).encode(images, modality="image"), [], []
    for path in paths:
        model = load(f"trained:{project / path.stem / 'model'}", device="cpu")
        front = model.encode(images, modality="image")[:, :4]
        met.append(float((front * wanted).sum(1).mean() / np.linalg.norm(front, axis=1).mean()))
        held.append(Upgrade.load(project / path.stem / "upgrade").provenance.settings["objective"]["held.dims"])
    assert held == [[OLD_DIM], [4, OLD_DIM]]
    assert met[1] > met[0] + 0.05


def arrays(project):
    drawn = items("train")
    np.savez(project / "drawn.npz", images=drawn.images[::5], labels=drawn.labels[::5])
    return {"images": "drawn.npz", "classes": list(SCRIPTS), "side": SIDE}


def separate_arrays(project):
    np.save(project / "images.npy", items("train").images[::5])
    np.save(project / "labels.npy", items("train").labels[::5])
    return {"images": "images.npy", "labels": "labels.npy", "classes": list(SCRIPTS), "side": SIDE}


def dataset(project):
    datasets = pytest.importorskip("datasets")
    drawn, names = items("train"), datasets.ClassLabel(names=list(SCRIPTS))
    pictures = [Image.fromarray(image) for image in drawn.images[::5]]
    features = datasets.Features({"image": datasets.Image(), "script": names})
    held = datasets.Dataset.from_dict({"image": pictures, "script": drawn.labels[::5].tolist()}, features=features)
    datasets.DatasetDict({"train": held}).save_to_disk(str(project / "dataset"))
    return {"dataset": "dataset", "split": "train", "columns": ["image", "script"], "side": SIDE}


@pytest.mark.slow
def test_other_forms_of_the_same_images_end_in_the_same_model(project):
    """Arrays in one file and in two, and a dataset on disk."""
    made = []
    for form in (arrays, separate_arrays, dataset):
        done = run("train", settings_of(project, form.__name__, data=form(project)))
        assert done.exit_code == 0, done.stderr
        made.append((project / form.__name__ / "model" / "model.safetensors").read_bytes())
    assert len(set(made)) == 1


@pytest.mark.slow
def test_a_head_on_vectors_becomes_the_head_of_the_upgrade(project):
    drawn, frozen = items("train"), Space("frozen", "1", 256)
    pixels = drawn.batch(np.arange(0, 500, 5))[:, 0].flatten(1).float().numpy() / 255
    write_vectors(Embeddings.of(pixels, frozen), project / "frozen.npy")
    np.save(project / "labels.npy", drawn.labels[::5])
    encoded = old_encoder().encode(drawn.images[::5], modality="image")
    write_vectors(Embeddings.of(encoded, old_encoder().space), project / "old-rows.npy")
    data = {"vectors": "frozen.npy", "labels": "labels.npy", "classes": list(SCRIPTS), "held_out": 0.2}
    given = {"data": data, "old": {"vectors": "old-rows.npy"}, "backbone": None}
    done = run("train", settings_of(project, "head", **given))
    assert done.exit_code == 0, done.stderr
    upgrade = Upgrade.load(project / "head" / "upgrade")
    assert upgrade.to_index_space(Embeddings.of(pixels, frozen)).space == old_encoder().space
    assert "new/old" in done.stdout


@pytest.mark.slow
def test_a_vision_model_from_a_folder_is_trained(project):
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    ResNetModel(config).save_pretrained(project / "vision")
    done = run("train", settings_of(project, "of-vision", backbone={"name": "vision", "folder": "vision"}))
    assert done.exit_code == 0, done.stderr
    assert load(f"trained:{project / 'of-vision/model'}", device="cpu").space.dim == OLD_DIM
    done = run("train", settings_of(project, "over", model="vision"))
    assert (done.exit_code, "vision holds another model and is not overwritten" in done.stderr) == (1, True)


# Without labels


def unlabelled(project):
    """The same images in one folder, whose names say nothing of what is on them."""
    folder = project / "unlabelled"
    for file in sorted((project / "images").rglob("*.png")):
        (folder / file.stem[:1]).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.stem[:1] / file.name)
    return {"images": "unlabelled", "side": SIDE, "clusters": 8, "held_out": 0.2}


OLD = {"encoder": "trained:models/old", "device": "cpu"}


@pytest.mark.slow
def test_clusters_of_the_old_model_stand_in_for_classes(project):
    """From images in folders that are no classes, to an upgrade on the old index; the same again by the seed."""
    path = settings_of(project, "clusters", data=unlabelled(project), old=OLD)
    done = run("train", path)
    assert done.exit_code == 0, done.stderr
    assert "100 images of 8 classes" not in done.stdout  # some are held out
    assert "images of 8 classes" in done.stdout
    assert "nearest is of its cluster, as the old model" in done.stdout
    encoder, upgrade = (
        load(f"trained:{project / 'clusters/model'}", device="cpu"),
        Upgrade.load(project / "clusters/upgrade"),
    )
    assert (upgrade.new_space, upgrade.old_space) == (encoder.space, old_encoder().space)
    assert upgrade.provenance.settings["labels"] == {"clusters": 8, "of": str(old_encoder().space)}
    done = run("train", settings_of(project, "clusters-again", data=unlabelled(project), old=OLD), "--json")
    assert json.loads(done.stdout)["clusters"] == 8
    weights = [(project / name / "model" / "model.safetensors").read_bytes() for name in ("clusters", "clusters-again")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_labels_that_are_there_are_not_looked_at(project):
    """Arrays with labels, without, and a dataset: the clusters are of the vectors alone."""
    drawn, made = items("train"), []
    np.save(project / "bare.npy", drawn.images[::5])
    given = {"images": "bare.npy", "side": SIDE, "clusters": 6}
    labelled = {k: v for k, v in arrays(project).items() if k != "classes"} | {"clusters": 6}
    of_dataset = dataset(project) | {"columns": ["image", "nothing"], "clusters": 6}
    for name, data in (("bare", given), ("labelled", labelled), ("of-dataset", of_dataset)):
        done = run("train", settings_of(project, name, data=data, old=OLD))
        assert done.exit_code == 0, done.stderr
        made.append((project / name / "model" / "model.safetensors").read_bytes())
    assert len(set(made)) == 1


@pytest.mark.slow
def test_a_head_is_trained_on_vectors_without_labels(project):
    pixels = items("train").batch(np.arange(0, 500, 5))[:, 0].flatten(1).float().numpy() / 255
    write_vectors(Embeddings.of(pixels, Space("frozen", "1", 256)), project / "frozen-bare.npy")
    encoded = old_encoder().encode(items("train").images[::5], modality="image")
    write_vectors(Embeddings.of(encoded, old_encoder().space), project / "old-bare.npy")
    given = {
        "data": {"vectors": "frozen-bare.npy", "clusters": 6},
        "old": {"vectors": "old-bare.npy"},
        "backbone": None,
    }
    done = run("train", settings_of(project, "bare-head", **given))
    assert done.exit_code == 0, done.stderr
    assert Upgrade.load(project / "bare-head" / "upgrade").new_space == Space("frozen", "1", 256)


# Taken up again


@pytest.mark.slow
def test_the_same_command_goes_on_where_it_was_stopped(project, trained):
    settings, told = load_training_settings(settings_of(project, "stopped")), []

    def progress(done, total, what):
        if what == "bct steps":
            told.append(done)
            if told == [1, 2, 3]:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(settings, progress=progress)
    assert not settings.model.exists()
    train_model(settings, progress=progress)
    assert told[:3] == [1, 2, 3]
    assert told[-1] == 8
    assert len(told) < 3 + 8
    weights = [project / name / "model" / "model.safetensors" for name in ("whole", "stopped")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_what_the_old_model_has_encoded_is_kept(project, trained, monkeypatch):
    monkeypatch.setattr(other_models, "PART_ROWS", 40)
    settings, told = load_training_settings(settings_of(project, "stopped-early")), []

    def progress(done, total, what):
        if what.endswith("training items"):
            told.append((done, total))
            if told == [(40, 100), (80, 100)]:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(settings, progress=progress)
    train_model(settings, progress=progress)
    assert told == [(40, 100), (80, 100), (80, 100), (100, 100)]  # the second part was not written when it was stopped
    weights = [project / name / "model" / "model.safetensors" for name in ("whole", "stopped-early")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


LONGER = TRAINING | {"epochs": 8, "checkpoint_every_steps": 1}  # long enough to be ended on the way


@pytest.fixture(scope="module")
def longer(project):
    """The weights of a training that nothing ended."""
    assert run("train", settings_of(project, "longer", training=LONGER)).exit_code == 0
    return (project / "longer" / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_process_that_was_ended_is_taken_up_by_the_same_command(project, longer, start, sent, code):
    name = f"ended-{int(sent)}"
    path = settings_of(project, name, training=LONGER)
    process = start("train", path)
    deadline, written = time.monotonic() + 300, set()
    while len(written) < 4 and time.monotonic() < deadline:  # so that more than one step is kept
        with contextlib.suppress(FileNotFoundError):
            written |= {f.stat().st_mtime_ns for f in (project / name / "cache").glob("train-*/last.ckpt")}
        time.sleep(0.01)
    process.send_signal(sent)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (code, ""), stderr
    assert not (project / name / "model").exists()
    (kept,) = (project / name / "cache").glob("train-*")
    done = run("train", path)
    assert done.exit_code == 0, done.stderr
    assert list((project / name / "cache").glob("train-*")) == [kept]
    assert (project / name / "model" / "model.safetensors").read_bytes() == longer


# What is refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectve": "bct"}, "objectve: there is no such key; did you mean objective?"),
        ({"old": {"encoder": "trained:models/old", "knwon": []}}, "old.knwon: there is no such key; did you mean known?"),
        ({"objective": "oac"}, "an objective is one of bct, oca, bt2"),
        ({"objective": {"name": "bct", "settings": {"extra": 3}}}, "bct has no setting extra; it has ['targets'"),
        ({"objective": {"name": "bct", "settings": {"weight": "much"}}}, "bct: weight: Input should be a valid number"),
        ({"objective": {"name": "bct", "settings": {"weight": -1.0}}}, "bct: weight is 0 or more, came -1.0"),
        ({"objective": {"name": "mixbct", "settings": {"labels": [0]}}}, "mixbct has no setting labels"),
        ({"objective": "bt2"}, "bt2 asks for the vectors of the same model trained alone; name it under paragon"),
        ({"objective": "lwf"}, "lwf uses the weights of the old classifier"),
        ({"ancestors": [{"encoder": "trained:models/first", "knwon": []}]}, "ancestors.0.knwon: there is no such key; did you"),
        ({"ancestors": ["trained:models/odl"]}, "trained:models/odl: there is no folder"),
        ({"ancestors": ["trained:models/first"]}, "bct holds a new model to the old one alone; leave its ancestors out"),
        ({"ancestors": ["trained:models/old"], "objective": "oca"}, "ancestors: each is another model, and none is the old one"),
        (
            {"ancestors": [{"encoder": "trained:models/first", "known": ["klingon"]}], "objective": "oca"},
            "ancestors.0.known: 'klingon' is no class",
        ),
        ({"ancestors": [{"vectors": "nowhere.npy"}], "objective": "oca"}, "ancestors.0.vectors: "),
        ({"ancestors": ["trained:models/first"], "objective": "independent", "old": None}, "name that under old"),
        ({"ancestors": ["trained:models/first"], "model": "models/first"}, "the model would replace an ancestor"),
        (
            {"data": {"images": "images", "clusters": 4}, "old": "trained:models/old", "objective": "oca",
             "ancestors": [{"encoder": "trained:models/first", "known": ["greek"]}]},
            "ancestors: known is of classes, and clusters are none",
        ),
        ({"paragon": "trained:models/independent"}, "paragon: bct has no use for one"),
        ({"data": {"images": "images", "clusters": 4}}, "old: known and classifier are of classes, and clusters are none"),
        ({"data": {"images": "images", "clusters": 4}, "old": None}, "the clusters are of an old model's vectors; name it"),
        ({"data": {"images": "images", "clusters": 101}, "old": "trained:models/old"}, "101 clusters are more than the 100"),
        (
            {"data": {"images": "images", "clusters": 4}, "old": "trained:models/old", "objective": "lwf"},
            "lwf uses an old classifier, which is of classes, and clusters are none",
        ),
        ({"data": {"images": "images", "clusters": 1}}, "data.clusters: Input should be greater than or equal to 2"),
        ({"data": {"images": "images", "clusters": 4, "classes": ["a"]}}, "clusters stand in the place of labels and classes"),
        ({"data": {"vectors": "old-classifier.npy"}}, "where there are none, say clusters"),
        ({"old": None}, "bct trains beside an old model; name it under old"),
        ({"old": "trained:models/odl"}, "trained:models/odl: there is no folder"),
        ({"old": {"encoder": "trained:models/old", "vectors": "old.npy"}}, "old: say either encoder, or files with vectors"),
        ({"old": {"vectors": "nowhere.npy"}}, "nowhere.npy does not exist"),
        ({"old": {"encoder": "trained:models/old", "known": ["klingon"]}}, "old.known: 'klingon' is no class"),
        ({"data": {"images": "images", "vectors": "old.npy"}}, "data: say the items by exactly one of images, dataset,"),
        ({"data": {"images": "images", "labels": "nowhere.npy"}}, "nowhere.npy does not exist"),
        ({"data": {"images": "images", "classes": ["a"]}}, "is a folder of folders, which name the classes"),
        ({"backbone": {"name": "vector-head"}}, "backbone: the items are images, which vector-head does not take"),
        ({"backbone": {"name": "small-resnet", "settings": {"dpeth": 8}}}, "small-resnet has no setting dpeth"),
        ({"backbone": {"name": "small-resnet", "settings": {"depth": 9}}}, "depth is 6n + 2"),
        ({"backbone": {"name": "vision"}}, "backbone: folder names the model of vision"),
        ({"training": {"epoch": 3}}, "training has no setting epoch"),
        ({"training": {"augment": {"flipp": 0.5}}}, "training.augment has no setting flipp"),
        ({"training": {"batch_size": 1000}}, "batch_size 1000 is more than the 80 items there are to train on"),
        ({"training": {"keep": "best"}, "data": {"images": "images"}}, "keep: best needs items that are not trained on"),
        ({"training": {"batch_size": 20, "devices": 2}}, "would run the whole command once for each device"),
        ({"model": "models/old"}, "the model would replace old"),
        ({"upgrade": "refused"}, "would replace the model"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused_before_any_work(project, changes, message):
    done = run("train", settings_of(project, "refused", **changes))
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert done.stdout == ""
    assert not (project / "refused").exists()


@pytest.mark.slow
def test_an_ancestor_that_is_longer_than_the_old_model_is_refused(project):
    done = run("train", settings_of(project, "refused", objective="oca", ancestors=["trained:models/independent"]))
    assert (done.exit_code, "dims do not fall; came [10, 8], the last of the old model" in done.stderr) == (1, True)
    assert not (project / "refused").exists()


@pytest.mark.parametrize("key", ["model", "upgrade"])
def test_a_folder_of_other_things_is_refused(project, key):
    other = project / "other"
    other.mkdir(exist_ok=True)
    (other / "thesis.txt").write_text("years of work")
    done = run("train", settings_of(project, "foreign", **{key: "other"}))
    assert (done.exit_code, "other holds other things" in done.stderr) == (1, True)
    assert [p.name for p in other.iterdir()] == ["thesis.txt"]
    assert not (project / "foreign").exists()
    shutil.rmtree(other)


def test_a_damaged_image_is_named(project, tmp_path):
    shutil.copytree(project / "images", tmp_path / "images")
    damaged = tmp_path / "images" / "greek" / "999.png"
    Path(damaged).write_bytes(b"no image")
    path = settings_of(project, "damaged", data={"images": str(tmp_path / "images"), "side": SIDE})
    done = run("train", path)
    assert (done.exit_code, "999.png" in done.stderr) == (1, True)
    assert not (project / "damaged" / "model").exists()
