"""Tables that LanceDB's own client made: adopted, read and written beside, and left as they are."""

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import IvfFlat

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError
from embridge.nearest import search
from embridge.space import Space
from embridge.stores import Condition, Declaration, Place, open_store
from embridge.stores.lancedb import LanceStore
from embridge.testing import ForeignTable, check_adopted_store

ID, VECTOR = "Item ID", "Vec-1"


def id_column(ids):
    if isinstance(ids[0], str):
        return pa.array(ids)
    if isinstance(ids[0], int):
        return pa.array(ids, pa.int64())
    return pa.array([one.bytes for one in ids], pa.binary(16))


def vector_column(vectors, kind, *, fixed=True):
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1)).cast(kind)
    if fixed:
        return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.ListArray.from_arrays(pa.array(range(0, vectors.size + 1, vectors.shape[1]), pa.int32()), flat)


def made(path, ids, vectors, columns, *, kind=None, fixed=True):
    """A table of ids of any kind, two columns of vectors and others, made by LanceDB's client."""
    second = vector_column(np.ones((len(ids), 3), np.float32), pa.float32())
    arrays = {ID: id_column(ids), VECTOR: vector_column(vectors, kind or pa.float32(), fixed=fixed), "second": second}
    arrays |= {name: pa.array(values) for name, values in columns.items()} | {"tags": pa.array([["x"]] * len(ids))}
    return lancedb.connect(str(path)).create_table("docs", pa.table(arrays))


def foreign(kind, *, fixed=True):
    def make(ids, vectors, columns, metric, location):
        table = made(location, ids, vectors, columns, kind=kind, fixed=fixed)
        names = table.schema.names

        def snapshot():
            return lancedb.connect(str(location)).open_table("docs").search().select(names).to_arrow().sort_by(ID)

        def opened(documents):
            return LanceStore(location, table="docs", documents=documents)

        return ForeignTable(opened, Place("docs", VECTOR, ID), snapshot)

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fixed"),
    [(pa.float32(), True), (pa.float64(), False)],
    ids=["float32", "lists of float64"],
)
def test_contract_of_adopted_tables(kind, fixed):
    assert check_adopted_store(foreign(kind, fixed=fixed)) == []


IDS = [f"item {i}" for i in range(6)]
VECTORS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
SPACE = Space("toy", "1", 4)
PLACE = Place("docs", VECTOR, ID)


def adopted(path, space=SPACE, place=PLACE):
    store = LanceStore(path, table="docs")
    store.adopt(Declaration(space, place))
    return store


def test_an_index_of_float16_says_that_it_is_not_exact(tmp_path):
    made(tmp_path, IDS, VECTORS, {}, kind=pa.float16())
    store = adopted(tmp_path)
    assert not store.capabilities.exact
    half = Embeddings.of(VECTORS.astype(np.float16).astype(np.float32), SPACE, IDS)
    np.testing.assert_array_equal(store.fetch(SPACE, IDS).vectors, half.vectors)
    assert [ids[0] for ids in store.search(half, 1).ids] == IDS


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_vectors_of_float64_are_searched_exactly(tmp_path, metric):
    made(tmp_path, IDS, VECTORS, {}, kind=pa.float64())
    space = Space("toy", "1", 4, metric)
    store, rows = adopted(tmp_path, space), Embeddings.of(VECTORS, space, IDS)
    assert store.capabilities.exact
    np.testing.assert_array_equal(store.fetch(space, IDS).vectors, VECTORS)
    found, exact = (each(rows, 4) for each in (store.search, lambda queries, k: search(queries, rows, k)))
    assert found.ids == exact.ids
    np.testing.assert_array_equal(found.scores, exact.scores)
    store.upsert(rows.with_vectors(-VECTORS, space))
    np.testing.assert_array_equal(store.fetch(space, IDS).vectors, -VECTORS)


