import json
import multiprocessing
import os
import warnings

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mutants import byte_mutants

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError, StoreError
from embridge.space import Space
from embridge.stores import Declaration, Place, open_store
from embridge.stores._faiss_files import _next, _note
from embridge.stores.faiss import FaissStore
from embridge.stores.urls import parse_url
from embridge.testing import ForeignTable, check_adopted_store, check_store

DIM = 8
COSINE, DOT, L2 = (Space("toy", "1", DIM, metric) for metric in ("cosine", "dot", "l2"))
METRICS = {"cosine": faiss.METRIC_INNER_PRODUCT, "dot": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
READ_BACK = (
    "Flat", "IDMap,Flat", "IDMap2,Flat", "IVF4,Flat", "IDMap,IVF4,Flat", "IVF4,PQ4x4", "IVF4,SQ8", "PQ4x4", "SQ8", "HNSW8",
    "HNSW8_SQ8", "IDMap,HNSW8", "PCA4,Flat", "OPQ4,IVF4,PQ4x4", "IVF4,Flat,RFlat",
)  # fmt: skip


def vectors(n=60, seed=0, dim=DIM):
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def index_of(key, rows, metric="cosine", numbers=None):
    index = faiss.index_factory(rows.shape[1], key, METRICS[metric])
    training = np.concatenate([rows] * 20)
    index.train(training)
    if numbers is None:
        index.add(rows)
    else:
        index.add_with_ids(rows, np.asarray(numbers, np.int64))
    return index


def made(tmp_path, key="Flat", *, metric="cosine", ids=None, numbers=None, rows=None):
    """A file that someone made, and its URL."""
    path = tmp_path / "items.faiss"
    rows = vectors() if rows is None else rows
    if numbers is None and key.startswith("IDMap"):
        numbers = range(len(rows))
    faiss.write_index(index_of(key, rows, metric, numbers), str(path))
    if ids is None:
        return f"faiss:{path}"
    names = tmp_path / "ids.json"
    names.write_text(json.dumps(ids))
    return f"faiss:{path}?ids={names}"


def adopted(url, space=COSINE):
    store = open_store(url)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(names no ids|a copy in memory|its codes tell)")
        store.adopt(Declaration(space, Place("items.faiss")))
    return store


NAMES = [f"item {i:03d}" for i in range(60)]


def empty(spaces, location):
    store = open_store(f"faiss:{location / 'items.faiss'}", create=True)
    for space in spaces:
        store.add_space(space)
    return store


@pytest.mark.slow
def test_contract():
    assert check_store(empty) == ["payload: capabilities.payload is False", "filters: capabilities.filter is False"]


def written_ids(ids, location, suffix, columns):
    path = location / f"ids{suffix}"
    if not isinstance(ids[0], int):
        ids = list(map(str, ids))
    if suffix == ".txt":
        path.write_text("\n".join(map(str, ids)))
    elif suffix == ".json":
        path.write_text(json.dumps(ids))
    elif suffix == ".npy":
        np.save(path, np.array(ids))
    else:
        pq.write_table(pa.table({"sku": ids, **columns}), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "suffix", "options"),
    [
        ("Flat", ".json", ""),
        ("Flat", ".txt", ""),
        ("IDMap2,Flat", ".npy", ""),
        ("IDMap,Flat", ".parquet", "&column=sku"),
        ("IVF2,Flat", ".json", "&nprobe=2"),
    ],
)
def test_contract_of_files_that_were_there_before(key, suffix, options):
    def make(ids, rows, columns, metric, location):
        if suffix == ".txt" and isinstance(ids[0], int):
            return None  # lines are text
        location.mkdir()
        path = location / "items.faiss"
        rows = rows if metric != "cosine" else rows / np.linalg.norm(rows, axis=1, keepdims=True)
        faiss.write_index(index_of(key, rows, metric, range(len(ids)) if "IDMap" in key else None), str(path))
        names = written_ids(ids, location, suffix, columns)
        url = parse_url(f"faiss:{path}?ids={names}{options}")

        def snapshot():
            held = faiss.read_index(str(path))
            if "IVF" in key:
                held.make_direct_map()
            return names.read_bytes(), path.read_bytes()

        return ForeignTable(lambda documents: FaissStore(url, documents=documents), Place("items.faiss"), snapshot)

    skipped = check_adopted_store(make)
    assert all("numbers" in kind for kind in skipped)
    assert bool(skipped) == (suffix == ".txt")


