"""One query against a store."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from embedding_service import serving
from typer.testing import CliRunner

from embridge import Embeddings, Space
from embridge.cli import app
from embridge.datasets import glyph_models
from embridge.encoders import load
from embridge.encoders._fingerprint import hash_of_weight_files
from embridge.errors import SpaceMismatch
from embridge.jobs.search import search_store
from embridge.stores import open_store

FOLDER = glyph_models.folder("old")
NAMES = ["latin small letter a", "digit seven"]


@pytest.fixture
def store_of(tmp_path):
    """A store of vectors that were made under some revision of the same model."""

    def store(revision):
        encoder = load(f"clip:{FOLDER}", device="cpu")
        space = replace(encoder.space, revision=revision or encoder.space.revision)
        opened = open_store(tmp_path / "store", create=True)
        opened.add_space(space)
        opened.upsert(Embeddings.of(encoder.encode(NAMES, modality="text"), space, NAMES))
        return tmp_path / "store"

    return store


@pytest.mark.slow
@pytest.mark.parametrize("revision", [None, hash_of_weight_files(FOLDER)])
def test_an_index_is_found_under_the_revision_of_an_earlier_release_too(store_of, revision):
    assert search_store(store_of(revision), NAMES[1], k=1, encoder=f"clip:{FOLDER}").ids == (NAMES[1],)


@pytest.mark.slow
def test_and_under_no_other(store_of):
    with pytest.raises(SpaceMismatch, match="this store holds: old@other"):
        search_store(store_of("other"), NAMES[1], encoder=f"clip:{FOLDER}")


class Lengths:
    """An encoder of texts by their lengths, in which a prompt shows."""

    space, modalities = Space("lengths", "1", 2), frozenset({"text"})

    def encode(self, items, *, modality, role="document"):
        return np.array([[1.0, len(item)] for item in items], np.float32)


def test_a_settings_file_says_how_the_query_is_encoded(tmp_path):
    """Its prompt is part of the space, so by its name alone the model is another."""
    with serving(Lengths()) as service:
        name = f"http:m@{service.url}"
        model = {"encoder": name, "query_prompt": "query: ", "dim": 2}
        (tmp_path / "s.yaml").write_text(yaml.safe_dump({"old": model, "new": {"queries": "q.npy"}}))
        (tmp_path / "q.npy").touch()
        encoder = load(name, query_prompt="query: ", dim=2)
        opened = open_store(tmp_path / "store", create=True)
        opened.add_space(encoder.space)
        opened.upsert(Embeddings.of(encoder.encode(["a", "bb"], modality="text"), encoder.space, ["a", "bb"]))
        service.seen.clear()

        def ended(*options):
            return CliRunner().invoke(app, ["search", str(tmp_path / "store"), "cc", "-k", "1", *options])

        settings = ("--settings", str(tmp_path / "s.yaml"))
        assert ended(*settings).exit_code == 0
        assert [asked["input"] for asked, *_ in service.seen] == [["query: cc"]]
        assert ended("--encoder", name).exit_code == 4
        both = ended(*settings, "--encoder", name)
        assert (both.exit_code, "both say which model" in both.stderr) == (2, True)
        (tmp_path / "s.yaml").write_text(yaml.safe_dump({"old": {"queries": "q.npy"}, "new": model}))
        files = ended(*settings)
        assert (files.exit_code, "old is files of vectors" in files.stderr) == (2, True)