@pytest.mark.parametrize("kind", ["text", "uint64", "int8", "uuid"])
def test_ids_of_any_type_are_text_without_loss(tmp_path, kind):
    column, texts = {
        "text": (
            pa.array(["", "007", "7", "it's", "x" * 5_000], pa.large_string()),
            ["", "007", "7", "it's", "x" * 5_000],
        ),
        "uint64": (pa.array([0, 7, 2**63, 2**64 - 1], pa.uint64()), ["0", "7", str(2**63), str(2**64 - 1)]),
        "int8": (pa.array([-128, -1, 0, 127], pa.int8()), ["-128", "-1", "0", "127"]),
        "uuid": (
            pa.ExtensionArray.from_storage(
                pa.uuid(), pa.array([UUID(int=i).bytes for i in (0, 1, 2**128 - 1)], pa.binary(16))
            ),
            [str(UUID(int=i)) for i in (0, 1, 2**128 - 1)],
        ),
    }[kind]
    if kind == "text":
        column, texts = column.slice(1), texts[1:]
    table = pa.table({ID: column, VECTOR: vector_column(np.eye(4, dtype=np.float32)[: len(texts)], pa.float32())})
    lancedb.connect(str(tmp_path)).create_table("docs", table)
    store = adopted(tmp_path)
    assert store.ids(SPACE, limit=9) == texts
    assert store.ids(SPACE, after=texts[-2], limit=9) == texts[-1:]
    others = ["nobody", "07", "+7", " 7", "7.0", "1e3", "٣", str(2**64), "-129", str(UUID(int=1)).upper() + "x"]
    assert store.fetch(SPACE, [*others, *texts[::-1]]).ids == tuple(texts[::-1])
    stranger = Embeddings.of(np.eye(4, dtype=np.float32)[:1], SPACE, ["nobody"])
    if kind != "text":
        with pytest.raises(InvalidInput, match=r"ids of this table are (whole numbers|UUIDs), came 'nobody'"):
            store.upsert(stranger)
        with pytest.raises(InvalidInput, match="after is an id of the table, came 'nobody'"):
            store.ids(SPACE, after="nobody", limit=1)
    store.delete([*others, texts[0]])
    assert store.ids(SPACE, limit=9) == texts[1:]


def test_rows_that_cannot_be_used_are_odd_or_refused_and_never_found(tmp_path):
    lists = [[1, 0, 0, 0], [0, 1, 0], None, [0, 0, float("nan"), 1], [0, None, 1, 0], [0, 1, 0, 0], []]
    arrays = {ID: pa.array([*"abcdefg"]), VECTOR: pa.array(lists, pa.list_(pa.float32()))}
    lancedb.connect(str(tmp_path)).create_table("docs", pa.table(arrays))
    with pytest.warns(UserWarning, match="are of dim 0, 3 too; search passes them by, and a scan refuses them"):
        store = adopted(tmp_path)
    (part,) = store.raw(PLACE)
    assert part.ids == ("a", "d", "e", "f")
    assert part.odd == (("b", "3 dimensions"), ("g", "0 dimensions"))
    assert [tuple(np.isnan(row)) for row in part.vectors[1:3]] == [(0, 0, 1, 0), (0, 1, 0, 0)]
    assert (store.count(SPACE), store.ids(SPACE, limit=9)) == (6, [*"abdefg"])
    with pytest.raises(StoreError, match=r"row 'b' and 1 more of .* cannot be used: 3 dimensions; look at all of them"):
        list(store.scan(SPACE))
    assert store.fetch(SPACE, [*"abcdef"]).ids == ("a", "f")
    assert store.search(Embeddings.of(np.eye(4, dtype=np.float32)[:1], SPACE), 9).ids == (("a", "f"),)


