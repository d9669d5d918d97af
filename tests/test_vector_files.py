import decimal
import io
import json
import os
import threading
import uuid
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from kills import killed

from embridge.embeddings import Embeddings, concatenate
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.space import Space
from embridge.vector_files import (
    SUFFIXES,
    _npy,
    binding,
    has_ids,
    raw_chunks,
    read_chunks,
    read_space,
    read_vectors,
    write_vectors,
)

SPACE = Space("toy", "1", 3, recipe="ü")
ALL = pytest.mark.parametrize("suffix", SUFFIXES)


def some(n=10, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    return Embeddings(tuple(f"it's «{seed}» {i}" for i in range(n)), vectors, SPACE)


def assert_same(came, expected):
    assert came.ids == expected.ids
    assert came.space == expected.space
    assert came.vectors.tobytes() == expected.vectors.tobytes()


def write_table(path, columns, metadata=None, *, stream=False):
    table = pa.table(columns).replace_schema_metadata(metadata)
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    else:
        make = pa.ipc.new_stream if stream else pa.ipc.new_file
        with make(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


@ALL
def test_what_is_written_is_read(tmp_path, suffix):
    rows = some()
    path = write_vectors(rows, tmp_path / f"x{suffix}")
    assert_same(read_vectors(path), rows)
    assert_same(read_vectors(path, space=SPACE), rows)
    assert read_space(path) == SPACE


@pytest.mark.slow
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


@pytest.mark.slow
@ALL
def test_a_kill_anywhere_leaves_one_write_whole(tmp_path, suffix):
    old, new, path = some(), some(seed=1), tmp_path / f"x{suffix}"
    write_vectors(old, path)
    seen = []
    while killed(lambda: write_vectors(new, path), tmp_path, len(seen)):
        rows = read_vectors(path)
        seen.append(rows.ids == new.ids)
        assert_same(rows, new if seen[-1] else old)
        assert_same(concatenate(list(read_chunks(path, rows=3))), rows)
        write_vectors(old, path)
        assert {p.name for p in tmp_path.iterdir()} <= {path.name, path.name + ".json"}
    assert seen == sorted(seen)
    assert {*seen, read_vectors(path).ids == new.ids} == {False, True}


@pytest.mark.slow
@pytest.mark.parametrize("read", [read_vectors, lambda path: concatenate(list(read_chunks(path, rows=4)))])
def test_readers_beside_a_writer_see_one_write(tmp_path, read):
    path = write_vectors(some(seed=0), tmp_path / "x.npy")
    versions, ended = [some(seed=seed) for seed in range(20)], threading.Event()

    def write():
        for rows in versions:
            write_vectors(rows, path)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not ended.is_set():
        rows = read(path)
        assert_same(rows, versions[int(rows.ids[0].split("«")[1][:-3])])
    writer.join()


@pytest.mark.slow
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
        with pytest.raises(InvalidInput, match=r"vectors are kept as .npy, .parquet, .arrow, .feather, not as"):
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


@pytest.mark.slow
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
        ({"id": ["a", ""], "vector": pa.array([[1, 2, 3]] * 2, FIXED)}, "expected non-empty strings, came '' in row 1"),
        (
            {"id": ["a", None], "vector": pa.array([[1, 2, 3]] * 2, FIXED)},
            r"x.*the column id: row 1 has no id \(null\)",
        ),
        ({"id": [7, 7], "vector": pa.array([[1, 2, 3]] * 2, FIXED)}, "x.*1 repeat, for instance '7'"),
        (
            {"id": [1.5], "vector": pa.array([[1, 2, 3]], FIXED)},
            "expected ids as text, whole numbers or UUIDs, came double",
        ),
        ({"id": [True], "vector": pa.array([[1, 2, 3]], FIXED)}, "came bool"),
        ({"id": [b"a"], "vector": pa.array([[1, 2, 3]], FIXED)}, "came binary"),
        (
            {"id": pa.array([bytes(16)], pa.binary(16)), "vector": pa.array([[1, 2, 3]], FIXED)},
            r"came fixed_size_binary\[16\]",
        ),
        ({"id": ["a"], "vector": pa.array([[1, 2, 3]], pa.list_(pa.int8()))}, "expected float32, came int8"),
        ({"id": ["a"], "vector": [["1", "2"]]}, r"expected lists of numbers, came list<.*string"),
        ({"id": ["a"], "vector": [[[1.0], [2.0]]]}, r"expected lists of numbers, came list<.*list"),
        ({"id": ["a"], "vector": [{"x": 1.0}]}, "expected lists of numbers, came struct"),
        ({"id": ["a"], "vector": [[True]]}, r"expected lists of numbers, came list<.*bool"),
        ({"id": ["a"], "vector": pa.array([[]], pa.list_(pa.float32()))}, "are empty"),
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


# The npy and the JSON beside it


@pytest.mark.slow
@pytest.mark.parametrize(
    "resave",
    [
        lambda rows: rows.vectors[::-1],
        lambda rows: rows.vectors.astype(np.float64),
        lambda rows: np.asfortranarray(rows.vectors),
        lambda rows: rows.vectors[:-1],
        lambda rows: np.concatenate([rows.vectors, rows.vectors]),
        lambda rows: np.where(np.arange(10)[:, None] == 9, 0, rows.vectors).astype(np.float32),
    ],
)
def test_an_npy_that_was_saved_again_is_refused_and_inspected(tmp_path, resave):
    path = write_vectors(some(), tmp_path / "x.npy")
    np.save(path, resave(some()))
    message = (
        r"x.npy is not the file that .*x.npy.json was written with, so the ids and the space there are of other vectors"
    )
    for call in (read_vectors, read_space, lambda p: list(read_chunks(p, rows=3))):
        with pytest.raises(InvalidInput, match=message):
            call(path)
    assert message.split()[-1] in binding(path).problem
    assert binding(path).space is None
    assert {ids for ids, _ in raw_chunks(path)} == {None}
    np.save(path, some().vectors)  # and the same again is the same
    assert_same(read_vectors(path), some())


def test_every_block_is_compared_before_it_is_given_away(tmp_path, monkeypatch):
    monkeypatch.setattr(_npy, "BLOCK_BYTES", 64)
    path = write_vectors(some(100), tmp_path / "x.npy")
    content = bytearray(path.read_bytes())
    content[-30] ^= 1  # in row 97
    path.write_bytes(content)
    parts = read_chunks(path, rows=10)
    read = [next(parts) for _ in range(9)]
    assert_same(concatenate(read), some(100).take(np.arange(90)))
    with pytest.raises(InvalidInput, match="is not the file that"):
        next(parts)
    with pytest.raises(InvalidInput, match="is not the file that"):
        read_vectors(path)
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(InvalidInput, match="cannot be read as npy"):
        read_vectors(path)


def test_checksums_of_earlier_versions_are_compared(tmp_path):
    path = write_vectors(some(), tmp_path / "x.npy")
    sidecar = tmp_path / "x.npy.json"
    described = json.loads(sidecar.read_text())
    content = path.read_bytes()
    crc32 = [zlib.crc32(content[start : start + 64]) for start in range(0, len(content), 64)]
    sidecar.write_text(json.dumps(described | {"npy": {"block_bytes": 64, "crc32": crc32}}))
    assert_same(read_vectors(path), some())
    np.save(path, some().vectors[::-1])
    with pytest.raises(InvalidInput, match="is not the file that"):
        read_vectors(path)


@pytest.mark.parametrize(
    "npy",
    [{}, {"block_bytes": 64}, {"block_bytes": 0, "xxh3_64": []}, {"block_bytes": 64, "xxh3_64": "ab"}, [],
     {"block_bytes": 64, "xxh3_64": [], "crc32": []}],
)  # fmt: skip
def test_checksums_of_no_known_kind_are_refused(tmp_path, npy):
    path = write_vectors(some(), tmp_path / "x.npy")
    described = json.loads((tmp_path / "x.npy.json").read_text())
    (tmp_path / "x.npy.json").write_text(json.dumps(described | {"npy": npy}))
    with pytest.raises(InvalidInput, match=r"x.npy.json does not hold a space and ids"):
        read_vectors(path)


def without_checksums(path, age_seconds=60):
    """As earlier versions wrote it; a minute before the npy was written."""
    sidecar = path.with_name(f"{path.name}.json")
    described = json.loads(sidecar.read_text())
    described.pop("npy")
    sidecar.write_text(json.dumps(described))
    at = path.stat().st_mtime - age_seconds
    os.utime(sidecar, (at, at))


@pytest.mark.parametrize("read", [read_vectors, lambda path: concatenate(list(read_chunks(path)))])
def test_pairs_of_earlier_versions_are_read_with_a_warning_if_the_npy_is_newer(tmp_path, read):
    path = write_vectors(some(), tmp_path / "x.npy")
    without_checksums(path, age_seconds=-60)
    assert_same(read(path), some())
    assert binding(path).caution == ""
    without_checksums(path) if "npy" in json.loads((tmp_path / "x.npy.json").read_text()) else os.utime(
        tmp_path / "x.npy.json", (0, 0)
    )
    with pytest.warns(
        UserWarning, match=r"x.npy is newer than .*x.npy.json, which an earlier version wrote without checksums"
    ):
        assert_same(read(path), some())
    assert "is newer than" in binding(path).caution


@pytest.mark.usefixtures("as_in_production")
def test_ids_that_are_whole_numbers_in_a_description_are_their_digits(tmp_path):
    path = write_vectors(some(2), tmp_path / "x.npy")
    described = json.loads((tmp_path / "x.npy.json").read_text())
    (tmp_path / "x.npy.json").write_text(json.dumps(described | {"ids": [-3, 10**20]}))
    assert read_vectors(path).ids == ("-3", "1" + 20 * "0")
    (tmp_path / "x.npy.json").write_text(json.dumps(described | {"ids": [1.5, None]}))
    with pytest.raises(InvalidInput, match=r"x.npy: ids: expected non-empty strings, came 1.5 in row 0"):
        read_vectors(path)


def test_where_ids_come_from_is_known(tmp_path):
    np.save(tmp_path / "bare.npy", some().vectors)
    assert not has_ids(tmp_path / "bare.npy")
    assert all(has_ids(write_vectors(some(), tmp_path / f"x{suffix}")) for suffix in SUFFIXES)


# Numbers


@pytest.mark.parametrize("dtype", [">f4", "<f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_byte_order_and_memory_order_change_no_number(tmp_path, dtype, order):
    np.save(tmp_path / "x.npy", np.array(some().vectors, dtype, order=order))
    for rows in (
        read_vectors(tmp_path / "x.npy", space=SPACE),
        concatenate(list(read_chunks(tmp_path / "x.npy", rows=3, space=SPACE))),
    ):
        np.testing.assert_array_equal(rows.vectors, some().vectors)
    np.save(tmp_path / "x.npy", np.array(some().vectors, ">f8"))
    np.testing.assert_array_equal(read_vectors(tmp_path / "x.npy", space=SPACE, cast=True).vectors, some().vectors)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 3), "V2"), r"came \|V2; if these are bfloat16 numbers, save them with .astype"),
        (np.ones((2, 3), np.uint16), "came uint16; if these are bfloat16"),
        (np.ones((2, 3), np.int8), "came int8; of other numbers, only float16 and float64 are cast"),
        (np.ones((2, 3), bool), "came bool"),
        (np.ones((2, 3), complex), "came complex128"),
        (np.ones((2, 3), [("a", "f4")]), r"expected float32, came \[\('a', '<f4'\)\]"),
        (np.ones((2, 3), "datetime64[s]"), r"came datetime64\[s\]"),
        (np.full((2, 3), "a"), "came <U1"),
        (np.float32(1), r"expected one array \[n, d\], came \(\)"),
        (np.zeros((0, 3), np.float32), "holds no rows"),
        (np.zeros((3, 0), np.float32), "rows of no numbers"),
        (np.array([[1, 2, 3], [1e300, 0, 0]]), "row 1 has numbers beyond float32"),
        (np.array([[1, 2, 3], [1e-60, 0, 0]]), "row 1 has numbers beyond float32"),
        (np.array([[1, 2, 3], [np.nan, 0, 0]]), "NaN or infinity, first row 1"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    for call in (read_vectors, lambda p, **options: list(read_chunks(p, **options))):
        with pytest.raises(InvalidInput, match=rf"x.npy.*{message}"):
            call(tmp_path / "x.npy", space=SPACE, cast=True)


def header(text, version=1):
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode("latin-1")


FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': "


@pytest.mark.parametrize(
    "content",
    [
        header(FLOATS + f"({10**12}, 384)}}"),
        header(FLOATS + f"({10**30}, 384)}}"),
        header(FLOATS + f"(0, {2**62})}}"),
        header(FLOATS + "(-1, 3)}") + bytes(12),
        header(FLOATS + "(True, 3)}") + bytes(12),
        header(FLOATS + "(" * 3000 + "}"),
        header(FLOATS + "-" * 9000 + "1}"),
        header(FLOATS + "(1, 3)}" + " " * 60_000, version=2) + bytes(12),
        header("__import__('os').getcwd()"),
        header("\0\0"),
        header("{'descr': {1: 2}, 'fortran_order': False, 'shape': (1, 3)}"),
        header(FLOATS + "(1, 3)}", version=9),
        b"\x93NUMPY\x03\0" + (2**31).to_bytes(4, "little") + b"{",
    ],
)
def test_headers_are_read_as_data_and_refused_in_one_line(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"x.npy") as caught:
        read_vectors(tmp_path / "x.npy", space=SPACE)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_follows_an_array_is_not_passed_over(tmp_path):
    both = io.BytesIO()
    for seed in (0, 1):
        np.save(both, some(seed=seed).vectors)
    (tmp_path / "x.npy").write_bytes(both.getvalue())
    with pytest.raises(InvalidInput, match="248 bytes after its array; were several arrays saved into one file"):
        read_vectors(tmp_path / "x.npy", space=SPACE)
    np.savez(tmp_path / "y.npz", some().vectors)
    (tmp_path / "y.npz").rename(tmp_path / "y.npy")
    (tmp_path / "z.npy").mkdir()
    for name in ("y.npy", "z.npy"):
        with pytest.raises(InvalidInput, match=f"{name} cannot be read as npy"):
            read_vectors(tmp_path / name, space=SPACE)


# Tables made elsewhere

ID = uuid.UUID(int=5)
TWO = pa.array([[1, 2, 3], [4, 5, 6]], FIXED)


@TABLES
@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        (pa.array([2**53 + 1, -7]), ("9007199254740993", "-7")),
        (pa.array([2**64 - 1, 0], pa.uint64()), ("18446744073709551615", "0")),
        (pa.array(["b", "a"]).dictionary_encode(), ("b", "a")),
        (pa.array(["b", "a"], pa.large_string()), ("b", "a")),
        (pa.array([5, 4]).dictionary_encode(), ("5", "4")),
        (pa.array([decimal.Decimal(12), decimal.Decimal(10**20)], pa.decimal128(38, 0)), ("12", "1" + 20 * "0")),
        (pa.array([ID.bytes, uuid.UUID(int=6).bytes], pa.uuid()), (str(ID), str(uuid.UUID(int=6)))),
    ],
    ids=["int64", "uint64", "dictionary", "large text", "dictionary of int64", "decimal", "uuid"],
)
def test_ids_of_other_kinds_are_their_text(tmp_path, suffix, ids, texts):
    path = write_table(tmp_path / f"x{suffix}", {"id": ids, "vector": TWO})
    assert read_vectors(path, space=SPACE).ids == texts
    assert concatenate(list(read_chunks(path, rows=1, space=SPACE))).ids == texts


