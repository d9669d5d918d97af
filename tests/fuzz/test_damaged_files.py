"""Damaged files of every kind: each is read as valid data, or refused by an error of the library; never anything else.

Mutants are drawn by a seed. ``EMBRIDGE_FUZZ=N`` draws N of each kind, as ``make fuzz`` does.
"""

import gzip
import hashlib
import io
import json
from contextlib import suppress

import numpy as np
import pytest
import yaml
from mutants import COUNT, byte_mutants, check, json_mutants, written
from PIL import Image

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import MLP, Composed, Identity, Layer, Linear, Prefix, Provenance
from embridge.adapters.upgrade import seal
from embridge.datasets.captions import read_all_captions
from embridge.datasets.judged_pairs import read_pairs
from embridge.datasets.labels import read_labels
from embridge.datasets.qrels import read_qrels
from embridge.encoders import load
from embridge.encoders._http_request import Answer
from embridge.encoders._images import read_image
from embridge.encoders.caption_cache import encode_once
from embridge.errors import EmbridgeError
from embridge.evaluation import Cell, Report, Task, load_report, load_summary, save_report
from embridge.evaluation.render.html import report_html
from embridge.evaluation.render.markdown import report_markdown
from embridge.jobs.inspect import inspect_path
from embridge.settings import load_settings, load_training_settings
from embridge.vector_files import read_chunks, read_vectors, write_vectors

NEW, OLD = Space("new", "1", 4), Space("old", "1", 3)


def rows(space, count=6, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, space.dim)).astype(np.float32)
    return Embeddings.of(vectors, space, [f"item {i}" for i in range(count)])


SETTINGS = {
    "old": {"captions": "a.npy", "queries": "a.npy", "gallery": "a.npy", "space": {"model": "m", "revision": "1", "dim": 3}},
    "new": {"encoder": "http:m@https://h.example/v1", "dim": 3, "batch_size": 7, "query_prompt": "q: "},
    "fit": {"captions": "c.txt", "method": "ridge", "settings": {"penalty": 0.1}, "seed": 3, "metrics": ["recall_at_10"]},
    "evaluate": {
        "judged": "j.csv", "slices": ["kind"], "metrics": ["mrr_at_5", "recall_at_10"], "precisions": [0.5], "curve": True,
        "gates": ["recall_at_10 new/old >= 0.9 * old/old"], "orders": {"views": "o.txt"}, "unjudged": "zero", "seed": 1,
    },
    "upgrade": "up", "report": "r.json",
}  # fmt: skip
TRAINING = {
    "data": {"vectors": "a.npy", "labels": "l.npy", "classes": ["a", 1], "held_out": 0.1},
    "objective": {"name": "bct", "settings": {"weight": 1.0}},
    "old": {"vectors": "a.npy", "known": ["a"], "renormalise": True},
    "ancestors": [{"vectors": "a.npy"}],
    "backbone": {"name": "vector-head", "settings": {}},
    "training": {"epochs": 3, "batch_size": 8},
    "seed": 1, "model": "m", "upgrade": "u",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("read", "settings"), [(load_settings, SETTINGS), (load_training_settings, TRAINING)])
