import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embridge.adapters import Identity, Linear
from embridge.adapters.base import normalized
from embridge.errors import ArtefactError
from embridge.space import Space

NEW, OLD = Space("new", "1", 4), Space("old", "1", 3)
VALUES = st.floats(-100, 100, width=32)


def matrix(rows, columns):
    return arrays(np.float32, (rows, columns), elements=VALUES)


@pytest.mark.slow
@given(matrix(5, 4), matrix(4, 3), matrix(1, 3))
def test_linear_against_a_loop_in_float64(x, weight, bias):
    y = Linear(NEW, OLD, weight, bias[0]).apply(x)
    for row in range(5):
        for column in range(3):
            terms = [float(x[row, i]) * float(weight[i, column]) for i in range(4)]
            size = sum(map(abs, terms)) + abs(float(bias[0, column])) + 1
            assert abs(y[row, column] - (sum(terms) + float(bias[0, column]))) <= 1e-5 * size


@pytest.mark.slow
@given(matrix(5, 4), st.floats(0.5, 100))
def test_normalising_the_input_makes_its_length_irrelevant(x, factor):
    x = np.where(np.abs(x) < 1e-3, 0, x).astype(np.float32)
    adapter = Linear(NEW, OLD, np.eye(4, 3, dtype=np.float32), np.ones(3, np.float32), normalize_input=True)
    np.testing.assert_allclose(adapter.apply(np.float32(factor) * x), adapter.apply(x), atol=1e-5)


@given(matrix(6, 4))
def test_a_rotation_keeps_all_dot_products(x):
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
    y = Linear(NEW, Space("old", "1", 4), rotation.astype(np.float32)).apply(x)
    np.testing.assert_allclose(y @ y.T, x @ x.T, atol=1e-5 * max(1.0, float(np.abs(x).max()) ** 2 * 4))


@pytest.mark.slow
@given(matrix(4, 3))
def test_normalized_rows_have_length_one_or_stay_zero(x):
    x = np.where(np.abs(x) < 1e-3, 0, x).astype(np.float32)
    lengths = np.linalg.norm(normalized(x).astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, (np.abs(x).max(axis=1) > 0).astype(float), atol=1e-6)


def test_one_query_and_many_take_the_same_map():
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(9, 4)).astype(np.float32)
    adapter = Linear(NEW, OLD, weight)
    np.testing.assert_allclose(adapter.apply(x[3:4])[0], adapter.apply(x)[3], atol=1e-6)


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-3, 1.0, 1 + 3e-7, 7.0, 1e19, 1e30])
@pytest.mark.parametrize("normalize", [True, False])
def test_one_query_of_any_length_is_mapped_as_among_many(length, normalize):
    generator = np.random.default_rng(1)
    weight, bias = generator.normal(size=(4, 3)).astype(np.float32), np.ones(3, np.float32)
    x = np.float32(length) * normalized(generator.normal(size=(5, 4)).astype(np.float32))
    linear, before = Linear(NEW, OLD, weight, bias, normalize_input=normalize), x.copy()
    one = linear.apply(x[:1])
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, linear.apply(x)[:1], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dims", [(4, 3), (400, 3)])
@pytest.mark.parametrize("largest", [1.0, 1e36, 1e37, 3e38])
def test_what_is_bounded_stays_within_float32(dims, largest):
    """Of rows along a column, which are mapped the farthest; every number of the matrix is the largest there is."""
    new, old = Space("new", "1", dims[0]), Space("old", "1", dims[1])
    weight, x = np.full(dims, largest, np.float32), np.full((1, dims[0]), 9, np.float32)
    for bias in (None, np.full(dims[1], largest, np.float32)):
        linear = Linear(new, old, weight, bias, normalize_input=True)
        with np.errstate(all="ignore"):
            assert not linear.bounded or np.isfinite(linear.apply(x)).all()
        assert linear.bounded == (largest * (dims[0] ** 0.5 * 1.01 + (bias is not None)) < 1e38)
    assert not Linear(new, old, weight / largest).bounded


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        (np.ones((3, 4), np.float32), None, r"'weight': expected float32 \[4, 3\], came float32 \[3, 4\]"),
        (np.ones((4, 3)), None, r"expected float32 \[4, 3\], came float64 \[4, 3\]"),
        (np.ones(12, np.float32), None, r"came float32 \[12\]"),
        (np.full((4, 3), np.nan, np.float32), None, "'weight' holds NaN or infinity"),
        (np.ones((4, 3), np.float32), np.ones(4, np.float32), r"'bias': expected float32 \[3\], came float32 \[4\]"),
        (np.ones((4, 3), np.float32), np.full(3, np.inf, np.float32), "'bias' holds NaN or infinity"),
    ],
)
def test_parts_that_do_not_fit_are_refused(weight, bias, message):
    with pytest.raises(ArtefactError, match=message):
        Linear(NEW, OLD, weight, bias)


def test_weights_that_are_missing_are_named():
    with pytest.raises(ArtefactError, match=r"the adapter's weights lack 'bias'; they hold \['weight'\]"):
        Linear.from_parts(NEW, OLD, {"bias": True, "normalize_input": False}, {"weight": np.ones((4, 3), np.float32)})


def test_an_identity_joins_equal_dims_only():
    with pytest.raises(ArtefactError, match="an identity joins spaces of one dim, not 4 and 3"):
        Identity(NEW, OLD)
