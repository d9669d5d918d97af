import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from embridge.embeddings import Embeddings, concatenate
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.space import Space
from embridge.vector_files import SUFFIXES, raw_chunks, read_chunks, read_space, read_vectors, write_vectors

SPACE = Space("toy", "1", 3, recipe="ü")
ALL = pytest.mark.parametrize("suffix", SUFFIXES)


def some(n=10, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    return Embeddings(tuple(f"it's «{seed}» {i}" for i in range(n)), vectors, SPACE)


def assert_same(came, expected):
    assert came.ids == expected.ids
    assert came.space == expected.space
    assert came.vectors.tobytes() == expected.vectors.tobytes()


def write_table(path, columns, metadata=None):
    table = pa.table(columns).replace_schema_metadata(metadata)
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


@ALL
def test_what_is_written_is_read(tmp_path, suffix):
    rows = some()
    path = write_vectors(rows, tmp_path / f"x{suffix}")
    assert_same(read_vectors(path), rows)
    assert_same(read_vectors(path, space=SPACE), rows)
    assert read_space(path) == SPACE


@ALL
@pytest.mark.parametrize("size", [1, 3, 10, 11])
def test_chunks_joined_are_the_file(tmp_path, suffix, size):
    path = write_vectors(some(), tmp_path / f"x{suffix}")
    parts = list(read_chunks(path, rows=size))
    assert max(len(part) for part in parts) <= size
    assert_same(concatenate(parts), some())


@ALL
def test_a_file_is_replaced(tmp_path, suffix):
    path = write_vectors(some(), tmp_path / f"x{suffix}")
    write_vectors(some(4, seed=1), path)
    assert_same(read_vectors(path), some(4, seed=1))


@ALL
@pytest.mark.parametrize("step", [0, 1])
def test_a_crash_never_pairs_ids_and_vectors_of_two_writes(tmp_path, suffix, step, monkeypatch):
    old, new, path = some(), some(seed=1), tmp_path / f"x{suffix}"
    write_vectors(old, path)
    real, calls = os.replace, []

    def crashing(*args):
        calls.append(args)
        if len(calls) == step + 1:
            raise OSError("no space left")
        real(*args)

    monkeypatch.setattr(os, "replace", crashing)
    if suffix == ".npy" or step == 0:
        with pytest.raises(OSError, match="no space left"):
            write_vectors(new, path)
    else:
        write_vectors(new, path)
    if suffix == ".npy":  # the JSON goes first: a file that says nothing rather than something wrong
        with pytest.raises(InvalidInput, match="does not say of which model"):
            read_vectors(path)
    else:
        assert_same(read_vectors(path), old if step == 0 else new)
    assert {p.name for p in tmp_path.iterdir()} <= {path.name, path.name + ".json"}


def test_npy_and_arrow_are_read_through_a_memory_map(tmp_path):
    assert isinstance(read_vectors(write_vectors(some(), tmp_path / "x.npy")).vectors, np.memmap)
    before = pa.total_allocated_bytes()
    rows = read_vectors(write_vectors(some(100_000), tmp_path / "x.arrow"))
    assert pa.total_allocated_bytes() - before < rows.vectors.nbytes / 2


@ALL
def test_another_space_is_refused(tmp_path, suffix):
    path = write_vectors(some(), tmp_path / f"x{suffix}")
    other = Space("toy", "2", 3)
    with pytest.raises(SpaceMismatch, match=rf"x{suffix}: expected vectors of toy@2"):
        read_vectors(path, space=other)
    with pytest.raises(SpaceMismatch, match="they differ in revision"):
        list(read_chunks(path, space=other))


@ALL
def test_missing_files_are_named(tmp_path, suffix):
    path = tmp_path / f"nowhere{suffix}"
    for call in (read_vectors, lambda p: list(read_chunks(p)), lambda p: list(raw_chunks(p)), read_space):
        with pytest.raises(InvalidInput, match=rf"nowhere{suffix} does not exist; expected a file of vectors"):
            call(path)


@ALL
def test_truncated_and_foreign_files_are_refused(tmp_path, suffix):
    path = write_vectors(some(), tmp_path / f"x{suffix}")
    whole = path.read_bytes()
    for content in (b"", b"cat", whole[: len(whole) // 2], whole[:-3]):
        path.write_bytes(content)
        for call in (read_vectors, lambda p: list(read_chunks(p))):
            with pytest.raises(InvalidInput, match="cannot be read as"):
                call(path)


def test_a_pickle_is_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="cannot be read as npy"):
        read_vectors(tmp_path / "x.npy", space=SPACE)


@pytest.mark.parametrize("name", ["x.txt", "x", "x.npz"])
def test_other_suffixes_are_refused(tmp_path, name):
    for call in (read_vectors, read_space, lambda p: list(read_chunks(p)), lambda p: write_vectors(some(), p)):
        with pytest.raises(InvalidInput, match=r"vectors are kept as .npy, .parquet, .arrow, not as"):
            call(tmp_path / name)


def test_a_bare_npy_needs_its_space_named(tmp_path):
    np.save(tmp_path / "x.npy", some().vectors)
    assert read_space(tmp_path / "x.npy") is None
    with pytest.raises(InvalidInput, match="does not say of which model its 3-d vectors are; name it with space="):
        read_vectors(tmp_path / "x.npy")
    assert read_vectors(tmp_path / "x.npy", space=SPACE).ids == tuple(map(str, range(10)))
    assert [part.ids for part in read_chunks(tmp_path / "x.npy", rows=9, space=SPACE)][1] == ("9",)
    with pytest.raises(InvalidInput, match=r"expected shape \[n, 4\], came \[10, 3\]"):
        read_vectors(tmp_path / "x.npy", space=Space("toy", "1", 4))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_cast_only_where_asked(tmp_path, dtype):
    np.save(tmp_path / "x.npy", some().vectors.astype(dtype))
    with pytest.raises(InvalidInput, match=f"expected float32, came {np.dtype(dtype)}"):
        read_vectors(tmp_path / "x.npy", space=SPACE)
    cast = read_vectors(tmp_path / "x.npy", space=SPACE, cast=True)
    np.testing.assert_array_equal(cast.vectors, some().vectors.astype(dtype).astype(np.float32))
    chunks = concatenate(list(read_chunks(tmp_path / "x.npy", rows=4, space=SPACE, cast=True)))
    assert_same(chunks, cast)


def test_whole_numbers_are_never_cast(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.int64))
    with pytest.raises(InvalidInput, match="expected float32, came int64"):
        read_vectors(tmp_path / "x.npy", space=SPACE, cast=True)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 1)])