def test_fixed_lists_with_nan_and_without_a_vector_are_passed_by_in_search(tmp_path):
    vectors = [[1, 0, 0, 0], None, [float("nan")] * 4, [0, float("inf"), 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0]]
    arrays = {ID: pa.array(IDS), VECTOR: pa.array(vectors, pa.list_(pa.float32(), 4))}
    lancedb.connect(str(tmp_path)).create_table("docs", pa.table(arrays))
    store = adopted(tmp_path)
    assert store.search(Embeddings.of(np.eye(4, dtype=np.float32)[:1], SPACE), 6).ids == (("item 0", "item 4"),)
    assert store.count(SPACE) == 5
    with pytest.raises(StoreError, match=r"hold NaN or infinity.*ids 'item 2', 'item 3'"):
        list(store.scan(SPACE))


@pytest.mark.parametrize(
    ("place", "space", "message"),
    [
        (Place("photos", VECTOR, ID), SPACE, "is of table 'docs', came 'photos'"),
        (Place("docs", "title", ID), SPACE, r"no column of vectors 'title'; it has \['Vec-1', 'second'\]"),
        (Place("docs", VECTOR, ""), SPACE, r"no column of ids ''; name one of \['Item ID', 'title'\]"),
        (PLACE, Space("toy", "1", 3), "are of dim 4; .* has 3"),
        (
            Place("docs", VECTOR, "title"),
            SPACE,
            r"1 ids in 'title' of table 'docs' repeat, such as 'x'; ids name one row",
        ),
    ],
)
def test_what_cannot_be_adopted_is_said_in_a_line(tmp_path, place, space, message):
    made(tmp_path, IDS, VECTORS, {"title": ["x"] * 6})
    with pytest.raises(StoreError, match=message) as refusal:
        adopted(tmp_path, space, place)
    assert "\n" not in str(refusal.value)
    assert LanceStore(tmp_path, table="docs").spaces() == []


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (pa.array(["a", "", "c"]), "'Item ID' of table 'docs' is empty in some row"),
        (
            pa.array([0.5, 1.5, 2.5]),
            "no column of ids 'Item ID', which is double; name one of none: ids are text, whole",
        ),
        (pa.array(["a", "b", "c"]).dictionary_encode(), "no column of ids 'Item ID', which is dictionary"),
    ],
    ids=["empty", "fractions", "words"],
)
def test_ids_that_no_row_can_have_are_refused(tmp_path, ids, message):
    arrays = {ID: ids, VECTOR: vector_column(VECTORS[:3], pa.float32())}
    lancedb.connect(str(tmp_path)).create_table("docs", pa.table(arrays))
    with pytest.raises(StoreError, match=message):
        adopted(tmp_path)


def test_columns_are_payload_whatever_their_names(tmp_path):
    words = pa.array(["new", "old"] * 3).dictionary_encode()
    columns = {"the state's": words, "Größe": list(range(6)), "order": [True, False] * 3}
    made(tmp_path, IDS, VECTORS, columns)
    store = adopted(tmp_path)
    assert store.payload(SPACE, IDS[:2]) == {"the state's": ["new", "old"], "Größe": [0, 1], "order": [True, False]}
    filters = (Condition("the state's", "==", "old"), Condition("Größe", ">", 1), Condition("order", "!=", True))
    assert set(store.search(Embeddings.of(VECTORS[:1], SPACE), 9, filter=filters).ids[0]) == {"item 3", "item 5"}


