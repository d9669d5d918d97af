"""What comes again is counted exactly, wherever parts end."""

from collections import Counter

import numpy as np
import pytest

from embridge.jobs._looking import look
from embridge.jobs._repeats import Names, Tally


@pytest.mark.parametrize("step", [1, 7, 500])
def test_repeats_are_counted_as_a_counter_does(step):
    rng = np.random.default_rng(0)
    values = [f"ü{value}" for value in rng.zipf(1.4, 500) % 200]
    tally, names = Tally(), Names()
    for start in range(0, len(values), step):
        tally.add(value.encode() for value in values[start : start + step])
        names.add(values[start : start + step])
    expected, repeats = Counter(values), tally.repeats(9)
    assert (repeats.values, repeats.distinct) == (500, len(expected))
    assert repeats.repeats == 500 - len(expected)
    assert repeats.most == max(expected.values())
    assert names.at(repeats.places) == [name for name, _ in expected.most_common(9)]


def test_without_repeats_nothing_is_named():
    tally = Tally()
    assert (tally.repeats(3).values, tally.repeats(3).most) == (0, 0)
    tally.add([b"a", b"b", b""])
    assert (tally.repeats(3).repeats, tally.repeats(3).most, tally.repeats(3).places) == (0, 1, ())


def test_ids_and_vectors_that_repeat_in_other_parts_are_found():
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    ids = [f"row {i}" for i in range(60)]
    ids[41], ids[12], ids[59] = "row 3", "row 40", "row 3"
    vectors[[20, 21, 55]] = vectors[2]
    vectors[7, 0] = np.nan  # counted as such, and as no repeat
    parts = [(tuple(ids[i : i + 9]), vectors[i : i + 9], ()) for i in range(0, 60, 9)]
    found = look("planted", None, parts)
    assert (found.duplicate_ids, found.repeated_ids) == (3, ("row 3", "row 40"))
    assert (found.duplicate_vectors, found.not_finite_rows) == (3, 1)
    unnamed = look("planted", None, [(None, part, ()) for _, part, _ in parts])
    assert (unnamed.duplicate_ids, unnamed.duplicate_vectors) == (0, 3)
