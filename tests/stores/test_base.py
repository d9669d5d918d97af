import datetime

import pytest

from embridge.errors import InvalidInput, SpaceMismatch
from embridge.space import Space
from embridge.stores.base import Condition
from embridge.stores.checks import require_held, require_payload

SPACE = Space("toy", "1", 3)


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("column", "operator", "value", "message"),
    [
        ("kind", "like", "x", "a condition is a column name, one of"),
        ("kind = 1; drop", "==", 1, "a condition is a column name"),
        ("", "==", 1, "a condition is a column name"),
        ("kind", "in", "abc", "'in' takes a tuple with at least one value"),
        ("kind", "in", (), "'in' takes a tuple with at least one value"),
        ("kind", "in", ["a"], "'in' takes a tuple with at least one value"),
        ("kind", "==", ("a",), "and nothing else does"),
        ("kind", "==", None, "kind: values are text, finite numbers, true or false; came None"),
        ("kind", "in", ("a", None), "kind: values are text, finite numbers, true or false; came None"),
        ("kind", "in", ("a", 1), "'in' takes values of one kind"),
        ("kind", "in", (True, 1), "'in' takes values of one kind"),
        ("kind", "<", float("nan"), "kind: nan is no value"),
        ("kind", "<", datetime.date(2026, 3, 1), "is date; write it as text, such as 2026-03-01"),
        ("kind", "==", b"a", "b'a' is bytes"),
    ],
)
def test_conditions_are_checked_when_made(column, operator, value, message):
    with pytest.raises(InvalidInput, match=message):
        Condition(column, operator, value)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"id": ["a", "b"]}, "payload column 'id': use a plain name, not id, vector or one"),
        ({"_distance": [1, 2]}, "payload column '_distance': use a plain name"),
        ({"vector": [1, 2]}, "payload column 'vector'"),
        ({"two words": [1, 2]}, "payload column 'two words'"),
        ({"kind": ["a"]}, "payload column 'kind' has 1 values for 2 rows"),
        ({"kind": ["a", ["b"]]}, r"payload column 'kind', row 1: expected text, true or false, .*; \['b'\] is list"),
        (
            {"kind": [0.5, float("nan")]},
            "payload column 'kind', row 1: .*; nan is no value; say None where there is none",
        ),
        ({"kind": [None, 1 << 63]}, "row 1: 9223372036854775808 does not fit into 64 bits; keep it as text"),
        ({"kind": [0.5, (1 << 53) + 1]}, "row 1: 9007199254740993 has too many digits to stand among numbers"),
        ({"kind": [1, "a"]}, "a column holds one type, came text and whole numbers"),
        ({"kind": ["a", "\ud83d"]}, "row 1: .* holds half of a surrogate pair at 0"),
    ],
)
def test_payload_columns_are_checked(payload, message):
    with pytest.raises(InvalidInput, match=message):
        require_payload(payload, 2)


def test_payload_columns_become_lists():
    assert require_payload(None, 2) == {}
    assert require_payload({"kind": ("a", "b")}, 2) == {"kind": ["a", "b"]}


def test_a_space_that_is_not_held_is_named_with_those_that_are():
    require_held([SPACE], SPACE, what="rows")
    with pytest.raises(SpaceMismatch, match=r"rows: came vectors of toy@1 .* this store holds: none yet\. Map"):
        require_held([], SPACE, what="rows")
    other = Space("toy", "2", 3)
    with pytest.raises(SpaceMismatch, match=r"this store holds: toy@2 .* Equal dimensions do not make"):
        require_held([other], SPACE, what="rows")
