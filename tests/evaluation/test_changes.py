"""Two reports beside each other: who is better is named, and what is the same says so."""

from dataclasses import replace

import pytest

from embridge.evaluation import Comparison, Interval
from embridge.evaluation.compare import CellChange
from embridge.evaluation.render._changes import change_sentence, change_tables

NAMES = ("before.json", "after.json")


def changed(answer, difference, **fields):
    low, high = difference - 0.02, difference + 0.02
    comparison = Comparison(answer, Interval(difference, low, high))
    made = CellChange("t2i", "new/old", "recall_at_10", 100, 0.5, 0.5 + difference, comparison, 0.1, 0.2, False)
    return replace(made, **fields)


SAME = changed("undecided", 0.0, cell="old/old", identical=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            changed("yes", 0.1),
            "text to image, after.json is better than before.json (after.json against before.json +0.1",
        ),
        (
            changed("no", -0.1),
            "text to image, before.json is better than after.json (after.json against before.json -0.1",
        ),
        (
            changed("undecided", 0.01),
            "text to image, neither is shown to be better (after.json against before.json +0.0",
        ),
        (changed("undecided", 0.0, identical=True), "text to image, the two are identical."),
    ],
)
def test_the_sentence_names_the_better_one(change, told):
    assert change_sentence([SAME, change], NAMES).startswith(f"new/old by R@10: {told}")


def test_every_direction_is_told_and_the_first_cell_where_there_is_no_bridge():
    both = [changed("yes", 0.1), changed("no", -0.1, direction="i2t")]
    sentence = change_sentence(both, NAMES)
    assert sentence.index("text to image, after.json") < sentence.index("image to text, before.json")
    assert change_sentence([SAME], NAMES) == "old/old by R@10: text to image, the two are identical."


def test_rows_name_the_better_report_or_are_marked_identical():
    [table] = change_tables([SAME, changed("yes", 0.1), changed("no", -0.1)], NAMES)
    assert table.columns[2:4] == list(NAMES)
    same, better, worse = table.rows
    assert same[4:] == ["", "identical", ""]
    assert (better[5], worse[5]) == ("after.json", "before.json")


def test_the_ceiling_stands_last_and_in_brackets():
    [table] = change_tables([replace(SAME, cell="ceiling"), changed("yes", 0.1)], NAMES)
    assert [row[0] for row in table.rows] == ["new/old", "(ceiling)"]
