"""What inspect says of files and folders that hold no vectors."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embridge import Embeddings, Space, Upgrade, write_vectors
from embridge.adapters import Identity, Linear, Prefix, Provenance
from embridge.backbones.embedding import AsGiven
from embridge.backbones.saved import TrainedModel
from embridge.backbones.vectors import VectorHead
from embridge.encoders import CachedEncoder
from embridge.encoders.caption_cache import encode_once
from embridge.errors import ArtefactError, InvalidInput, SettingsError
from embridge.evaluation import Relevance, Side, evaluate
from embridge.evaluation.report_files import save_report, summary_to_dict
from embridge.jobs.describe import describe
from embridge.jobs.inspect import inspect_path

NEW, OLD = Space("new", "1", 3), Space("old", "1", 2)


def prefix(**changed):
    provenance = Provenance("prefix", data="9 captions", encoders={"old": "clip:old"}, figures={"score": 0.5})
    return replace(Upgrade(Identity(NEW, NEW), Prefix(NEW, OLD), provenance), **changed)


def side(space):
    rows = np.eye(2, space.dim, dtype=np.float32)
    return Side(Embeddings.of(rows, space, ["x", "y"]), Embeddings.of(rows, space, ["a", "b"]))


@pytest.fixture
def report(tmp_path):
    measured = evaluate(side(OLD), side(NEW), prefix(), Relevance.from_pairs([("x", "a"), ("y", "b")]))
    return save_report(measured, tmp_path / "report.json")


@pytest.mark.parametrize("named", ["up", "up/upgrade.json"])
def test_an_upgrade(tmp_path, named):
    prefix().save(tmp_path / "up")
    found = describe(tmp_path / named)
    assert (found.kind, found.facts["dims"], found.facts["method"]) == ("upgrade", "3 → 2", "prefix")
    assert (found.facts["from"], found.facts["to"]) == (str(NEW), str(OLD))
    assert (found.facts["direction"].split(":")[0], found.facts["LoRA"]) == ("backward", "none")
    assert (found.facts["fitted on"], found.facts["figures"]) == ("9 captions", {"score": 0.5})
    assert any("embridge evaluate" in step for step in found.next_steps)
    assert f"embridge search STORE QUERY --upgrade {tmp_path / 'up'}" in found.next_steps


def test_a_forward_upgrade_maps_the_gallery(tmp_path):
    bridge = Linear(OLD, NEW, np.eye(2, 3, dtype=np.float32))
    Upgrade(Identity(NEW, NEW), bridge, Provenance("fct"), "forward").save(tmp_path / "up")
    found = describe(tmp_path / "up")
    assert (found.facts["from"], found.facts["to"], found.facts["dims"]) == (str(OLD), str(NEW), "2 → 3")
    assert not any("search" in step for step in found.next_steps)


@pytest.mark.slow
def test_an_upgrade_that_was_measured_says_the_verdict(tmp_path, report):
    prefix().save(tmp_path / "up", report=summary_to_dict(report))
    found = describe(tmp_path / "up")
    assert found.facts["verdict"] == report.outcome
    assert found.facts["headline"][0] == "t2i: recall_at_10 1.000 through the upgrade, 1.000 by the old model"
    assert not any("evaluate" in step for step in found.next_steps)


@pytest.mark.slow
@pytest.mark.parametrize("named", ["report.json", "report.parquet"])
def test_a_report(tmp_path, report, named):
    found = describe(tmp_path / named)
    assert (found.kind, found.where) == ("report", str(tmp_path / "report.json"))
    assert (found.facts["old"], found.facts["new"], found.facts["verdict"]) == (str(OLD), str(NEW), report.outcome)
    assert found.facts["searches"][0] == "text to image: 2 queries, 2 items, by judged pairs"
    assert found.facts["cells"].split(", ") == ["old/old", "new/old", "new/new", "naive"]
    assert found.facts["written"].endswith("UTC")
    assert found.next_steps[0] == f"embridge report {tmp_path / 'report.json'}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("up/upgrade.json", lambda text: text[:-9], "is truncated or altered"),
        (
            "up/upgrade.json",
            lambda text: text.replace("upgrade/1", "upgrade/9"),
            "expected schema embridge.upgrade/1, came",
        ),
        ("report.json", lambda text: text.replace("report/2", "report/1"), "expected schema embridge.report/2, came"),
    ],
)
def test_what_is_damaged_or_of_another_version_is_refused_in_a_line(tmp_path, report, name, spoil, message):
    prefix().save(tmp_path / "up")
    (tmp_path / name).write_text(spoil((tmp_path / name).read_text()))
    with pytest.raises(ArtefactError, match=message):
        describe(tmp_path / name)


@pytest.mark.parametrize(
    ("file", "content", "kind", "step"),
    [
        ("config.json", {"model_type": "clip", "projection_dim": 64}, "model", "old: clip:"),
        ("config.json", {"model_type": "bert"}, "model", "old: sentence-transformers:"),
        ("modules.json", [{"idx": 0}], "model", "old: sentence-transformers:"),
        ("open_clip_config.json", {"model_cfg": {}}, "model", "old: open-clip:"),
        ("adapter_config.json", {"r": 16}, "LoRA", "lora="),
    ],
)
def test_the_folder_of_a_model(tmp_path, file, content, kind, step):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / file).write_text(json.dumps(content))
    found = describe(tmp_path / "model")
    assert found.kind == kind
    assert step in found.next_steps[0]


def test_a_model_that_was_trained_here(tmp_path):
    model = TrainedModel("toy", VectorHead(3, 2), AsGiven(), dim=2)
    model.save(tmp_path / "toy", provenance={"method": "oca", "data": "9 vectors"})
    found = describe(tmp_path / "toy")
    assert (found.kind, found.facts["space"], found.facts["trained by"]) == ("trained model", str(model.space), "oca")
    assert f"trained:{tmp_path / 'toy'}" in found.next_steps[0]
    (tmp_path / "toy" / "model.safetensors").unlink()
    assert describe(tmp_path / "toy").problems == ("model.safetensors is missing; copy the whole folder",)


def test_captions_that_were_encoded_once(tmp_path):
    toy = Embeddings.of(np.eye(2, dtype=np.float32), OLD, ["a cat", "a dog"])
    encode_once(CachedEncoder(text=toy), ["a dog", "a cat"], tmp_path / "cache")
    (own,) = (tmp_path / "cache").iterdir()
    found = describe(own)
    assert (found.kind, found.facts["vectors"], found.facts["role"]) == ("caption cache", 2, "query")
    whole = describe(tmp_path / "cache")
    assert (whole.kind, whole.facts["holds"]) == ("folder", [f"{own.name}: captions encoded once"])
    for altered in ("{", json.dumps({"space": {"dim": 0}, "crc32": []})):
        (own / "shards.json").write_text(altered)
        with pytest.raises(InvalidInput, match="truncated or altered; delete that folder"):
            describe(own)


@pytest.mark.parametrize("content", ["{}", "[1]"])
def test_a_config_of_no_model_is_told_so(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InvalidInput, match="names no model_type"):
        describe(tmp_path)


def test_a_settings_file_says_which_commands_take_it(tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        "old: clip:models/old\nnew: clip:models/new\nfit: {method: xbt}\nevaluate: {judged: judged.csv}\n"
    )
    found = describe(settings)
    assert (found.kind, found.facts["method"]) == ("settings", "xbt")
    assert found.next_steps == (f"embridge fit {settings}",)
    prefix().save(tmp_path / "upgrade")
    assert describe(settings).next_steps == (f"embridge evaluate {settings}",)
    training, _ = tmp_path / "train.yaml", (tmp_path / "images").mkdir()
    training.write_text("data: {images: images}\nobjective: {name: independent, settings: {dim: 8}}\n")
    assert describe(training).next_steps == (f"embridge train {training}",)
    settings.write_text("old: clip:models/old\nnwe: clip:models/new\n")
    with pytest.raises(SettingsError, match="nwe"):
        describe(settings)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("captions.txt", r"is no file of vectors .* it is for fit\.captions"),
        ("bridge.onnx", "it is for a program that runs ONNX"),
        ("photo.png", r"is no file of vectors \(\.npy, \.parquet, \.arrow, \.feather\), report or settings file"),
        ("rows.npy.json", r"holds the ids and the space of rows\.npy; inspect that file"),
    ],
)
def test_another_file_is_told_what_inspect_takes(tmp_path, name, message):
    write_vectors(Embeddings.of(np.eye(2, dtype=np.float32), OLD), tmp_path / "rows.npy")
    if not (tmp_path / name).exists():
        (tmp_path / name).write_text("{}")
    with pytest.raises(InvalidInput, match=message):
        describe(tmp_path / name)


def test_a_folder_of_others_is_told_what_it_holds(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("")
    with pytest.raises(InvalidInput, match=r"is no folder of embridge: .* it holds todo\.txt"):
        describe(tmp_path / "notes")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="it holds nothing"):
        describe(tmp_path / "empty")


@pytest.mark.slow
def test_a_project_lists_what_is_in_it(tmp_path, report):
    prefix().save(tmp_path / "up")
    np.save(tmp_path / "x.npy", np.eye(2, dtype=np.float32))
    found = describe(tmp_path)
    assert (found.kind, found.facts["holds"]) == (
        "folder",
        ["report.json: a report", "up: an upgrade", "x.npy: vectors"],
    )


@pytest.mark.slow
def test_a_folder_with_a_report_alone_is_that_report(tmp_path, report):
    assert describe(tmp_path).where == str(tmp_path / "report.json")


def test_vectors_are_inspected_and_what_has_no_index_cannot_be_checked(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(2, dtype=np.float32))
    assert describe(tmp_path / "x.npy") is None
    assert inspect_path(tmp_path / "x.npy")[0].to_dict()["kind"] == "vectors"
    prefix().save(tmp_path / "up")
    with pytest.raises(SettingsError, match="is an upgrade, which has no index to check"):
        inspect_path(tmp_path / "up", check_index=5)
