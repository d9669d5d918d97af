import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.datasets.qrels import read_qrels
from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation.relevance import Relevance

BEIR = "query-id\tcorpus-id\tscore\n"
IDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)
GRADES = st.one_of(st.integers(-2, 4), st.floats(allow_nan=False, allow_infinity=False))
ROWS = st.lists(st.tuples(IDS, IDS, GRADES), min_size=1, max_size=8)


def written(tmp_path, text):
    path = tmp_path / "qrels"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.slow
@given(rows=ROWS, between=st.sampled_from(["\t", " ", "  \t "]), end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_trec_round_trip(tmp_path_factory, rows, between, end):
    text = end.join(between.join([q, "Q0", d, repr(grade)]) for q, d, grade in rows)
    assert read_qrels(written(tmp_path_factory.mktemp("trec"), text)) == rows


@pytest.mark.slow
@given(rows=ROWS)
def test_beir_round_trip(tmp_path_factory, rows):
    text = io.StringIO()
    csv.writer(text, delimiter="\t").writerows([["query-id", "corpus-id", "score"], *rows])
    assert read_qrels(written(tmp_path_factory.mktemp("beir"), text.getvalue())) == rows


@given(content=st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda junk: BEIR.encode() + junk)))
def test_junk_is_refused_or_read_and_nothing_else_is_raised(tmp_path_factory, content):
    path = written(tmp_path_factory.mktemp("junk"), content)
    try:
        rows = read_qrels(path)
    except InvalidInput:
        return
    assert rows
    assert all(query and item for query, item, _ in rows)


def test_ids_keep_spaces_that_the_format_leaves_them(tmp_path):
    assert read_qrels(written(tmp_path, "q\u00a01 0 d\u30001 2\n")) == [("q\u00a01", "d\u30001", 2.0)]
    assert read_qrels(written(tmp_path, BEIR + "query one\titem 1\t1\n")) == [("query one", "item 1", 1.0)]
    assert read_qrels(written(tmp_path, "\ufeff" + BEIR + "1\t2\t1\n")) == [("1", "2", 1.0)]
    assert read_qrels(written(tmp_path, "\ufeff1 0 2 1\n")) == [("1", "2", 1.0)]


def test_they_are_what_graded_relevance_takes(tmp_path):
    path = written(tmp_path, "q1 0 d1 2\nq1 0 d2 0\nq2 0 d2 -1\nq3 0 d1 1.5\n")
    assert Relevance.from_grades(read_qrels(path)).gains == {"q1": {"d1": 2.0}, "q3": {"d1": 1.5}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no judgement; expected lines of query, iteration, item, grade"),
        (b"\n \n\t\n", "holds no judgement"),
        (BEIR.encode(), "holds no judgement"),
        (b"q1 0 d1 1\nq1 d2 1\n", r"line 2: expected 4 columns \(query, iteration, item, grade\), came 3 columns"),
        (b"q1,0,d1,1\n", "line 1: expected 4 columns .* came 1 columns"),
        (b"q1 0 the item 1\n", "came 5 columns"),
        (b"query iteration item grade\nq 0 d 1\n", "line 1: expected a finite number as grade, came 'grade'"),
        (b"q1 0 d1 1\n\nq1 0 d2 nan\n", "line 3: expected a finite number as grade, came 'nan'"),
        (b"q1 0 d1 -inf\n", "line 1: expected a finite number as grade, came '-inf'"),
        (b"q1 0 d1 " + b"x" * 5_000, "came 'x{40}'$"),
        (BEIR.encode() + b"q1\td1\t1\nq1\td1\n", r"line 3: expected 3 columns \(query-id, corpus-id, score\), came 2"),
        (BEIR.encode() + b"q1\t\t1\n", "line 2: expected 3 columns .* came a blank one"),
        (BEIR.encode() + b"q1\td1\thigh\n", "line 2: expected a finite number as grade, came 'high'"),
        (BEIR.encode() + b'"q1\td1\t1\n', "cannot be read as qrels, line 2: unexpected end of data"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "cannot be read as UTF-8 text, line 1: invalid start byte"),
        (b"PK\x03\x04\x00\x00", "line 1: it begins as a zip"),
        (b"q1 Q0 d1 1 0.5 run\n", "came 6 columns; put tabs between them where ids hold spaces"),
    ],
)
def test_files_that_cannot_be_meant_say_why(tmp_path, content, message):
    with pytest.raises(InvalidInput, match=rf"qrels.*{message}"):
        read_qrels(written(tmp_path, content))


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(InvalidInput, match="nowhere does not exist; expected qrels as TREC or BEIR write them"):
        read_qrels(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match=r"cannot be read as UTF-8 text .*[Dd]irectory"):
        read_qrels(tmp_path)


def test_tabs_keep_spaces_in_ids_of_trec(tmp_path):
    assert read_qrels(written(tmp_path, "query one\t0\titem 1 \t2 \nq2 0 d1 1\n")) == [
        ("query one", "item 1", 2.0),
        ("q2", "d1", 1.0),
    ]


@pytest.mark.parametrize("names", [("query-id", "corpus-id", "score"), ("query", "document", "score"), ("q", "d", "s")])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".tsv.gz"])
def test_tables_of_grades(tmp_path, names, suffix):
    rows = [("q1", 7, 2), ("q 2", 8, -1), ("q3", 7, 0.5)]
    path = tmp_path / f"qrels{suffix}"
    if suffix == ".parquet":
        pa.parquet.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    else:
        text, apart = io.StringIO(), "," if suffix == ".csv" else "\t"
        csv.writer(text, delimiter=apart).writerows([names, *rows])
        path.write_bytes(gzip.compress(text.getvalue().encode()) if suffix == ".tsv.gz" else text.getvalue().encode())
    mapped = dict(zip(("query", "document", "score"), names, strict=True))
    expected = [("q1", "7", 2.0), ("q 2", "8", -1.0), ("q3", "7", 0.5)]
    assert read_qrels(path, names=mapped) == expected
    if names[0] == "q":
        with pytest.raises(
            (InvalidInput, SettingsError), match=r"expected columns query, document, score; came|line 1"
        ):
            read_qrels(path)
    elif suffix != ".tsv.gz" or names[0] == "query-id":
        assert read_qrels(path) == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q", "document": "d", "score": None}, "line 1: expected 3 columns .* came a blank one"),
        ({"query": "q", "document": 7.0, "score": 1}, "line 1: expected a text or a whole number as id in 'document'"),
        ({"query": ["q"], "document": "d", "score": 1}, "line 1: .* came a list of 1"),
        ({"query": "q", "document": "d", "score": True}, "line 1: expected a finite number as grade, came 'True'"),
        ({"query": "q", "document": "d", "score": 10**400}, "line 1: expected a finite number as grade"),
    ],
)
def test_tables_that_cannot_be_meant(tmp_path, row, message):
    (tmp_path / "qrels.jsonl").write_text(json.dumps(row))
    with pytest.raises(InvalidInput, match=rf"qrels\.jsonl, {message}"):
        read_qrels(tmp_path / "qrels.jsonl")