@TABLES
def test_vectors_of_other_kinds_are_read(tmp_path, suffix):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    halves = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(1, 7, dtype=np.float16)), 3)
    for vectors in (tensors, halves, pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.float64()))):
        path = write_table(tmp_path / f"x{suffix}", {"id": ["a", "b"], "vector": vectors})
        assert read_vectors(path, space=SPACE, cast=True).vectors.tolist() == [[1, 2, 3], [4, 5, 6]]


@TABLES
def test_columns_are_found_by_the_names_that_are_said(tmp_path, suffix):
    path = write_table(
        tmp_path / f"x{suffix}", {"key.of": ["a", "b"], "text-embedding": TWO, "vector": [1, 2], "id": [1, 2]}
    )
    columns = {"id": "key.of", "vector": "text-embedding"}
    for rows in (
        read_vectors(path, space=SPACE, columns=columns),
        concatenate(list(read_chunks(path, rows=1, space=SPACE, columns=columns))),
    ):
        assert (rows.ids, rows.vectors.tolist()) == (("a", "b"), [[1, 2, 3], [4, 5, 6]])
    assert next(raw_chunks(path, columns=columns))[0] == ("a", "b")
    with pytest.raises(
        InvalidInput, match=r"expected columns id and emb, each once, came 'key.of', .*columns: \{id: …"
    ):
        read_vectors(path, space=SPACE, columns={"vector": "emb"})
    with pytest.raises(InvalidInput, match="a file of vectors has id and vector, not 'text'"):
        read_vectors(path, space=SPACE, columns={"text": "title"})


