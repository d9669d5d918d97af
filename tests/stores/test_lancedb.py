import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError
from embridge.space import Space
from embridge.stores import Condition, open_store
from embridge.stores.lancedb import LanceStore

SPACE = Space("toy", "1", 4)


def rows(n=6, start=0):
    vectors = np.random.default_rng(start).normal(size=(n, 4)).astype(np.float32)
    return Embeddings(tuple(f"{start + i:06d}" for i in range(n)), vectors, SPACE)


@pytest.fixture
def store(tmp_path):
    store = LanceStore(tmp_path / "store", create=True)
    store.add_space(SPACE)
    return store


def test_open_store_opens_what_was_made(store):
    store.upsert(rows())
    assert open_store(store.path).count(SPACE) == 6


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match="nowhere does not exist; expected a folder with a LanceDB store"):
        open_store(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("create", [False, True])
def test_a_file_is_not_a_store(tmp_path, create):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"file (is a file; expected a folder|cannot be opened)"):
        open_store(tmp_path / "file", create=create)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_other_things_is_not_a_store(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"cat")
    with pytest.raises(StoreError, match="holds no table; is it another folder"):
        open_store(tmp_path)


def test_tables_of_others_are_listed_until_one_is_declared(tmp_path):
    database = lancedb.connect(str(tmp_path))
    for number in range(2):
        database.create_table(f"docs{number}", [{"vector": [1.0, 0.0], "id": 7, "text": "a cat"}])
    store = open_store(tmp_path)
    assert store.spaces() == []
    assert {table.name: set(table.columns) for table in store.tables()} == {
        "docs0": {"id", "text"},
        "docs1": {"id", "text"},
    }
    for file in (tmp_path / "docs0.lance" / "_versions").iterdir():
        file.write_bytes(b"damaged")
    with pytest.raises(StoreError, match=r"cannot be (read|opened)"):
        open_store(tmp_path).tables()


def test_tables_of_others_are_left_alone(tmp_path, store):
    database = lancedb.connect(str(store.path))
    database.create_table("photos", pa.table({"x": [1]}))
    database.create_table("space_travel", pa.table({"x": [1]}))
    assert open_store(store.path).spaces() == [SPACE]


def test_a_table_that_was_made_in_part_is_none_until_it_is_made(tmp_path, store):
    """What a full disk leaves, or a kill: the store opens, and the space can be added."""
    added = Space("added", "1", 2)
    (store.path / f"space_{added.id}.lance" / "data").mkdir(parents=True)
    opened = open_store(store.path)
    assert added not in opened.spaces()
    opened.add_space(added)
    opened.upsert(Embeddings.of(np.eye(2, dtype=np.float32), added, ["a", "b"]))
    assert open_store(store.path).count(added) == 2


def test_a_damaged_table_is_a_store_error(store):
    store.upsert(rows())
    for file in (store.path / f"space_{SPACE.id}.lance" / "_versions").iterdir():
        file.write_bytes(b"damaged")
    with pytest.raises(StoreError, match="cannot be opened as a LanceDB store"):
        open_store(store.path)


def test_a_table_whose_vectors_are_gone_is_a_store_error(store):
    store.upsert(rows())
    opened = open_store(store.path)
    for file in (store.path / f"space_{SPACE.id}.lance" / "data").iterdir():
        file.unlink()
    for call in (
        lambda: list(opened.scan(SPACE)),
        lambda: opened.search(rows(1), 2),
        lambda: opened.payload(SPACE, ["000001"]),
        lambda: opened.upsert(rows(3)),
    ):
        with pytest.raises(StoreError, match=str(store.path)):
            call()


def test_a_column_keeps_its_type(store):
    store.upsert(rows(), {"number": [1, 2, 3, 4, 5, 6]})
    with pytest.raises(
        InvalidInput, match="payload column 'number' holds whole numbers, came text; convert the values"
    ):
        store.upsert(rows(start=10), {"number": ["one"] * 6})
    with pytest.raises(InvalidInput, match="payload column 'number' holds whole numbers, came numbers"):
        store.upsert(rows(start=10), {"number": [1.0] * 6})
    with pytest.raises(InvalidInput, match="a column holds one type"):
        store.upsert(rows(start=10), {"number": [1, "one", 3, 4, 5, 6]})
    assert store.count(SPACE) == 6


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.float64(3.5), np.float32(3.5), np.int64(4), 4])
def test_filters_take_numbers_of_numpy(store, value):
    store.upsert(rows(), {"number": [1, 2, 3, 4, 5, 6]})
    found = store.search(rows(1), 6, filter=(Condition("number", ">=", value),))
    assert set(found.ids[0]) == {"000003", "000004", "000005"}


