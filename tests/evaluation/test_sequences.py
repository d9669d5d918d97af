import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.errors import InvalidInput
from embridge.evaluation.sequences import (
    average_accuracy,
    average_compatibility,
    backward_compatibility,
    forward_compatibility,
    sequence_matrix,
)

TENTHS = st.integers(0, 10).map(lambda tenths: tenths / 10)  # so that figures are equal now and then


@st.composite
def triangles(draw, fewest):
    versions = draw(st.integers(fewest, 6))
    return [draw(st.lists(TENTHS, min_size=t + 1, max_size=t + 1)) for t in range(versions)]


@given(triangles(2))
def test_average_compatibility_is_its_naive_loop(rows):
    for ties, wins in (("fail", lambda a, b: a > b), ("succeed", lambda a, b: a >= b)):
        pairs = [wins(rows[t][k], rows[k][k]) for t in range(len(rows)) for k in range(t)]
        assert average_compatibility(sequence_matrix(rows), ties=ties) == pytest.approx(sum(pairs) / len(pairs))


@given(triangles(1))
def test_average_accuracy_is_its_naive_loop(rows):
    every = [figure for row in rows for figure in row]
    assert average_accuracy(sequence_matrix(rows)) == pytest.approx(sum(every) / len(every))


@given(triangles(2))
def test_backward_and_forward_compatibility_are_their_naive_loops(rows):
    last = len(rows) - 1
    backward = sum(rows[last][i] - rows[i][i] for i in range(last)) / last
    forward = sum(rows[i][i - 1] - rows[i][i] for i in range(1, len(rows))) / last
    assert backward_compatibility(sequence_matrix(rows)) == pytest.approx(backward)
    assert forward_compatibility(sequence_matrix(rows)) == pytest.approx(forward)


@given(triangles(1))
def test_the_matrix_holds_the_rows_and_nothing_above_them(rows):
    matrix = sequence_matrix(rows)
    for t, row in enumerate(rows):
        assert matrix[t, : t + 1].tolist() == row
        assert np.isnan(matrix[t, t + 1 :]).all()


def test_what_lies_above_the_diagonal_does_not_count():
    rows = [[0.5], [0.6, 0.7], [0.4, 0.8, 0.9]]
    full = np.nan_to_num(sequence_matrix(rows), nan=0.99)
    for figure in (average_accuracy, backward_compatibility, forward_compatibility):
        assert figure(full) == figure(sequence_matrix(rows))
    assert average_compatibility(full, ties="fail") == pytest.approx(2 / 3)


def test_an_equal_figure_is_not_compatible_unless_asked():
    same = sequence_matrix([[0.5], [0.5, 0.5], [0.5, 0.5, 0.5]])
    assert average_compatibility(same, ties="fail") == 0
    assert average_compatibility(same, ties="succeed") == 1
    assert backward_compatibility(same) == forward_compatibility(same) == 0


@pytest.mark.parametrize("rows", [[], [[]], [[0.5, 0.6]], [[0.5], [0.6]], [[0.5], [0.6, 0.7, 0.8]]])
def test_what_is_no_triangle_is_refused(rows):
    with pytest.raises(InvalidInput, match=r"expected 1, 2, 3, … figures a row"):
        sequence_matrix(rows)


@pytest.mark.parametrize(
    "figure",
    [lambda matrix: average_compatibility(matrix, ties="fail"), backward_compatibility, forward_compatibility],
    ids=["average", "backward", "forward"],
)
def test_one_version_is_compatible_with_nothing(figure):
    with pytest.raises(InvalidInput, match="at least 2 versions, came shape"):
        figure(sequence_matrix([[0.5]]))
    assert average_accuracy(sequence_matrix([[0.5]])) == 0.5


def test_holes_and_other_shapes_are_refused(as_in_production):
    for wrong in (sequence_matrix([[0.5], [np.nan, 0.7]]), np.ones((2, 3)), np.ones(3), np.empty((0, 0))):
        with pytest.raises(InvalidInput, match="expected a finite lower triangle of at least 1 versions"):
            average_accuracy(wrong)
