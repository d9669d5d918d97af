import numpy as np
import pytest

from embridge.errors import InvalidInput
from embridge.training.compatible.labelled import LabelledVectors, Rows, hold_out

EVERY = LabelledVectors(np.eye(10, dtype=np.float32), np.array([0] * 6 + [1] * 3 + [2]), ["a", "b", "c"])


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_each_class_is_split_and_keeps_an_item_to_train_on(fraction):
    train, held = hold_out(EVERY, fraction, seed=3)
    assert sorted([*train.rows, *held.rows]) == list(range(10))
    assert set(train.labels.tolist()) == {0, 1, 2}
    counts = np.bincount(held.labels, minlength=3)
    assert counts.tolist() == [min(round(fraction * n), n - 1) for n in (6, 3, 1)]
    assert list(train.rows) == sorted(train.rows)


def test_another_seed_holds_out_others():
    assert hold_out(EVERY, 0.5, seed=0)[1].rows.tolist() == hold_out(EVERY, 0.5, seed=0)[1].rows.tolist()
    drawn = {tuple(hold_out(EVERY, 0.5, seed=seed)[1].rows) for seed in range(5)}
    assert len(drawn) > 1


def test_rows_of_rows_are_those_of_all():
    some = Rows(Rows(EVERY, np.array([9, 6, 0])), np.array([2, 0]))
    assert some.labels.tolist() == [0, 2]
    np.testing.assert_array_equal(some.batch(np.array([1])).numpy(), EVERY.vectors[[9]])
    np.testing.assert_array_equal(some.items(np.array([0])), EVERY.vectors[[0]])
    assert (some.classes, some.side) == (("a", "b", "c"), None)


def test_the_fingerprint_tells_what_is_trained_on_apart():
    others = [
        LabelledVectors(2 * EVERY.vectors, EVERY.labels, EVERY.classes),
        LabelledVectors(EVERY.vectors, EVERY.labels[::-1].copy(), EVERY.classes),
        LabelledVectors(EVERY.vectors, EVERY.labels, ["a", "b", "d"]),
        Rows(EVERY, np.arange(9)),
        Rows(EVERY, np.arange(10)),
    ]
    assert len({EVERY.fingerprint(), *(other.fingerprint() for other in others)}) == 6
    assert EVERY.fingerprint() == LabelledVectors(EVERY.vectors, EVERY.labels, EVERY.classes).fingerprint()


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("vectors", "labels", "classes", "message"),
    [
        (np.eye(2), np.array([0, 1]), (), "expected finite float32 rows, came float64"),
        (np.full((2, 2), np.nan, np.float32), np.array([0, 1]), (), "expected finite float32 rows"),
        (np.eye(2, dtype=np.float32), np.array([0]), (), "for each of 2 items, .*came int64 of shape .1."),
        (np.eye(2, dtype=np.float32), np.array([0.0, 1.0]), (), "a whole number of at least 0"),
        (np.eye(2, dtype=np.float32), np.array([0, -1]), (), "a whole number of at least 0"),
        (
            np.eye(2, dtype=np.float32),
            np.array([0, 2]),
            ("a", "b"),
            "a name of its own for each of 0 … 2, came 2 names",
        ),
        (np.eye(2, dtype=np.float32), np.array([0, 1]), ("a", "a"), "a name of its own"),
        (np.empty((0, 2), np.float32), np.array([], np.int64), (), "at least one item"),
    ],
)
def test_what_does_not_fit_together_is_refused(vectors, labels, classes, message):
    with pytest.raises(InvalidInput, match=message):
        LabelledVectors(vectors, labels, classes)


@pytest.mark.parametrize(("fraction", "message"), [(0.0, r"a fraction in \(0, 1\)"), (0.01, "holds none out")])
def test_nothing_to_hold_out_is_refused(fraction, message):
    with pytest.raises(InvalidInput, match=message):
        hold_out(EVERY, fraction)
