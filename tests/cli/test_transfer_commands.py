"""Export and import as people use them."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from embridge import Embeddings, Space, open_store, read_vectors
from embridge.adapters import Identity, Prefix, Provenance, Upgrade
from embridge.cli import app
from embridge.datasets import glyph_models

OLD = Space("old", "1", 3)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("shop", create=True)
    store.add_space(OLD)
    store.upsert(Embeddings.of(np.eye(3, dtype=np.float32), OLD, ["a", "b", "c"]), {"title": ["x", "y", "z"]})
    return "lancedb:shop"


def test_a_store_goes_into_a_file_and_back(shop):
    done = run("export", shop, "--to", "x.parquet")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("3 rows of old@1 (3-d cosine, space ")
    assert "with title from lancedb:shop to x.parquet" in " ".join(done.stdout.split())
    imported = json.loads(run("import", "x.parquet", "lancedb:again", "--payload", "", "--json").stdout)
    assert (imported["schema"], imported["rows"], imported["left_out"]) == (
        "embridge.import/1",
        3,
        {"title": "not asked for"},
    )
    exported = json.loads(run("export", "lancedb:again", "--to", "x.npy", "--space", "old", "--json").stdout)
    assert (exported["schema"], exported["space"]["id"]) == ("embridge.export/1", OLD.id)
    assert sorted(read_vectors("x.npy").ids) == ["a", "b", "c"]


def test_vectors_that_say_nothing_are_of_the_encoder_that_is_named(shop):
    np.save("x.npy", np.ones((2, 64), np.float16))
    refused = run("import", "x.npy", "lancedb:again")
    assert refused.exit_code == 2
    assert "name it with --encoder PROVIDER:MODEL" in refused.stderr
    done = run("import", "x.npy", "lancedb:again", "--encoder", f"clip:{glyph_models.folder('old')}", "--cast")
    assert done.exit_code == 0, done.stderr
    assert open_store("again").spaces()[0].dim == 64


def test_options_that_do_not_fit_end_with_2(shop):
    Upgrade(Identity(OLD, OLD), Prefix(OLD, Space("older", "1", 2)), Provenance("prefix")).save("upgrade")
    for arguments, message in {
        ("upgrade",): "nothing to write: name a file with --onnx FILE",
        ("upgrade", "--onnx", "x.onnx", "--to", "x.npy"): "--onnx is of an upgrade, and --to of a store",
        ("upgrade", "--to", "x.npy"): "upgrade is an upgrade, and --to is of a store",
        (shop,): "name it with --to FILE.parquet or FILE.npy",
        (shop, "--to", "x.npy", "--space", "none"): "--space none is none of the spaces held: old@1",
    }.items():
        refused = run("export", *arguments)
        assert refused.exit_code == 2, arguments
        assert message in refused.stderr, refused.stderr
