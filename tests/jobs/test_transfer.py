"""Rows of a store to a file and back: the same rows, a part at a time, whole or not at all."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embridge import Embeddings, Space, open_store, read_vectors, write_vectors
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.jobs import transfer
from embridge.jobs.import_vectors import VectorFile, import_vectors
from embridge.jobs.transfer import export_store

OLD, NEW = Space("old", "1", 3), Space("new", "1", 4)
PAYLOAD = {
    "title": [None, "zwei", "drei", "vier", None],
    "price": [1, 2, None, 2.5, 3],  # whole numbers first
    "sold": [True, None, False, True, True],
    "blank": [None] * 5,
}


def rows_of(space, n=5):
    vectors = np.random.default_rng(0).normal(size=(n, space.dim)).astype(np.float32)
    return Embeddings.of(vectors, space, [f"ü'{i}" for i in range(n)])


@pytest.fixture
def shop(tmp_path):
    """A LanceDB store of one space, with a payload."""
    store = open_store(tmp_path / "shop", create=True)
    store.add_space(OLD)
    store.upsert(rows_of(OLD), PAYLOAD)
    return tmp_path / "shop"


def by_id(rows):
    return dict(zip(rows.ids, map(bytes, rows.vectors), strict=True))


@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".npy", ".parquet"])
def test_what_is_exported_and_imported_again_is_the_same(shop, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(transfer, "_ROWS", 2)  # three parts
    heard = []
    done = export_store(shop, tmp_path / f"x{suffix}", progress=lambda *event: heard.append(event))
    assert done.rows == 5
    assert heard[-1][:2] == (5, 5)
    assert by_id(read_vectors(tmp_path / f"x{suffix}")) == by_id(rows_of(OLD))
    assert set(done.columns) == (set() if suffix == ".npy" else set(PAYLOAD))
    assert set(done.left_out) == (set(PAYLOAD) if suffix == ".npy" else set())
    for _ in range(2):  # twice is once
        assert import_vectors(VectorFile(tmp_path / f"x{suffix}"), tmp_path / "again").rows == 5
    again = open_store(tmp_path / "again")
    assert again.count(OLD) == 5
    assert by_id(again.fetch(OLD, rows_of(OLD).ids)) == by_id(rows_of(OLD))
    expected = {} if suffix == ".npy" else PAYLOAD
    assert again.payload(OLD, rows_of(OLD).ids) == expected


def test_a_column_of_another_kind_later_on_begins_the_file_again(tmp_path):
    parts = [(rows_of(OLD, 2), {"n": [None, 1]}), (rows_of(OLD).take([3, 4]), {"n": [0.5, None]})]
    begun = []

    def read():
        begun.append(len(begun))
        return iter(parts)

    assert transfer.write_rows(read, tmp_path / "x.parquet", OLD) == 4
    assert len(begun) == 2
    assert pq.read_table(tmp_path / "x.parquet")["n"].to_pylist() == [None, 1.0, 0.5, None]
    parts[1][1]["n"] = ["text", None]
    with pytest.raises(InvalidInput, match=r"column 'n' holds int and str; a column holds one of"):
        transfer.write_rows(read, tmp_path / "x.parquet", OLD)
    assert pq.read_table(tmp_path / "x.parquet")["n"].to_pylist() == [None, 1.0, 0.5, None]  # the earlier file stands


def test_an_export_that_fails_leaves_nothing(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_ROWS", 2)

    def stop(done, total, what):
        raise KeyboardInterrupt

    for name in ("x.npy", "x.parquet"):
        with pytest.raises(KeyboardInterrupt):
            export_store(shop, tmp_path / name, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop"]


def test_which_space_is_said_where_there_are_several(shop, tmp_path):
    store = open_store(shop)
    store.add_space(NEW)
    with pytest.raises(SettingsError, match=rf"holds 2 spaces; say which by its id with --space: .*{OLD.id}"):
        export_store(shop, tmp_path / "x.npy")
    with pytest.raises(SettingsError, match=r"--space older is none of the spaces held"):
        export_store(shop, tmp_path / "x.npy", space="older")
    with pytest.raises(InvalidInput, match=r"has no rows of new@1"):
        export_store(shop, tmp_path / "x.npy", space=NEW.id)
    assert export_store(shop, tmp_path / "x.npy", space="old").space == OLD


def test_files_of_others_are_not_overwritten(shop, tmp_path):
    pq.write_table(pa.table({"mine": [1]}), tmp_path / "x.parquet")
    np.save(tmp_path / "x.npy", np.eye(2))
    (tmp_path / "y.npy.json").write_text("{}")
    for name in ("x.npy", "x.parquet", "y.npy"):
        with pytest.raises(InvalidInput, match=r"choose another name"):
            export_store(shop, tmp_path / name)
    with pytest.raises(InvalidInput, match=r"vectors are kept as .*, not as \.csv"):
        export_store(shop, tmp_path / "x.csv")
    assert pq.read_table(tmp_path / "x.parquet").column_names == ["mine"]
    for _ in range(2):  # our own are replaced
        export_store(shop, tmp_path / "z.npy")
        export_store(shop, tmp_path / "z.parquet")


def test_a_dry_run_writes_nothing(shop, tmp_path):
    done = export_store(shop, tmp_path / "x.parquet", dry_run=True)
    assert (done.rows, done.written) == (5, False)
    assert "would go from lancedb:" in str(done)
    write_vectors(rows_of(OLD), tmp_path / "y.parquet")
    done = import_vectors(VectorFile(tmp_path / "y.parquet"), tmp_path / "none", dry_run=True)
    assert (done.rows, done.written) == (5, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop", "y.parquet"]


def test_tables_of_others_are_imported_by_the_names_of_their_columns(tmp_path):
    table = {
        "sku": [7, 8],
        "embedding": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        "title": ["a", None],
        "price": pa.array([1, 2], pa.int32()),
        "tags": [["x"], []],
        "my colour": ["red", "blue"],
    }
    table["embedding"] = pa.array(table["embedding"], pa.list_(pa.float32()))
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    columns = {"id": "sku", "vector": "embedding"}
    with pytest.raises(SettingsError, match=r"does not say of which model its vectors are; name it with --encoder"):
        import_vectors(VectorFile(tmp_path / "x.parquet", columns=columns), tmp_path / "shop")
    open_store(tmp_path / "shop", create=True).add_space(OLD)
    named = VectorFile(tmp_path / "x.parquet", space="old", columns=columns)
    done = import_vectors(named, tmp_path / "shop")
    assert done.left_out == {"tags": "list<element: string>", "my colour": "no plain name"}
    assert open_store(tmp_path / "shop").payload(OLD, ["8"]) == {"title": [None], "price": [2]}
    with pytest.raises(InvalidInput, match=r"has no column 'colour' beside its vectors"):
        import_vectors(VectorFile(tmp_path / "x.parquet", "old", None, columns, ["colour"]), tmp_path / "shop")
    with pytest.raises(InvalidInput, match=r"payload is text, truths and numbers; came \{'tags'"):
        import_vectors(VectorFile(tmp_path / "x.parquet", "old", None, columns, ["tags"]), tmp_path / "shop")
    open_store(f"faiss:{tmp_path / 'shop.faiss'}", create=True).add_space(OLD)
    done = import_vectors(named, f"faiss:{tmp_path / 'shop.faiss'}")
    assert (done.rows, done.columns, set(done.left_out.values())) == (2, (), {"the store holds no payload"})


def test_vectors_of_another_space_are_refused_and_repeats_told(tmp_path, monkeypatch):
    open_store(tmp_path / "shop", create=True).add_space(Space("old", "2", 3))
    write_vectors(rows_of(OLD), tmp_path / "x.parquet")
    with pytest.raises(SpaceMismatch, match=r"they differ in revision"):
        import_vectors(VectorFile(tmp_path / "x.parquet", space=Space("old", "2", 3).id), tmp_path / "shop")
    import_vectors(VectorFile(tmp_path / "x.parquet"), tmp_path / "shop")
    assert len(open_store(tmp_path / "shop").spaces()) == 2
    monkeypatch.setattr("embridge.jobs.import_vectors._ROWS", 2)
    table = pa.concat_tables([pq.read_table(tmp_path / "x.parquet"), pq.read_table(tmp_path / "x.parquet")])
    pq.write_table(table.slice(0, 6), tmp_path / "x.parquet")
    with pytest.warns(UserWarning, match=r"1 ids repeat; of rows of one id the last stands"):
        import_vectors(VectorFile(tmp_path / "x.parquet"), tmp_path / "shop")


def test_the_json_of_an_npy_is_as_write_vectors_writes_it(shop, tmp_path):
    export_store(shop, tmp_path / "x.npy")
    read = read_vectors(tmp_path / "x.npy")
    write_vectors(Embeddings(read.ids, np.array(read.vectors), OLD), tmp_path / "y.npy")
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()
    assert json.loads((tmp_path / "x.npy.json").read_text()) == json.loads((tmp_path / "y.npy.json").read_text())