def test_a_damaged_file_of_vectors_is_a_line_that_names_no_source_of_lance(tmp_path):
    made(tmp_path, IDS, VECTORS, {})
    store = adopted(tmp_path)
    for file in (tmp_path / "docs.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(StoreError, match=r"cannot be read: .*restore it from a copy") as refusal:
        list(store.scan(SPACE))
    assert ".rs" not in str(refusal.value)


def test_rows_without_an_id_are_refused(tmp_path):
    arrays = {ID: pa.array(["a", None, None]), VECTOR: vector_column(VECTORS[:3], pa.float32())}
    lancedb.connect(str(tmp_path)).create_table("docs", pa.table(arrays))
    with pytest.raises(StoreError, match="2 rows of table 'docs' have no 'Item ID'; every row needs an id of its own"):
        adopted(tmp_path)
    odd = next(LanceStore(tmp_path, table="docs").raw(PLACE)).odd
    assert odd == (("", "it has no id"), ("", "it has no id"))


def test_an_index_of_another_metric_is_told_when_adopting(tmp_path):
    many = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    table = made(tmp_path, [str(i) for i in range(300)], many, {})
    table.create_index(VECTOR, config=IvfFlat(distance_type="l2", num_partitions=1))
    with pytest.warns(
        UserWarning, match=r"the index on 'Vec-1' of table 'docs' compares by l2, .* by cosine: search passes"
    ):
        store = adopted(tmp_path)
    (state,) = store.indexes(SPACE)
    assert (state.kind, state.metric, state.rows, state.rows_outside) == ("IVF_FLAT", "l2", 300, 0)
    assert store.capabilities.exact
    queries = Embeddings.of(many[:3], SPACE)
    assert store.search(queries, 5).ids == search(queries, Embeddings.of(many, SPACE), 5).ids


def test_tables_are_described_and_documents_are_hidden(tmp_path):
    made(tmp_path, IDS, VECTORS, {"title": ["x"] * 6})
    store = adopted(tmp_path)
    store.add_space(Space("new", "1", 2))
    assert "embridge_documents" in lancedb.connect(str(tmp_path)).list_tables().tables
    docs, beside = sorted(store.tables(), key=lambda table: table.name)
    assert (docs.name, docs.rows, beside.rows) == ("docs", 6, 0)
    assert {name: column.dim for name, column in docs.vectors.items()} == {VECTOR: 4, "second": 3}
    assert docs.columns == {ID: "text", "title": "text", "tags": "list<item: string>"}
    assert beside.name.startswith("docs_embridge_")
    every = open_store(f"lancedb:{tmp_path}")
    assert ([table.name for table in every.tables()], every.spaces()) == (["docs", beside.name], [])
    with pytest.raises(StoreError, match=r"has no table 'photos'; there are \['docs'"):
        open_store(f"lancedb:{tmp_path}#photos")


def test_dates_and_uuids_come_as_text_and_are_not_compared(tmp_path):
    day, moment = datetime.date(2026, 3, 1), datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.UTC)
    uuids = pa.array([UUID(int=7).bytes] * 6, pa.binary(16))
    made(tmp_path, IDS, VECTORS, {"day": [day, None] * 3, "at": [moment] * 6, "key": uuids, "raw": [b"x"] * 6})
    store = adopted(tmp_path)
    assert store.payload(SPACE, IDS[:2]) == {
        "day": ["2026-03-01", None], "at": ["2026-03-01T12:30:00+00:00"] * 2, "key": [str(UUID(int=7))] * 2
    }  # fmt: skip
    assert store.column(SPACE, IDS[:1], "raw") == [b"x"]
    assert store.column(SPACE, IDS[:1], "tags") == [["x"]]
    with pytest.raises(InvalidInput, match=r"does not fit the column, which holds date32"):
        store.search(Embeddings.of(VECTORS[:1], SPACE), 1, filter=(Condition("day", "==", "2026-03-01"),))


def test_a_value_that_an_adopted_column_cannot_hold_is_refused_and_the_rows_stand(tmp_path):
    table = made(tmp_path, IDS, VECTORS, {"stock": pa.array(range(6), pa.int8())})
    store, before = adopted(tmp_path), table.to_arrow()
    for columns, message in (({"stock": [1_000]}, "'stock' holds int8"), ({"colour": ["red"]}, r"carry \['stock'\]")):
        with pytest.raises(InvalidInput, match=message):
            store.upsert(Embeddings.of(-VECTORS[:1], SPACE, IDS[:1]), columns)
    table.checkout_latest()
    assert table.to_arrow() == before
    store.upsert(Embeddings.of(-VECTORS[:1], SPACE, IDS[:1]), {"stock": [9]})
    assert (store.payload(SPACE, IDS[:2]), store.column(SPACE, IDS[:1], "tags")) == ({"stock": [9, 1]}, [["x"]])