@pytest.mark.parametrize("key", sorted(READ_BACK))
def test_files_of_every_kind_are_read_and_searched(tmp_path, key):
    store = adopted(made(tmp_path, key, ids=NAMES))
    assert store.count(COSINE) == 60
    part = next(store.scan(COSINE))
    assert sorted(part.ids) == NAMES
    own = np.array([NAMES.index(name) for name in part.ids])
    apart = np.abs(part.vectors - vectors()[own]).max()
    assert (apart < 1e-6) == store.capabilities.exact_scores
    assert store.capabilities.exact == (key in ("Flat", "IDMap,Flat", "IDMap2,Flat"))
    query = Embeddings.of(vectors(1, 5), COSINE)
    hits = store.search(query, 30)
    stored = store.fetch(COSINE, hits.ids[0]).vectors
    cosines = stored @ query.vectors[0] / np.linalg.norm(stored, axis=1)
    np.testing.assert_allclose(hits.scores[0], cosines, atol=1e-5)
    assert (np.diff(hits.scores[0]) <= 0).all()


def test_numbers_of_the_file_are_ids_in_order_of_value(tmp_path):
    numbers = [7, 10, 9, *range(100, 157)]
    store = adopted(made(tmp_path, "IDMap2,Flat", numbers=numbers))
    assert store.ids(COSINE, limit=3) == ["7", "9", "10"]
    assert store.ids(COSINE, after="8", limit=1) == ["9"]
    store.upsert(Embeddings.of(vectors(1, 9), COSINE, ["-5"]))
    assert store.ids(COSINE, limit=1) == ["-5"]
    with pytest.raises(InvalidInput, match=r"ids are whole numbers of 64 bits there, came 'item'"):
        store.upsert(Embeddings.of(vectors(1), COSINE, ["item"]))


def test_rows_without_ids_are_called_by_their_numbers(tmp_path):
    store = open_store(made(tmp_path))
    with pytest.warns(UserWarning, match=r"names no ids: rows are called by their numbers, 0 to 59"):
        store.adopt(Declaration(COSINE, Place("items.faiss")))
    with pytest.raises(StoreError, match=r"ids are row numbers there, and would move. Name ids of your own"):
        store.delete(["3"])
    with pytest.raises(InvalidInput, match=r"expected 60 and those that follow for new rows, came '70'"):
        store.upsert(Embeddings.of(vectors(1), COSINE, ["70"]))
    store.upsert(Embeddings.of(vectors(2, 4), COSINE, ["60", "3"]))
    np.testing.assert_array_equal(faiss.read_index(str(store.path)).reconstruct(3), vectors(2, 4)[1])


def test_what_an_index_cannot_do_is_refused_and_changes_nothing(tmp_path):
    store = adopted(made(tmp_path, "HNSW8", ids=NAMES))
    before = store.path.read_bytes()
    for call in (lambda: store.delete(NAMES[:1]), lambda: store.upsert(Embeddings.of(vectors(1), COSINE, NAMES[:1]))):
        with pytest.raises(StoreError, match=r"FAISS cannot .* in an index of kind HNSWFlat.*add_space, which can"):
            call()
    assert store.path.read_bytes() == before
    store.upsert(Embeddings.of(vectors(1, 7), COSINE, ["new"]))
    assert store.search(Embeddings.of(vectors(1, 7), COSINE), 1).ids == (("new",),)


def test_other_metrics_than_the_file_has(tmp_path):
    long = vectors() * np.arange(1, 61, dtype=np.float32)[:, None]
    store = open_store(made(tmp_path, rows=long, ids=NAMES))
    with pytest.warns(
        UserWarning, match=r"compares by the inner product, .* by l2, and its vectors are not of length one"
    ):
        store.adopt(Declaration(L2, Place("items.faiss")))
    query = Embeddings.of(long[7:8], L2)
    assert store.search(query, 1).ids == ((NAMES[7],),)
    (tmp_path / "ann").mkdir()
    ann = open_store(made(tmp_path / "ann", "HNSW8", rows=long, ids=NAMES))
    with pytest.raises(StoreError, match=r"HNSWFlat would find other rows. Make it anew, of vectors of length one"):
        ann.adopt(Declaration(COSINE, Place("items.faiss")))
    (tmp_path / "unit").mkdir()
    unit = adopted(made(tmp_path / "unit", metric="l2", ids=NAMES))
    assert unit.search(Embeddings.of(vectors()[9:10] * 3, COSINE), 1).ids == ((NAMES[9],),)