def test_whole_numbers_join_floats(store):
    store.upsert(rows(2), {"share": [0.5, 1.5]})
    store.upsert(rows(2, start=2), {"share": [1, None]})
    assert store.payload(SPACE, ["000002", "000003"])["share"] == [1.0, None]


@pytest.mark.slow
@pytest.mark.parametrize("stopped", ["before", "after the rename", "before the end", "never"])
def test_a_column_without_values_is_settled_by_the_first_one_wherever_that_was_stopped(store, stopped):
    store.upsert(rows(2), {"brand": [None, None], "price": [1, 2]})
    table = lancedb.connect(str(store.path)).open_table(f"space_{SPACE.id}")
    if stopped != "before":
        table.alter_columns({"path": "brand", "rename": "_blank_brand"})
    if stopped == "before the end":
        table.add_columns([pa.field("brand", pa.string())])
    again = open_store(store.path)
    assert again.payload(SPACE, ["000001"]) == {"brand": [None], "price": [2]}
    assert again.search(rows(1), 2, filter=(Condition("brand", "!=", "x"),)).ids == ((),)
    again.upsert(rows(2, start=5), {"brand": ["acme", None], "price": [3, 4]})
    again.upsert(rows(1, start=9), {"brand": ["zeta"], "price": [5]})
    assert again.payload(SPACE, ["000000", "000005", "000009"]) == {"brand": [None, "acme", "zeta"], "price": [1, 3, 5]}
    found = open_store(store.path).search(rows(1), 9, filter=(Condition("brand", "!=", "acme"),))
    assert found.ids == (("000009",),)


def test_columns_of_other_writers_are_read_and_not_compared(store):
    table = lancedb.connect(str(store.path)).open_table(f"space_{SPACE.id}")
    table.add_columns([pa.field("tags", pa.list_(pa.string()))])
    table.add(
        pa.table({"id": ["a"], "vector": pa.array([[1.0, 0, 0, 0]], pa.list_(pa.float32(), 4)), "tags": [["x", "y"]]})
    )
    assert store.payload(SPACE, ["a"]) == {"tags": [["x", "y"]]}
    with pytest.raises(InvalidInput, match=r"does not fit the column, which holds list<.*>"):
        store.search(rows(1), 1, filter=(Condition("tags", "==", "x"),))
    with pytest.raises(InvalidInput, match=r"payload column 'tags' holds list<.*>, came text"):
        store.upsert(rows(1), {"tags": ["x"]})


@pytest.mark.parametrize("length", [1e-20, 1e25])
def test_vectors_that_leave_float32_when_squared_are_refused(store, length):
    vectors = np.zeros((2, 4), np.float32)
    vectors[0, 0], vectors[1, 1] = 1, length
    with pytest.raises(InvalidInput, match=r"first 'b' of length 1e[-+]\d+; scale them, to length one"):
        store.upsert(Embeddings(("a", "b"), vectors, SPACE))
    assert store.count(SPACE) == 0
    store.upsert(rows())
    far = Embeddings.of(vectors[1:], SPACE)
    assert set(store.search(far, 6).ids[0]) == set(rows().ids), "the length of a query is no matter"


def test_two_writers_that_opened_an_empty_store_keep_each_others_rows(store):
    other = open_store(store.path)
    store.upsert(rows(2), {"number": [1, 2]})
    other.upsert(rows(3, start=10), {"number": [3, 4, 5]})
    assert store.count(SPACE) == other.count(SPACE) == 5
    assert store.payload(SPACE, ["000001", "000010"])["number"] == [2, 3]
    assert store.search(rows(1, start=10), 1).ids == (("000010",),)


