import numpy as np
import pytest

from embridge.adapters import Linear
from embridge.adapters.base import normalized, row_lengths
from embridge.embeddings import Embeddings
from embridge.methods import Pairs, make
from embridge.nearest import top_k
from embridge.space import Space

LENGTHS = pytest.mark.parametrize("length", [1e-40, 1e-30, 1e-23, 1e-19, 1e-12, 1.0, 1e15, 1e19, 1e30, 1e37])


def rows(n=40, dim=7, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


@LENGTHS
def test_a_direction_is_kept_at_every_length(length):
    scaled = rows() * np.float32(length)
    wide = scaled.astype(np.float64)
    expected = np.sqrt((wide * wide).sum(axis=1))
    np.testing.assert_allclose(row_lengths(scaled), expected, rtol=1e-6)
    np.testing.assert_allclose(normalized(scaled), wide / expected[:, None], rtol=0, atol=3e-7)


@pytest.mark.parametrize("mixed", [False, True])
def test_usual_rows_are_scaled_to_the_last_bit_as_by_plain_float32_arithmetic(mixed):
    usual = rows(200, 33)
    others = np.concatenate([usual[:1] * np.float32(1e25), np.zeros((1, 33), np.float32)]) if mixed else usual[:0]
    came = normalized(np.concatenate([usual, others]))
    assert came[:200].tobytes() == (usual / np.sqrt(np.einsum("nd,nd->n", usual, usual))[:, None]).tobytes()
    assert not mixed or not came[-1].any()


@pytest.mark.slow
@LENGTHS
@pytest.mark.parametrize("side", ["queries", "gallery"])
def test_search_finds_the_same_rows_at_every_length(length, side):
    queries, gallery = rows(5), rows(seed=1)
    expected = top_k(queries, gallery, 3)
    scale = np.float32(length)
    came = top_k(*((queries * scale, gallery) if side == "queries" else (queries, gallery * scale)), 3)
    if length >= 1e-30:  # shorter numbers have lost digits before they are searched
        assert came.rows.tolist() == expected.rows.tolist()
        np.testing.assert_allclose(came.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize("length", [1e-30, 1e20])
def test_a_bridge_and_its_fit_know_directions_alone(length):
    new, old = Space("new", "1", 7), Space("old", "1", 7)
    x = rows(100)
    y = x @ np.linalg.qr(rows(7, 7, 3))[0]
    scale = np.float32(length)
    usual, long = (make("procrustes").fit(Pairs(Embeddings.of(x * s, new), Embeddings.of(y, old))) for s in (1, scale))
    assert isinstance(usual.bridge, Linear)
    np.testing.assert_allclose(long.bridge.apply(x), usual.bridge.apply(x), atol=1e-5)
    centred = make("procrustes", {"center": True}).fit(Pairs(Embeddings.of(x, new), Embeddings.of(y, old)))
    np.testing.assert_allclose(centred.bridge.apply(x * scale), centred.bridge.apply(x), atol=1e-5)