def test_settings(tmp_path, read, settings):
    for name in ("a.npy", "l.npy", "c.txt", "j.csv", "o.txt"):
        (tmp_path / name).touch()
    content = yaml.safe_dump(settings).encode()
    path = tmp_path / "settings.yaml"
    mutants = [json.dumps(m).encode() for m in json_mutants(settings, COUNT // 2)]
    assert (
        check([*byte_mutants(content, COUNT // 2), *mutants], written(path, content, lambda: read(path))) > COUNT // 4
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.npy", "x.npy.json", "x.parquet", "x.arrow"])
def test_vectors(tmp_path, name):
    path = tmp_path / name.removesuffix(".json")
    write_vectors(rows(OLD), path)
    content = (tmp_path / name).read_bytes()

    def read():
        with suppress(EmbridgeError):
            inspect_path(path)
        assert sum(map(len, read_chunks(path, rows=4))) == len(read_vectors(path))

    mutants = list(byte_mutants(content, COUNT))
    if name.endswith(".json"):
        mutants[COUNT // 2 :] = [json.dumps(m).encode() for m in json_mutants(content, COUNT // 2)]
    assert check(mutants, written(tmp_path / name, content, read)) > COUNT // 8


def upgrades():
    still = Layer(np.zeros((4, 3), np.float32), np.ones(3, np.float32))
    linear = Linear(NEW, OLD, np.ones((4, 3), np.float32), np.ones(3, np.float32), normalize_input=True)
    bridges = {"linear": linear, "mlp": MLP(NEW, OLD, [still], skip=still), "prefix": Prefix(NEW, OLD)}
    bridges["composed"] = Composed([Identity(NEW, NEW), linear])
    return {
        name: Upgrade(Identity(NEW, NEW), bridge, Provenance("hand", figures={"n": 1}))
        for name, bridge in bridges.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(upgrades()))
def test_upgrades(tmp_path, kind):
    """Also those whose JSON was edited and sealed again: the seal shows accidents alone."""
    folder = upgrades()[kind].save(tmp_path / "up")
    manifest, weights = folder / "upgrade.json", folder / "weights.safetensors"
    whole, tensors = json.loads(manifest.read_bytes()), weights.read_bytes()

    def read(mutant):
        described, content = (whole, tensors) if mutant is None else mutant
        if isinstance(described, dict):
            described.pop("sha256", None)
            described = json.dumps(described | {"sha256": seal(described)})
        manifest.write_text(described)
        weights.write_bytes(content)
        upgrade = Upgrade.load(folder)
        if upgrade.new_space.dim <= 4_096:
            assert upgrade.to_index_space(rows(upgrade.new_space)).space == upgrade.old_space
        upgrade.save(folder.parent / "again")

    count = COUNT // 3
    mutants = [(mutant, tensors) for mutant in json_mutants(whole, count)]
    mutants += [(m.decode("utf-8", "replace"), tensors) for m in byte_mutants(json.dumps(whole).encode(), count // 4)]
    for mutant in byte_mutants(tensors, count):
        mutants.append((dict(whole) | {"weights_sha256": hashlib.sha256(mutant).hexdigest()}, mutant))
    assert check(mutants, read) > count // 2


def report():
    ranked, gains = np.array([[0, 1], [1, 2]]), np.array([[1, 0], [0, 1]], np.float32)
    task = Task("", ("q1", "q2"), ("a", "b", "c"), 3, np.array([1, 1]), np.ones((2, 1), np.float32))
    names = ("old/old", "new/old", "new/new", "naive")
    return Report(
        (task,), tuple(Cell("", name, ranked, gains / 2, gains) for name in names), ("recall_at_1", "recall_at_2")
    )


@pytest.mark.slow
def test_reports(tmp_path):
    path = tmp_path / "report.json"
    save_report(report(), path)
    whole = json.loads(path.read_bytes())

    def read():
        summary = load_summary(path)
        report_markdown(summary)
        report_html(summary)
        load_report(path)

    mutants = [json.dumps(m).encode() for m in json_mutants(whole, COUNT)]
    mutants += byte_mutants(path.read_bytes(), COUNT // 4)
    assert check(mutants, written(path, path.read_bytes(), read)) > COUNT // 8


@pytest.mark.slow
def test_values_of_reports(tmp_path):
    path, values = tmp_path / "report.json", tmp_path / "report.parquet"
    save_report(report(), path)
    whole, content = json.loads(path.read_bytes()), values.read_bytes()

    def read(mutant):
        values.unlink()
        values.write_bytes(content if mutant is None else mutant)
        entry = whole["values"] | {"sha256": hashlib.sha256(values.read_bytes()).hexdigest()}
        path.write_text(json.dumps(whole | {"values": entry}))
        load_report(path).figures()

    assert check(byte_mutants(content, COUNT), read) > COUNT // 8


TABLES = {
    "pairs.csv": 'text,image,n\n"a, b",x.png,1\nc,y.png,2\n',
    "pairs.tsv": "query\tdocument\ta\nq\td\t1\n",
    "pairs.jsonl": '{"query": "q", "document": "d"}\n{"query": "r", "document": null}\n',
    "labels.csv": "id,label\n1.png,cat\n2.png,dog\n",
    "qrels.trec": "q1 0 d1 2\nq2 0 d2 0\n",
    "qrels.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
    "captions.txt": "a black cat\n\ntwo boats\r\nnaïve 猫\n",
    "captions.csv": "caption,n\na,1\n",
    "captions.jsonl": '{"caption": "a"}\n{"caption": ["b", "c"]}\n',
}
READERS = {"pairs": read_pairs, "labels": read_labels, "qrels": read_qrels, "captions": read_all_captions}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TABLES))
def test_tables(tmp_path, name):
    path, content = tmp_path / name, TABLES[name].encode()
    read = READERS[name.partition(".")[0]]
    if name in ("pairs.jsonl", "captions.jsonl"):
        content = content.splitlines()[0]
    check(byte_mutants(content, COUNT // 2), written(path, content, lambda: read(path)))


def parquet(**columns):
    pyarrow, writer = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    writer.write_table(pyarrow.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("pairs.parquet", parquet(query=["q", "r"], document=["d", "e"]), read_pairs),
        ("captions.parquet", parquet(caption=["a", "b"]), read_all_captions),
        ("captions.txt.gz", gzip.compress(b"a black cat\ntwo boats\n", mtime=0), read_all_captions),
    ],
)
def test_binary_tables(tmp_path, name, content, read):
    path = tmp_path / name
    assert check(byte_mutants(content, COUNT // 2), written(path, content, lambda: read(path))) > COUNT // 16


class Words:
    """An encoder of words, so small that encoding again costs nothing."""

    space, modalities = OLD, frozenset({"text"})

    def encode(self, items, *, modality, role="document"):
        return np.array([[1.0, len(item), 2.0] for item in items], np.float32)


@pytest.mark.slow
def test_caption_caches(tmp_path):
    captions = ["a", "bb", "ccc"]
    encode_once(Words(), captions, tmp_path, role="query")
    (journal,) = tmp_path.rglob("shards.json")
    vectors = journal.with_name("vectors.f16")
    texts, numbers = journal.read_bytes(), vectors.read_bytes()

    def read(mutant):
        journal.write_bytes(texts if mutant is None else mutant[0])
        vectors.unlink()
        vectors.write_bytes(numbers if mutant is None else mutant[1])
        assert len(encode_once(Words(), captions, tmp_path, role="query").ids) == 3

    mutants = [(json.dumps(m).encode(), numbers) for m in json_mutants(texts, COUNT // 2)]
    mutants += [(m, numbers) for m in byte_mutants(texts, COUNT // 4)]
    mutants += [(texts, m) for m in byte_mutants(numbers, COUNT // 4)]
    assert check(mutants, read) > COUNT // 8


@pytest.mark.slow
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_images(tmp_path, form):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    path = tmp_path / f"x.{form.lower()}"
    Image.fromarray(pixels).save(path, form)

    def read():
        made = read_image(path, lambda image: np.asarray(image.convert("RGB")), row=0)
        assert made.dtype == np.uint8
        assert made.ndim == 3

    check(byte_mutants(path.read_bytes(), COUNT // 2), written(path, path.read_bytes(), read))


def test_answers_over_http(monkeypatch):
    encoder = load("http:m@http://127.0.0.1:9/v1", dim=3, tries=1, pause_seconds=0.0)
    vectors = [[0.1, -2.0, 3.0], [1.0, 2.0, 0.5]]
    whole = {"object": "list", "data": [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]}
    right = json.dumps(whole).encode()

    def read(mutant):
        answer = Answer(200, {"content-type": "application/json"}, right if mutant is None else mutant)
        monkeypatch.setattr(encoder._connection, "post", lambda *_, **__: answer)
        made = encoder.encode(["a", "b"], modality="text")
        np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)

    mutants = [json.dumps(m).encode() for m in json_mutants(whole, COUNT // 2)]
    assert check([*mutants, *byte_mutants(right, COUNT // 2)], read) > COUNT // 2