@pytest.mark.slow
def test_writers_at_once_neither_repeat_an_id_nor_lose_a_write(store):
    """Without a primary key LanceDB inserts an id as often as it has writers."""

    def write(number):
        own = open_store(store.path)
        for start in (0, 6, 12):
            own.upsert(rows(start=start), {"number": [start] * 6, "kind": ["same"] * 6})
            own.upsert(rows(2, start=100 * (number + 1)), {"number": [number] * 2, "kind": [None] * 2})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(name for part in store.scan(SPACE) for name in part.ids) == store.ids(SPACE, limit=99)
    assert store.count(SPACE) == 18 + 4 * 2
    assert store.payload(SPACE, ["000013", "000301"]) == {"number": [12, 2], "kind": ["same", None]}


def test_many_ids_at_once(store):
    many = rows(5_000)
    store.upsert(many, {"number": list(range(5_000))})
    order = np.random.default_rng(0).permutation(5_000)
    assert store.payload(SPACE, [many.ids[i] for i in order])["number"] == order.tolist()
    assert store.payload(SPACE, ["000002", "000002"])["number"] == [2, 2]


WRITER = """
import sys
import numpy as np
from embridge.embeddings import Embeddings
from embridge.space import Space
from embridge.stores.lancedb import LanceStore

space = Space("toy", "1", 4)
store = LanceStore(sys.argv[1])
vectors = np.random.default_rng(0).normal(size=(40_000, 4)).astype(np.float32)
print("writing", flush=True)
for start in range(0, 1_000):
    ids = tuple(f"z{start:03d} {i}" for i in range(len(vectors)))
    store.upsert(Embeddings(ids, vectors, space))
    print("whole", flush=True)
"""


@pytest.mark.slow
def test_a_writer_that_is_interrupted_leaves_whole_writes(store):
    earlier = rows()
    store.upsert(earlier)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "writing\n"
    assert writer.stdout.readline() == "whole\n"
    time.sleep(0.15)  # in the middle of a later one
    writer.send_signal(signal.SIGINT)
    told, errors = writer.communicate(timeout=300)
    assert writer.returncode in (1, 130, -signal.SIGINT), errors
    again = open_store(store.path)
    written = (again.count(SPACE) - len(earlier)) / 40_000
    assert written in (told.count("whole") + 1, told.count("whole") + 2), "a part of a write is in the store"
    assert again.ids(SPACE, limit=len(earlier)) == list(earlier.ids)
    found = again.fetch(SPACE, earlier.ids)
    np.testing.assert_array_equal(found.vectors, earlier.vectors)
    again.upsert(rows(3, start=500))
    assert again.payload(SPACE, ["000500"]) == {}


def test_zeros_have_no_cosine(store):
    some = rows()
    vectors = some.vectors.copy()
    vectors[2] = 0
    store.upsert(Embeddings(some.ids, vectors, SPACE))
    zeros = Embeddings.of(np.stack([vectors[2], vectors[0]]), SPACE)
    nothing, found = store.search(zeros, 6).ids
    assert nothing == ()
    assert set(found) == set(some.ids) - {some.ids[2]}


def test_damaged_documents_are_named_in_one_line(tmp_path):
    store = LanceStore(tmp_path / "shop", create=True)
    assert store.documents.swap("lease", None, {"holder": "me"})
    for file in (tmp_path / "shop" / "embridge_documents.lance" / "data").iterdir():
        file.write_bytes(b"no data")
    with pytest.raises(StoreError, match=r"shop cannot be read: .*; restore it from a copy if it is damaged"):
        store.documents.read("lease")


def test_old_versions_of_documents_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("embridge.stores._lance_documents._TIDIED_EVERY", 4)
    monkeypatch.setattr("embridge.stores._lance_documents._KEPT", timedelta(milliseconds=1))
    store, other = (LanceStore(tmp_path / "shop", create=True) for _ in range(2))
    state = None
    for step in range(18):
        assert store.swap_state(state, {"step": step})
        state = other.read_state()
        assert state == {"step": step}
    versions = lancedb.connect(tmp_path / "shop").open_table("embridge_documents").list_versions()
    assert len(versions) < 9  # of 19
    assert LanceStore(tmp_path / "shop", create=True).read_state() == {"step": 17}
