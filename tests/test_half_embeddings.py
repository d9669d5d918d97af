"""Float16 on disk, float32 a part at a time; a part of it costs row numbers alone."""

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.embeddings import HalfEmbeddings, float32_rows
from embridge.errors import InvalidInput

SPACE = Space("toy", "1", 4)
HALVES = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float16)
IDS = tuple("abcdefghij")


@pytest.fixture(params=["in memory", "memory map"])
def stored(request, tmp_path):
    if request.param == "in memory":
        return HalfEmbeddings(IDS, HALVES, SPACE)
    np.save(tmp_path / "x.npy", HALVES)
    return HalfEmbeddings(IDS, np.load(tmp_path / "x.npy", mmap_mode="r"), SPACE)


def test_rows_are_read_as_float32(stored):
    assert (len(stored), stored.vectors.dtype) == (10, np.float32)
    np.testing.assert_array_equal(stored.vectors, HALVES.astype(np.float32))
    np.testing.assert_array_equal(stored.read(np.array([7, 2, 7])), HALVES[[7, 2, 7]].astype(np.float32))
    np.testing.assert_array_equal(float32_rows(stored, slice(3, 5)), HALVES[3:5].astype(np.float32))


def test_what_is_taken_is_what_embeddings_would_take(stored):
    whole = Embeddings(IDS, HALVES.astype(np.float32), SPACE)
    for rows in ([3, 1, 9], [], np.arange(10)):
        taken, expected = stored.take(rows), whole.take(rows)
        assert (taken.ids, taken.space, len(taken)) == (expected.ids, expected.space, len(rows))
        np.testing.assert_array_equal(taken.vectors, expected.vectors)
    twice = stored.take([3, 1, 9, 0]).take([2, 0])
    assert twice.ids == ("j", "d")
    np.testing.assert_array_equal(twice.read(slice(1, None)), HALVES[[3]].astype(np.float32))
    np.testing.assert_array_equal(float32_rows(whole.take([9, 3]), slice(None)), twice.vectors)


def test_taking_copies_no_vector(stored):
    assert stored.take([3, 1]).halves is stored.halves


def test_chunks_are_embeddings(stored):
    parts = list(stored.take(np.arange(9, 1, -1)).chunks(3))
    assert [part.ids for part in parts] == [("j", "i", "h"), ("g", "f", "e"), ("d", "c")]
    np.testing.assert_array_equal(np.concatenate([p.vectors for p in parts]), HALVES[:1:-1].astype(np.float32))
    assert all(isinstance(part, Embeddings) for part in parts)
    with pytest.raises(InvalidInput, match="at least 1 row, not 0"):
        next(stored.chunks(0))


@pytest.mark.usefixtures("as_in_production")
def test_what_is_no_float16_of_the_space_is_refused():
    with pytest.raises(InvalidInput, match=r"expected float16 \[n, 4\], came float32 \(10, 4\)"):
        HalfEmbeddings(IDS, HALVES.astype(np.float32), SPACE)
    with pytest.raises(InvalidInput, match=r"expected float16 \[n, 4\], came float16 \(10, 2\)"):
        HalfEmbeddings(IDS, HALVES[:, :2], SPACE)
    with pytest.raises(InvalidInput, match="10 vectors came with 9 ids"):
        HalfEmbeddings(IDS[:9], HALVES, SPACE)
    with pytest.raises(InvalidInput, match="10 vectors came with 10 ids"):
        HalfEmbeddings(IDS, HALVES, SPACE, np.arange(3))
    for value in (np.nan, np.inf):
        broken = HALVES.copy()
        broken[6, 2] = value
        with pytest.raises(InvalidInput, match="row 6 holds NaN or infinity"):
            HalfEmbeddings(IDS, broken, SPACE)
