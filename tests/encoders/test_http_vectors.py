"""What counts as an answer of the embeddings API: one finite, scalable vector a text, and nothing else."""

import base64
import json

import numpy as np
import pytest

from embridge.encoders._http_vectors import NoVectors, answer_object, longest_answer, vectors_of

TWO = [[1.0, 2.0], [3, 4]]


def coded(numbers, dtype="<f4"):
    return base64.b64encode(np.array(numbers, dtype).tobytes()).decode()


def read(data, *, dim=2, as_base64=True, count=2):
    content = json.dumps({"data": data}).encode()
    return vectors_of(answer_object(content), count, dim=dim, as_base64=as_base64, first=10).tolist()


def rows(first=TWO[0], second=TWO[1], **second_entry):
    return [{"index": 0, "embedding": first}, {"index": 1, "embedding": second} | second_entry]


def without_index(entries):
    return [{key: value for key, value in entry.items() if key != "index"} for entry in entries]


@pytest.mark.parametrize(
    "data",
    [
        rows(),
        rows()[::-1],
        without_index(rows()),
        rows(coded(TWO[0]), coded(TWO[1])),
        rows(TWO[0], coded(TWO[1])),
        [entry | {"object": "embedding", "usage": None} for entry in rows()],
    ],
)
def test_an_answer_in_every_allowed_form_is_in_the_order_of_the_texts(data):
    assert read(data) == TWO
    assert read(data, dim=None) == TWO


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "null as data; expected a list of objects"),
        ({"0": [1.0]}, "an object as data"),
        ([], "0 vectors; expected 2, one a text"),
        (rows()[:1], "1 vectors; expected 2"),
        ([*rows(), rows()[0]], "3 vectors; expected 2"),
        ([[1.0, 2.0], [3.0, 4.0]], "a list as entry 0 of data; expected objects with index and embedding"),
        ([rows()[0], {"index": 1}], "an object as entry 1 of data"),
        ([rows()[0], *without_index(rows()[1:])], "index in 1 of 2 entries; expected it in all or in none"),
        (rows(index=0), "index 0 twice; expected each of 0 to 1 once"),
        (rows(index=2), "index 2; expected each of 0 to 1 once"),
        (rows(index=-1), "index -1; "),
        (rows(index=True), "index true; "),
        (rows(index=1.0), r"index 1\.0; "),
        (rows(index="1"), 'index "1"; '),
        (rows(index=None), "index null; "),
    ],
)
def test_entries_that_are_not_one_a_text_are_refused(data, reason):
    with pytest.raises(NoVectors, match=f"^{reason}"):
        read(data)


@pytest.mark.parametrize(
    ("embedding", "reason"),
    [
        ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "3 nested lists for text 11: one vector a token, .* does not pool"),
        ([[1.0, 2.0]], "1 nested lists for text 11"),
        ([], "0 numbers for text 11, expected 2$"),
        ([1.0], "1 numbers for text 11, expected 2$"),
        ([1.0, 2.0, 3.0], "3 numbers for text 11, expected 2$"),
        ([1.0, True], "a boolean among the numbers of text 11"),
        ([1.0, "2.0"], "a string among the numbers of text 11"),
        ([None, 2.0], "null among the numbers of text 11"),
        ([1.0, {}], "an object among the numbers of text 11"),
        ([1.0, float("nan")], "NaN or infinity for text 11"),
        ([1.0, float("-inf")], "NaN or infinity for text 11"),
        ([1.0, 1e39], "NaN or infinity for text 11"),
        ([1.0, 10**400], "NaN or infinity for text 11"),
        ([0.0, -0.0], "zeros for text 11, which have no direction"),
        ([1e-50, 0.0], "zeros for text 11"),
        ([1e-30, 0.0], r"a vector of length 1e-30 for text 11, which is no embedding"),
        ([1e30, 0.0], r"a vector of length 1e\+30 for text 11"),
        (coded([1.0, 2.0], ">f4"), None),
        (coded([1.0, 2.0], "<f2"), r"1 numbers for text 11, expected 2\. If these are 2 halves \(float16\), have"),
        (coded([1.0, 2.0], "<f8"), r"4 numbers for text 11, expected 2\. If these are 2 doubles \(float64\), have"),
        (coded([1.0, np.nan]), "NaN or infinity for text 11"),
        (coded([0.0, 0.0]), "zeros for text 11"),
        (coded([1, 2], "int8"), "2 bytes for text 11, which are no whole float32 numbers"),
        ("", "0 numbers for text 11, expected 2$"),
        ("?" * 8, "no base64 for text 11"),
        ("ü", "no base64 for text 11"),
        (5, "a number as the embedding of text 11; expected a list of numbers"),
        (None, "null as the embedding of text 11"),
        ({"dense": [1.0, 2.0]}, "an object as the embedding of text 11"),
    ],
)
def test_what_is_no_vector_is_refused_and_names_the_text(embedding, reason):
    if reason is None:  # the other byte order: finite, and far too short
        reason = "a vector of length .* for text 11, which is no embedding"
    with pytest.raises(NoVectors, match=f"^{reason}"):
        read(rows(second=embedding))


def test_the_first_vector_says_the_dim_where_it_is_not_known_and_none_is_empty():
    with pytest.raises(NoVectors, match=r"2 numbers for text 11, expected 3$"):
        read(rows([1.0, 2.0, 3.0], [1.0, 2.0]), dim=None)
    with pytest.raises(NoVectors, match=r"0 numbers for text 10, expected some$"):
        read(rows([], []), dim=None)


def test_a_string_is_refused_where_lists_were_asked_for():
    with pytest.raises(NoVectors, match="a string for text 11 where a list of numbers was asked for"):
        read(rows(second=coded(TWO[1])), as_base64=False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[1, 2]", "a list in the place of an object with data; does the URL end in /v1?"),
        (b"null", "null in the place of"),
        (b'{"error": "no credit"}', r"status 200 with an error \(no credit\)"),
        (b'{"error": {"code": 5, "message": "gone"}}', r"status 200 with an error \(gone\)"),
        (b"[" * 100_000, "JSON nested too deeply"),
        (b'{"data": ' + b"9" * 5_000 + b"}", "JSON that cannot be read"),
    ],
)
def test_other_json_is_refused(content, reason):
    with pytest.raises(NoVectors, match=f"^{reason}"):
        answer_object(content)


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"data": [', b"\xff\xfe", b"{} {}"])
def test_what_is_no_json_may_have_been_cut_off(content):
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError), match=r"Expecting|Extra data|decode"):
        answer_object(content)


def test_an_answer_may_be_as_long_as_its_vectors_with_an_end():
    written = len(json.dumps({"data": rows([-1.2345678901234567e-05] * 8_192)}, indent=8))
    assert written < longest_answer(2, 2) == longest_answer(2, None)
    assert longest_answer(2, 100_000) > longest_answer(2, 2)
    assert longest_answer(1_000_000, 4_096) == 1 << 28