def test_an_npy_has_no_columns(tmp_path):
    with pytest.raises(InvalidInput, match="an npy file has no columns that could be called"):
        read_vectors(write_vectors(some(), tmp_path / "x.npy"), columns={"id": "key"})


@pytest.mark.parametrize("suffix", [".arrow", ".feather"])
def test_an_arrow_stream_is_read_and_one_without_its_end_is_refused(tmp_path, suffix):
    path = write_table(tmp_path / f"x{suffix}", {"id": ["a", "b"], "vector": TWO}, stream=True)
    assert read_vectors(path, space=SPACE).vectors.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert [part.ids for part in read_chunks(path, rows=1, space=SPACE)] == [("a",), ("b",)]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InvalidInput, match="is an Arrow stream without its end"):
        read_vectors(path, space=SPACE)
    path.write_bytes(b"FEA1" + bytes(20))
    with pytest.raises(InvalidInput, match="is of Feather's version 1"):
        read_vectors(path, space=SPACE)


def test_a_folder_of_parquet_files_is_read_by_name(tmp_path):
    folder = tmp_path / "x.parquet"
    for name, first in (("lang=b/part-1", 2), ("lang=a/part-0", 0), ("lang=a/part-1", 1)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_table(folder / f"{name}.parquet", {"id": [first], "vector": TWO[:1]})
    write_table(folder / "empty.parquet", {"id": pa.array([], pa.int64()), "vector": TWO[:0]})
    (folder / "_SUCCESS").touch()
    (folder / "_metadata.parquet").write_text("not read")
    assert read_vectors(folder, space=SPACE).ids == ("0", "1", "2")
    assert concatenate(list(read_chunks(folder, space=SPACE))).ids == ("0", "1", "2")
    for file in folder.rglob("part*.parquet"):
        file.unlink()
    for call in (read_vectors, lambda p, **options: list(read_chunks(p, **options))):
        with pytest.raises(InvalidInput, match="no rows"):
            call(folder, space=SPACE)


def test_a_row_group_is_read_in_parts(tmp_path):
    rows = some(5_000)
    path = write_vectors(rows, tmp_path / "x.parquet")
    assert pa.parquet.ParquetFile(path).num_row_groups == 1
    parts = list(read_chunks(path, rows=700))
    assert max(map(len, parts)) == 700
    assert_same(concatenate(parts), rows)


def test_parts_of_parquet_are_in_memory_one_at_a_time(tmp_path):
    with pa.parquet.ParquetWriter(tmp_path / "x.parquet", schema(256)) as writer:
        for start in range(0, 8_000, 1_000):
            rows = np.zeros((1_000, 256), np.float32)
            rows[:, 0] = np.arange(start, start + 1_000)
            ids = [str(n) for n in range(start, start + 1_000)]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), 256)
            writer.write_table(pa.table([pa.array(ids), vectors], schema=schema(256)))
    before, held = pa.total_allocated_bytes(), []
    for part in read_chunks(tmp_path / "x.parquet", rows=500, space=Space("wide", "1", 256)):
        assert len(part) == 500
        held.append(pa.total_allocated_bytes() - before)
    assert max(held) < 4_000_000  # of 8 MB


def schema(dim):
    return pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), dim))])
