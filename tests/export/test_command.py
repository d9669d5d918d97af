"""``embridge export`` as people use it."""

import json

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from embridge import Embeddings
from embridge.cli import app
from embridge.datasets import glyph_models
from embridge.encoders import load
from embridge.stores import open_store

NEW = f"clip:{glyph_models.folder('new')}"


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def saved(upgrade, tmp_path):
    return upgrade.save(tmp_path / "upgrade")


@pytest.mark.slow
def test_both_are_written_and_do_what_the_upgrade_does(saved, encoders, upgrade, held_out, tmp_path):
    done = run(
        "export", saved, "--onnx", tmp_path / "bridge.onnx", "--fold", NEW, "--out", tmp_path / "model", "--json"
    )
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed.pop("schema") == "embridge.export/1"
    assert printed == {"onnx": str(tmp_path / "bridge.onnx"), "folded": str(tmp_path / "model")}

    store = open_store(tmp_path / "store", create=True)
    space = encoders["old"].space
    store.add_space(space)
    images = encoders["old"].encode(held_out.images, modality="image")
    store.upsert(Embeddings.of(images, space, held_out.ids), {"name": held_out.captions})
    query = held_out.captions[3]
    beside = run("search", tmp_path / "store", query, "--upgrade", saved, "--encoder", NEW, "--json")
    alone = run("search", tmp_path / "store", query, "--encoder", f"clip:{tmp_path / 'model'}", "--json")
    assert (beside.exit_code, alone.exit_code) == (0, 0), alone.output
    found = [[hit["id"] for hit in json.loads(one.stdout)["hits"]] for one in (beside, alone)]
    assert found[0] == found[1]
    assert len(found[0]) == 10

    session = onnxruntime.InferenceSession(tmp_path / "bridge.onnx", providers=["CPUExecutionProvider"])
    vectors = encoders["new"].encode([query], modality="text")
    (mapped,) = session.run(None, {"vectors": vectors})
    np.testing.assert_allclose(mapped, upgrade.bridge.apply(vectors), atol=1e-5)


@pytest.mark.slow
def test_the_paths_are_printed(saved, tmp_path):
    done = run("export", saved, "--onnx", tmp_path / "bridge.onnx")
    assert (done.exit_code, done.stdout) == (0, f"onnx    {tmp_path / 'bridge.onnx'}\n")


@pytest.mark.slow
def test_exit_codes(saved, centered, tmp_path):
    refused = run("export", saved)
    assert (refused.exit_code, "nothing to write" in refused.stderr) == (2, True)
    centered.save(tmp_path / "centered")
    refused = run("export", tmp_path / "centered", "--fold", NEW, "--out", tmp_path / "model")
    assert (refused.exit_code, "center: false" in refused.stderr) == (2, True)
    refused = run("export", saved, "--fold", f"clip:{glyph_models.folder('old')}", "--out", tmp_path / "model")
    assert (refused.exit_code, "expected vectors of new@" in refused.stderr) == (4, True)
    refused = run("export", tmp_path, "--onnx", tmp_path / "bridge.onnx")
    assert (refused.exit_code, "is not an upgrade" in refused.stderr) == (1, True)
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "bridge.onnx").exists()


@pytest.mark.slow
def test_the_encoder_of_the_old_space_is_the_folded_one(saved, tmp_path):
    assert run("export", saved, "--fold", NEW, "--out", tmp_path / "model").exit_code == 0
    assert load(f"clip:{tmp_path / 'model'}").space == load(f"clip:{glyph_models.folder('old')}").space
