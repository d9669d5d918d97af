"""The key ``columns``: names of ours to the file's, for a section or for one of its files."""

import pytest
from pydantic import BaseModel, ValidationError

from embridge.settings._columns import Columns, columns_of, require_column_keys


class Section(BaseModel):
    columns: Columns = {}


def test_names_are_texts_and_numbers_become_such():
    assert Section(columns={"id": 0, "vector": "embedding"}).columns == {"id": "0", "vector": "embedding"}
    assert Section(columns={"judged": {"text": 1}}).columns == {"judged": {"text": "1"}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["image", "label"], "expected a mapping from a name of ours to the file's"),
        ({"text": False}, "text: expected the name of a column as text, came False; put it in quotes"),
        ({"text": None}, "came None"),
        ({"text": ""}, "came ''"),
        ({"text": ["a"]}, "came \\['a'\\]"),
    ],
)
def test_what_names_no_column_is_refused(value, message):
    with pytest.raises(ValidationError, match=message):
        Section(columns=value)


def test_a_file_has_its_own_names_over_those_of_the_section():
    columns = {"text": "title", "id": "sku", "judged": {"text": "question"}}
    assert columns_of(columns, "judged") == {"text": "question", "id": "sku"}
    assert columns_of(columns, "captions") == {"text": "title", "id": "sku"}


@pytest.mark.parametrize(
    "columns", [{"txet": "a"}, {"gallery": {"text": "a"}}, {"judged": {"txet": "a"}}, {"judged": "a"}]
)
def test_other_keys_are_refused_with_those_that_are_known(columns):
    with pytest.raises(ValueError, match=r"columns: there is no '(txet|gallery|judged)'; there are text"):
        require_column_keys(columns, ("text",), files=("judged",))