def test_vectors_beside_make_scores_exact(tmp_path):
    url = made(tmp_path, "IVF4,PQ4x4", ids=NAMES)
    np.save(tmp_path / "vectors.npy", vectors())
    store = adopted(f"{url}&vectors={tmp_path / 'vectors.npy'}&nprobe=4")
    assert store.capabilities.exact_scores
    np.testing.assert_array_equal(store.fetch(COSINE, NAMES[5:6]).vectors, vectors()[5:6])
    assert store.search(Embeddings.of(vectors()[5:6], COSINE), 1).scores[0, 0] == pytest.approx(1)
    with pytest.raises(StoreError, match=r"the file of its vectors .* would not follow"):
        store.delete(NAMES[:1])
    np.save(tmp_path / "vectors.npy", vectors()[:9])
    with pytest.raises(StoreError, match=r"expected at least 60 rows, one for every number in the index, came 9"):
        store.count(COSINE)


def test_columns_of_a_parquet_file_are_read(tmp_path):
    url = made(tmp_path)
    pq.write_table(
        pa.table({"sku": NAMES, "title": [f"t {n}" for n in NAMES], "raw": [b"x"] * 60}), tmp_path / "a.parquet"
    )
    store = adopted(f"{url}?ids={tmp_path / 'a.parquet'}&column=sku")
    assert store.payload(COSINE, NAMES[4:2:-1]) == {"title": ["t item 004", "t item 003"]}
    assert store.column(COSINE, ["nobody", NAMES[1]], "raw") == [None, b"x"]
    scanned = list(store.scan_with_payload(COSINE, ["title"], rows=25))
    assert [payload["title"][-1] for _, payload in scanned] == ["t item 024", "t item 049", "t item 059"]
    assert [title for _, payload in scanned for title in payload["title"]] == [f"t {name}" for name in NAMES]
    assert store.tables()[0].columns == {"sku": "text", "title": "text", "raw": "binary"}
    with pytest.raises(StoreError, match=r"a.parquet is not written: its other columns are yours"):
        store.delete(NAMES[:1])
    store.upsert(Embeddings.of(vectors(1, 4), COSINE, NAMES[:1]))  # needs no other ids


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ids.txt", b"a\nb\n", r"holds 60 rows .*, and the file beside it 2 ids"),
        ("ids.txt", b"a\n\n" + b"b\n" * 58, r"id 1: expected texts that are not empty, or whole numbers, came ''"),
        ("ids.txt", b"a\n" * 60, r"59 ids repeat, first 'a'"),
        ("ids.txt", b"\xff\xfe", "holds no ids that can be read"),
        ("ids.json", b"{}", "expected a list of ids, came dict"),
        ("ids.json", b"[1, null]", "id 0: expected texts that are not empty, or whole numbers, came 1"),
        ("ids.npy", b"\x93NUMPY", "holds no ids that can be read"),
        ("ids.csv", b"sku,title\na,b\n", r"there is no column 'id'; there are \['sku', 'title'\]"),
        ("ids.parquet", b"PAR1", "holds no ids that can be read"),
        ("gone.txt", None, "gone.txt does not exist; expected the ids of a FAISS file"),
    ],
)
def test_ids_that_cannot_be_used(tmp_path, name, content, message):
    url = made(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StoreError, match=message) as refusal:
        adopted(f"{url}?ids={tmp_path / name}")
    assert "\n" not in str(refusal.value)


