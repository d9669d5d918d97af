import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.embeddings import Embeddings, concatenate, require_vectors
from embridge.errors import InvalidInput
from embridge.space import Space

SPACE = Space("toy", "1", 3)


def numbered(n, start=0):
    vectors = np.arange(3 * n, dtype=np.float32).reshape(n, 3) + start
    return Embeddings(tuple(f"{start + i}" for i in range(n)), vectors, SPACE)


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, 2.0, 3.0]], "expected a numpy array, came list; use numpy.asarray"),
        (np.ones((1, 3)), "expected float32, came float64; convert"),
        (np.ones((1, 3), np.float16), "expected float32, came float16"),
        (np.ones((1, 3), np.dtype(">f4")), "expected float32, came >f4"),
        (np.ones((1, 4), np.float32), r"expected shape \[n, 3\], came \[1, 4\]"),
        (np.ones(3, np.float32), r"expected shape \[n, 3\], came \[3\]"),
        (np.ones((1, 3, 1), np.float32), r"expected shape \[n, 3\], came \[1, 3, 1\]"),
    ],
)
def test_other_arrays_are_refused(vectors, message):
    with pytest.raises(InvalidInput, match=f"vectors of toy: {message}"):
        Embeddings(("a",), vectors, SPACE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_named(bad):
    vectors = np.ones((9, 3), np.float32)
    vectors[[4, 7], 1] = bad
    with pytest.raises(InvalidInput, match=r"2 of rows 0\.\.8 hold NaN or infinity, first row 4"):
        Embeddings.of(vectors, SPACE)


@pytest.mark.parametrize("value", [0.0, 1e-38, 1e20, -3e38])
def test_one_row_of_any_finite_numbers_is_taken(value):
    row = np.full((1, 3), value, np.float32)
    assert Embeddings(("a",), row, SPACE).vectors is row


def test_rows_far_behind_are_checked_too():
    vectors = np.zeros(((1 << 24) // 1024 + 10, 1024), np.float32)
    vectors[-2, 5] = np.nan
    with pytest.raises(InvalidInput, match=f"first row {len(vectors) - 2}"):
        require_vectors(vectors, dim=None, what="rows")


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("a",), "2 vectors came with 1 ids"),
        (("a", "b", "c"), "2 vectors came with 3 ids"),
        (("a", "a"), "1 repeat, for instance 'a'"),
        (("a", ""), "expected non-empty strings, came '' in row 1"),
        (("a", 7), "came 7 in row 1"),
        (["a", "b"], "expected a tuple of strings, came list"),
    ],
)
def test_other_ids_are_refused(ids, message):
    with pytest.raises(InvalidInput, match=message):
        Embeddings(ids, np.ones((2, 3), np.float32), SPACE)


def test_no_rows_are_embeddings_too():
    assert len(Embeddings((), np.empty((0, 3), np.float32), SPACE)) == 0


def test_a_memory_map_stays_one(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 3), np.float32))
    rows = Embeddings.of(np.load(tmp_path / "x.npy", mmap_mode="r"), SPACE)
    assert isinstance(rows.vectors, np.memmap)
    assert all(isinstance(part.vectors, np.memmap) for part in rows.chunks(3))


@given(st.integers(0, 20), st.integers(1, 25))
def test_chunks_joined_are_the_whole(n, size):
    rows = numbered(n)
    parts = list(rows.chunks(size))
    assert all(np.shares_memory(part.vectors, rows.vectors) for part in parts)
    assert [len(part) for part in parts] == [min(size, n - start) for start in range(0, n, size)]
    if parts:
        joined = concatenate(parts)
        assert joined.ids == rows.ids
        np.testing.assert_array_equal(joined.vectors, rows.vectors)


@given(st.lists(st.integers(0, 9), unique=True))
def test_take_keeps_ids_and_vectors_together(index):
    rows = numbered(10)
    for chosen in (rows.take(index), rows.take(np.array(index, np.int64))):
        assert chosen.ids == tuple(str(i) for i in index)
        np.testing.assert_array_equal(chosen.vectors, rows.vectors[np.array(index, int)])


def test_chunks_of_nothing_are_refused():
    with pytest.raises(InvalidInput, match="a chunk has at least 1 row, not 0"):
        list(numbered(2).chunks(0))


def test_with_vectors_checks_what_comes():
    rows, other = numbered(2), Space("other", "1", 2)
    assert rows.with_vectors(np.ones((2, 2), np.float32), other).space == other
    with pytest.raises(InvalidInput, match="3 vectors came for 2 ids"):
        rows.with_vectors(np.ones((3, 2), np.float32), other)
    with pytest.raises(InvalidInput, match=r"vectors of other: expected shape \[n, 2\]"):
        rows.with_vectors(rows.vectors, other)


def test_concatenate_refuses_what_does_not_belong_together():
    with pytest.raises(InvalidInput, match="nothing to concatenate"):
        concatenate([])
    with pytest.raises(InvalidInput, match="2 repeat"):
        concatenate([numbered(2), numbered(2)])
    foreign = numbered(1).with_vectors(np.ones((1, 3), np.float32), Space("toy", "2", 3))
    with pytest.raises(InvalidInput, match="the parts lie in 2 spaces: toy@1"):
        concatenate([numbered(2), foreign])
