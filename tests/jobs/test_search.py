"""One query against a store."""

from dataclasses import replace

import pytest

from embridge import Embeddings
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