def test_files_and_urls_that_cannot_be_used(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere.faiss does not exist; expected a file of faiss.write_index"):
        open_store(f"faiss:{tmp_path / 'nowhere.faiss'}")
    with pytest.raises(StoreError, match="is a folder"):
        open_store(f"faiss:{tmp_path}")
    for options, message in {
        "idz=a": "unknown idz; expected",
        "nprobe=0": "nprobe is a whole number of at least 1",
    }.items():
        with pytest.raises(SettingsError, match=message):
            open_store(f"faiss:{tmp_path / 'items.faiss'}?{options}", create=True)
    (tmp_path / "cat.png").write_bytes(b"\x89PNG cat")
    with pytest.raises(StoreError, match=r"cat.png cannot be read as a FAISS file"):
        open_store(f"faiss:{tmp_path / 'cat.png'}").tables()
    faiss.write_index(index_of("LSH", vectors(), "l2"), str(tmp_path / "lsh.faiss"))
    with pytest.raises(
        StoreError, match="a FAISS index LSH, which does not give its vectors back here; expected one of Flat"
    ):
        open_store(f"faiss:{tmp_path / 'lsh.faiss'}").tables()
    store = open_store(made(tmp_path, ids=NAMES))
    with pytest.raises(StoreError, match=r"holds vectors of 8 numbers, and other@1 .* has 3"):
        store.adopt(Declaration(Space("other", "1", 3), Place("items.faiss")))


@pytest.mark.parametrize("key", ["Flat", "HNSW8", "IDMap2,Flat", "IVF4,Flat"])
def test_damaged_files_are_refused_or_read(tmp_path, key):
    url = made(tmp_path, key, ids=NAMES)
    path, faults = tmp_path / "items.faiss", []
    content = path.read_bytes()
    for mutant in byte_mutants(content, 25):
        path.write_bytes(mutant)
        (tmp_path / "items.faiss.embridge.json").unlink(missing_ok=True)
        try:
            store = adopted(url)
            store.search(Embeddings.of(vectors(2, 5), COSINE), 60)
            list(store.raw(Place("items.faiss")))
        except StoreError as error:
            faults.append(str(error))
    assert 3 < len(faults) < 25
    assert all("\n" not in fault for fault in faults)


def test_what_another_process_writes_is_seen(store):
    other = open_store(f"faiss:{store.path}")
    other.upsert(Embeddings.of(vectors(1, 3), COSINE, ["theirs"]))
    assert store.count(COSINE) == 61
    assert store.search(Embeddings.of(vectors(1, 3), COSINE), 1).ids == (("theirs",),)


@pytest.fixture
def store(tmp_path):
    store = open_store(f"faiss:{tmp_path / 'own' / 'items.faiss'}", create=True)
    store.add_space(COSINE)
    store.upsert(Embeddings.of(vectors(), COSINE, NAMES))
    return store


def write_some(path, start):
    store = open_store(f"faiss:{path}")
    for i in range(start, start + 5):
        store.upsert(Embeddings.of(vectors(1, i), COSINE, [f"more {i}"]))


def test_of_two_writers_none_loses_rows(store):
    writers = [
        multiprocessing.get_context("fork").Process(target=write_some, args=(store.path, start)) for start in (0, 5)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert store.count(COSINE) == 70


@pytest.mark.parametrize("step", ["before the note", "after the note", "between the files"])
def test_a_writer_that_is_killed_leaves_the_rows_of_before_or_of_after(store, step, monkeypatch):
    files = store._files_of(store.declaration(COSINE).place.table)
    replace, calls = os.replace, []

    def stopping(source, target):
        calls.append(target)
        if len(calls) == {"before the note": 1, "after the note": 2, "between the files": 3}[step]:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(KeyboardInterrupt):
        store.upsert(Embeddings.of(vectors(1, 3), COSINE, ["new"]))
    monkeypatch.undo()
    again = open_store(f"faiss:{store.path}")
    assert again.count(COSINE) == (60 if step == "before the note" else 61)
    again.upsert(Embeddings.of(vectors(1, 3), COSINE, ["new"]))
    assert sorted(next(again.scan(COSINE)).ids) == [*NAMES, "new"]
    left = {path.name for path in files.index.parent.iterdir()} - {"items.faiss.embridge.json.lock"}
    assert left == {"items.faiss.embridge.json", files.index.name, files.ids.name}
    assert not _note(files).exists()
    assert not _next(files.index).exists()