def test_npy_files_hold_one_matrix(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.ones(shape, np.float32))
    with pytest.raises(InvalidInput, match=r"expected one array \[n, d\]"):
        read_vectors(tmp_path / "x.npy", space=SPACE)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("{", "does not hold a space and ids"),
        ("[]", "does not hold a space and ids"),
        ('{"space": {}}', "does not hold a space and ids"),
        (json.dumps({"space": {}, "ids": ["a"] * 10}), "a space is written as"),
        (json.dumps({"space": SPACE.to_dict(), "ids": ["a"]}), "holds 10 vectors and its JSON 1 ids"),
        (json.dumps({"space": SPACE.to_dict(), "ids": ["a"] * 10}), "9 repeat"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path, described, message):
    path = write_vectors(some(), tmp_path / "x.npy")
    (tmp_path / "x.npy.json").write_text(described)
    with pytest.raises(InvalidInput, match=message):
        read_vectors(path)


TABLES = pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
FIXED = pa.list_(pa.float32(), 3)


@TABLES
def test_tables_made_elsewhere_are_read(tmp_path, suffix):
    for kind in (FIXED, pa.list_(pa.float32()), pa.large_list(pa.float32())):
        columns = {"vector": pa.array([[1, 2, 3], [4, 5, 6]], kind), "id": ["a", "b"], "more": [1, 2]}
        path = write_table(tmp_path / f"x{suffix}", columns)
        rows = read_vectors(path, space=SPACE)
        assert rows.ids == ("a", "b")
        assert rows.vectors.tolist() == [[1, 2, 3], [4, 5, 6]]
        assert read_space(path) is None


@TABLES
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": ["a"], "vector": pa.array([[1, 2, 3]], FIXED)}, "expected columns id and vector"),
        ({"id": ["a"]}, "expected columns id and vector"),
        ({"id": ["a", "b"], "vector": pa.array([[1, 2, 3], None], FIXED)}, "some vectors are null"),
        ({"id": ["a"], "vector": pa.array([[1, None, 3]], FIXED)}, "NaN or infinity"),
        ({"id": ["a", "b"], "vector": pa.array([[1], [1, 2]], pa.list_(pa.float32()))}, "differ in length"),
        ({"id": ["a", "b"], "vector": pa.array([[1, 2], [1, 2, 3, 4]], pa.list_(pa.float32()))}, "differ in length"),
        ({"id": ["a"], "vector": ["text"]}, "expected lists of numbers"),
        ({"id": ["a"], "vector": [1.0]}, "expected lists of numbers"),
        ({"id": ["a"], "vector": pa.array([[1, 2, 3]], pa.list_(pa.float64()))}, "expected float32, came float64"),
        ({"id": ["a", "a"], "vector": pa.array([[1, 2, 3]] * 2, FIXED)}, "1 repeat"),
        ({"id": [1], "vector": pa.array([[1, 2, 3]], FIXED)}, "expected non-empty strings, came 1 in row 0"),
        ({"id": ["a", None], "vector": pa.array([[1, 2, 3]] * 2, FIXED)}, "came None in row 1"),
        ({"id": pa.array([], pa.string()), "vector": pa.array([], FIXED)}, "no rows"),
    ],
)
@pytest.mark.usefixtures("as_in_production")
def test_other_tables_are_refused(tmp_path, suffix, columns, message):
    path = write_table(tmp_path / f"x{suffix}", columns)
    with pytest.raises(InvalidInput, match=message):
        read_vectors(path, space=Space("toy", "1", 3))


@TABLES
def test_a_damaged_space_in_a_table_is_refused(tmp_path, suffix):
    columns = {"id": ["a"], "vector": pa.array([[1, 2, 3]], FIXED)}
    path = write_table(tmp_path / f"x{suffix}", columns, {"embridge.space": "{"})
    with pytest.raises(InvalidInput, match="does not hold a space"):
        read_vectors(path)
