import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.adapters import Prefix
from embridge.errors import ArtefactError
from embridge.space import Space


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_cosines_are_those_of_the_cut_vectors(d_old, more, seed):
    rng = np.random.default_rng(seed)
    adapter = Prefix(Space("new", "1", d_old + more), Space("old", "1", d_old))
    x = rng.normal(size=(6, d_old + more)).astype(np.float32)
    y = adapter.apply(x)
    for row, cut in zip(y, x[:, :d_old].astype(np.float64), strict=True):
        np.testing.assert_allclose(row, cut / np.sqrt((cut**2).sum()), atol=1e-6)


def test_a_prefix_of_nothing_stays_nothing():
    x = np.array([[0, 0, 5]], np.float32)
    assert Prefix(Space("new", "1", 3), Space("old", "1", 2)).apply(x).tolist() == [[0, 0]]


def test_a_prefix_longer_than_the_vector_is_refused():
    with pytest.raises(ArtefactError, match="a prefix of 3 coordinates cannot be cut from 2"):
        Prefix(Space("new", "1", 2), Space("old", "1", 3))