def test_what_another_client_adopts_forgets_and_drops_is_seen(tmp_path):
    table = made(tmp_path, IDS, VECTORS, {})
    mine, other = (LanceStore(tmp_path, table="docs") for _ in range(2))
    mine.adopt(Declaration(SPACE, PLACE))
    assert other.count(SPACE) == 6
    other.forget(SPACE)
    assert mine.spaces() == []
    mine.adopt(Declaration(SPACE, PLACE))
    new = Space("new", "1", 4)
    other.add_space(new)
    other.upsert(Embeddings.of(VECTORS, new, IDS))
    mine.delete(IDS[:2])
    assert (other.count(new), other.count(SPACE), mine.missing(new, SPACE, limit=9)) == (4, 4, [])
    table.checkout_latest()
    table.drop_columns([VECTOR])
    assert other.spaces() == [new]


def test_a_uri_is_passed_on_as_it_is(tmp_path):
    made(tmp_path, IDS, VECTORS, {})
    store = open_store(f"lancedb:file://{tmp_path}#docs")
    store.adopt(Declaration(SPACE, PLACE))
    assert store.swap_state(None, {"step": 1})
    assert (store.count(SPACE), open_store(f"lancedb:{tmp_path}#docs").read_state()) == (6, {"step": 1})
    with pytest.raises(
        StoreError, match=r"^s3://no-such-bucket-here/db cannot be opened as a LanceDB store: "
    ) as refusal:
        open_store("lancedb:s3://no-such-bucket-here/db#docs")
    assert "\n" not in str(refusal.value)
    with pytest.raises(
        StoreError, match=r"^db://shop: LanceDB Cloud is not supported; name a folder or object storage"
    ):
        open_store("lancedb:db://shop#docs")


@pytest.mark.slow
def test_of_many_writers_of_one_document_exactly_one_wins_each_time(tmp_path):
    def writer(number):
        store, wins = LanceStore(tmp_path, create=True), 0
        for _ in range(12):
            state = store.read_state()
            wins += store.swap_state(state, {"wins": (state or {"wins": 0})["wins"] + 1, "by": number})
            store.documents.swap(f"other {number}", None, {})  # in the same row of the table
        return wins

    with ThreadPoolExecutor(4) as pool:
        wins = sum(pool.map(writer, range(4)))
    assert LanceStore(tmp_path, create=True).read_state()["wins"] == wins >= 12


def test_damaged_documents_are_a_store_error(tmp_path):
    made(tmp_path, IDS, VECTORS, {})
    adopted(tmp_path)
    lancedb.connect(str(tmp_path)).open_table("embridge_documents").update(values={"documents": "{"})
    with pytest.raises(StoreError, match="the table embridge_documents is damaged"):
        LanceStore(tmp_path, table="docs")


def test_two_writers_that_insert_the_same_new_ids_at_once_leave_one_row_each(tmp_path):
    space, start = Space("toy", "1", 4), threading.Barrier(2)
    made(tmp_path, ["a"], np.ones((1, 4), np.float32), {})
    LanceStore(tmp_path, table="docs").adopt(Declaration(space, Place("docs", VECTOR, ID)))
    stores = [LanceStore(tmp_path, table="docs") for _ in range(2)]

    def write(number):
        for turn in range(6):
            rows = Embeddings(tuple(f"{turn} {i}" for i in range(3)), np.full((3, 4), number + 1, np.float32), space)
            start.wait()
            stores[number].upsert(rows)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    ids = lancedb.connect(str(tmp_path)).open_table("docs").to_arrow()[ID].to_pylist()
    assert sorted(ids) == [*(f"{turn} {i}" for turn in range(6) for i in range(3)), "a"]
