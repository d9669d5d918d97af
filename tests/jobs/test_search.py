"""One query against a store."""

import json
from dataclasses import replace

import lancedb
import numpy as np
import pytest
import yaml
from embedding_service import serving
from typer.testing import CliRunner

from embridge import Embeddings, Space, write_vectors
from embridge.cli import app
from embridge.datasets import glyph_models
from embridge.encoders import load
from embridge.encoders._fingerprint import hash_of_weight_files
from embridge.errors import SpaceMismatch
from embridge.jobs.search import SearchOptions, search_queries, search_store
from embridge.stores import MemoryStore, open_store

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


@pytest.fixture
def toys(tmp_path):
    """A store of three rows in two dimensions."""
    space = Space("toy", "1", 2)
    rows = Embeddings.of(np.array([[1, 0], [0, 1], [1, 1]], np.float32), space, ["a", "b", "c"])
    opened = open_store(tmp_path / "toys", create=True)
    opened.add_space(space)
    opened.upsert(rows, {"price": [5, 10, None], "kind": ["shoe", "boot", "10"]})
    return tmp_path / "toys", rows


def ended(*arguments):
    return CliRunner().invoke(app, ["search", *map(str, arguments)])


def test_a_file_of_vectors_asks_in_batches_and_answers_a_line_each(toys, tmp_path, monkeypatch):
    monkeypatch.setattr("embridge.jobs.search._BATCH_ROWS", 2)
    folder, rows = toys
    file = write_vectors(rows, tmp_path / "queries.npy")
    done = ended(folder, "--queries", file, "-k", 1, "--json")
    assert done.exit_code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["query"], one["hits"][0]["id"]) for one in answers] == [("a", "a"), ("b", "b"), ("c", "c")]
    assert answers[0]["hits"][0]["payload"] == {"price": 5, "kind": "shoe"}
    assert "boot" in ended(folder, "--queries", file).stdout
    np.save(tmp_path / "bare.npy", rows.vectors)
    bare = ended(folder, "--queries", tmp_path / "bare.npy")
    assert (bare.exit_code, "does not say of which model" in bare.stderr) == (2, True)


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["price<10"], {"a"}),
        (["price >= 5", "kind != boot"], {"a"}),
        (["kind in shoe, boot"], {"a", "b"}),
        (['kind="10"'], {"c"}),
        (["price in 5,10"], {"a", "b"}),
        (["kind==slipper"], set()),
        (['"kind" = boot', '"price" in 5,10'], {"b"}),
    ],
)
def test_filters_are_read_as_people_write_them(toys, tmp_path, filters, ids):
    folder, rows = toys
    file = write_vectors(rows.take([0]), tmp_path / "query.npy")
    options = [part for text in filters for part in ("--filter", text)]
    done = ended(folder, "--queries", file, "--json", *options)
    assert {hit["id"] for hit in json.loads(done.stdout)["hits"]} == ids


@pytest.mark.parametrize("text", ["price", "price<", "two words<1", "price~3", "price in 1,x"])
def test_a_filter_that_is_none_is_refused(toys, tmp_path, text):
    folder, rows = toys
    done = ended(folder, "--queries", write_vectors(rows, tmp_path / "queries.npy"), "--filter", text)
    assert (done.exit_code, "filter" in done.stderr) == (2, True)


def test_one_query_or_a_file_of_them(toys):
    folder, _ = toys
    for arguments in ((), ("a", "--queries", "b.txt")):
        done = ended(folder, *arguments)
        assert (done.exit_code, "one query, or a file of them" in done.stderr) == (2, True)


@pytest.mark.slow
def test_texts_in_a_file_are_asked_by_the_model(store_of, tmp_path):
    (tmp_path / "queries.csv").write_text("text\n" + "\n".join([*NAMES, NAMES[0]]))
    options = SearchOptions(k=1, encoder=f"clip:{FOLDER}")
    found = list(search_queries(store_of(None), tmp_path / "queries.csv", options))
    assert [(one.query, one.ids) for one in found] == [(name, (name,)) for name in NAMES]


def test_an_index_of_which_nobody_said_the_model_is_named(tmp_path):
    database = lancedb.connect(str(tmp_path / "shop"))
    database.create_table("items", [{"id": "a", "vector": [1.0, 0.0]}])
    done = ended(f"lancedb:{tmp_path / 'shop'}", "a cat", "--encoder", f"clip:{FOLDER}")
    assert (done.exit_code, "items with vector (2 numbers). Say so with embridge adopt" in done.stderr) == (1, True)


def test_hits_that_somebody_deletes_before_their_payload_is_read_are_left_out(tmp_path, monkeypatch):
    class Deleting(MemoryStore):
        def payload(self, space, ids):
            self.delete(["b"])
            return super().payload(space, ids)

    rows = Embeddings.of(np.array([[1, 0], [1, 1], [0, 1]], np.float32), Space("toy", "1", 2), ["a", "b", "c"])
    store = Deleting(rows.space)
    store.upsert(rows, {"kind": ["shoe", "boot", "hat"]})
    monkeypatch.setattr("embridge.jobs.search.open_index", lambda *_: store)
    (found,) = search_queries("toys", write_vectors(rows.take([0]), tmp_path / "query.npy"), SearchOptions(k=3))
    assert (found.ids, found.scores, found.payload) == (("a", "c"), (1.0, 0.0), {"kind": ["shoe", "hat"]})
