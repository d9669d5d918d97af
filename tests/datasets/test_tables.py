"""Judged pairs and labels, and the tables they are read from: csv and parquet say the same, hostile files are refused."""

import csv
import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.datasets.judged_pairs import read_pairs
from embridge.datasets.labels import read_labels
from embridge.datasets.tables import read_table
from embridge.datasets.text_lines import read_captions
from embridge.errors import InvalidInput
from embridge.evaluation.relevance import LabelRelevance

BOTH = pytest.mark.parametrize("suffix", [".csv", ".parquet"])
CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


def write(path, columns):
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table(columns), path)
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return path


@BOTH
@given(rows=st.lists(st.tuples(CELLS.filter(str.strip), CELLS), min_size=1, max_size=8))
def test_what_is_written_is_read(tmp_path_factory, suffix, rows):
    names, notes = zip(*rows, strict=True)
    path = write(tmp_path_factory.mktemp("tables") / f"x{suffix}", {"name": names, "a, b": notes})
    assert read_table(path).names == ["name", "a, b"]
    expected = {"a, b": tuple(map(str.strip, notes)), "name": tuple(map(str.strip, names))}
    assert read_table(path).columns(["a, b", "name"]) == expected


@given(content=st.binary(max_size=200))
@BOTH
def test_junk_is_refused_or_read_and_nothing_else_is_raised(tmp_path_factory, suffix, content):
    path = tmp_path_factory.mktemp("junk") / f"x{suffix}"
    path.write_bytes(content)
    for reader in (read_pairs, read_labels):
        with pytest.raises(InvalidInput, match=r"x\.(csv|parquet)"):
            reader(path)


def test_values_of_parquet_are_texts(tmp_path):
    columns = {
        "number": [1, None, 3],
        "share": pa.array([0.5, float("nan"), None]),
        "flag": [True, False, None],
        "day": [datetime.date(2025, 1, 2), None, None],
        "raw": [b" ab ", None, "ü".encode()],
        "kind": pa.array(["x", "x", None]).dictionary_encode(),
        "empty": pa.nulls(3),
        "image": [b"\xff\xfe"] * 3,
    }
    path = write(tmp_path / "x.parquet", columns)
    assert read_table(path).columns([name for name in columns if name != "image"]) == {
        "number": ("1", "", "3"),
        "share": ("0.5", "", ""),
        "flag": ("True", "False", ""),
        "day": ("2025-01-02", "", ""),
        "raw": ("ab", "", "ü"),
        "kind": ("x", "x", ""),
        "empty": ("", "", ""),
    }
    with pytest.raises(InvalidInput, match=r"x\.parquet cannot be read as parquet: 'utf-8' codec"):
        read_table(path).columns(["image"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no columns, the file is empty"),
        (b"\n\n", "no columns, the file is empty"),
        (b"text,image,text\na,b,c\n", r"columns repeat: \['text'\]"),
        (b"text,image\na,b\nthe cat, asleep,c\n", r"row 1 has 3 cells, the header 2; quote cells with commas"),
        (b'text,image\n"a,b\nc,d\n', "cannot be read as csv: unexpected end of data"),
        (b'text,image\n"a"b,c\n', "cannot be read as csv"),
        (b"text,image\n\xff\xfe,b\n", "cannot be read as csv: 'utf-8' codec"),
        (b"text,image\n", "no rows"),
        (b"text,image\na,b\n \t,c\n", "row 1 has a blank cell"),
        (b"text,image\na\n", "row 0 has a blank cell"),
        (b"text,photo\na,b\n", r"expected columns text and image, or query and document; came \['text', 'photo'\]"),
        (b"text,image\na," + b"x" * 200_000, "cannot be read as csv: field larger than field limit"),
    ],
)
def test_csv_that_cannot_be_meant_says_why(tmp_path, content, message):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=rf"pairs\.csv.*{message}"):
        read_pairs(path)


def test_csv_as_spreadsheets_write_it(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes('\ufeffquery, document\r\n"a ""b"", c", d \r\n\r\ne,"two\nlines"\r\n'.encode())
    assert read_pairs(path).pairs == (('a "b", c', "d"), ("e", "two\nlines"))


def test_truncated_parquet_is_refused(tmp_path):
    path = write(tmp_path / "x.parquet", {"text": ["a"] * 100, "image": list(map(str, range(100)))})
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-3], whole[:40] + b"\0" * 60 + whole[100:]):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"x\.parquet cannot be read as parquet"):
            read_pairs(path)


@BOTH
@pytest.mark.parametrize("reader", [read_pairs, read_labels])
def test_a_missing_file_is_not_called_damaged(tmp_path, reader, suffix):
    with pytest.raises(
        InvalidInput, match=rf"nowhere{suffix} does not exist; expected a csv, tsv, jsonl or parquet file$"
    ):
        reader(tmp_path / f"nowhere{suffix}")


@BOTH
def test_a_folder_is_no_table(tmp_path, suffix):
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    with pytest.raises(InvalidInput, match=rf"folder{suffix} cannot be read as {suffix[1:]}"):
        read_pairs(folder)


def test_missing_captions_are_not_called_damaged(tmp_path):
    with pytest.raises(InvalidInput, match=r"nowhere\.txt does not exist; expected UTF-8 text, one caption a line"):
        read_captions(tmp_path / "nowhere.txt")


@BOTH
def test_pairs_keep_the_columns_asked_for(tmp_path, suffix):
    path = write(
        tmp_path / f"pairs{suffix}",
        {"document": ["x", "y", "x"], "lang": ["de", " ", "fr"], "query": ["a", "a", "b"], "clicks": [3, 1, 20]},
    )
    plain = read_pairs(path)
    assert (plain.cross_modal, plain.columns, plain.queries, plain.items) == (False, {}, ["a", "b"], ["x", "y"])
    assert plain.pairs == (("a", "x"), ("a", "y"), ("b", "x"))
    kept = read_pairs(path, columns=["lang", "clicks", "query"])
    assert kept.pairs == plain.pairs
    assert kept.columns == {"lang": ("de", "", "fr"), "clicks": ("3", "1", "20"), "query": ("a", "a", "b")}
    assert kept.numbers("clicks") == (3.0, 1.0, 20.0)
    with pytest.raises(InvalidInput, match=r"expected columns market; came \['document', 'lang', 'query', 'clicks'\]"):
        read_pairs(path, columns=["lang", "market"])


@pytest.mark.parametrize("value", ["", "many", "nan", "inf", "-1", "0", "1e999", "3 4"])
def test_counts_that_are_none_name_their_row(tmp_path, value):
    path = write(tmp_path / "pairs.csv", {"text": ["a", "b"], "image": ["x", "y"], "clicks": ["2.5", value]})
    pairs = read_pairs(path, columns=["clicks"])
    with pytest.raises(InvalidInput, match=rf"column 'clicks', row 1: expected a number above 0, came '{value}'"):
        pairs.numbers("clicks")
    with pytest.raises(InvalidInput, match=r"no column 'times' was kept; there are \['clicks'\]"):
        pairs.numbers("times")


@BOTH
def test_labels_are_what_label_relevance_takes(tmp_path, suffix):
    columns = {"id": [7, 8, 9, 7], "label": ["cat", "dog", "cat", "cat"], "breed": ["p", "q", "p", "p"]}
    path = write(tmp_path / f"labels{suffix}", columns)
    labels = read_labels(path)
    assert labels == {"7": "cat", "8": "dog", "9": "cat"}
    assert read_labels(path, column="breed") == {"7": "p", "8": "q", "9": "p"}
    judged = LabelRelevance(labels, labels).judge(["7"], ["9", "8"])
    assert judged.gains(np.array([[0, 1]])).tolist() == [[1.0, 0.0]]


@BOTH
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "class": ["x"]}, r"expected columns label; came \['id', 'class'\]"),
        ({"name": ["a"], "class": ["x"]}, r"expected columns id, label; came"),
        ({"id": ["a", "b", "a"], "label": ["x", "y", "z"]}, "row 2 labels 'a' as 'z', an earlier row as 'x'"),
        ({"id": ["a", "b"], "label": ["x", ""]}, "row 1 has a blank cell"),
        ({"id": ["", "b"], "label": ["x", "y"]}, "row 0 has a blank cell"),
        ({"id": pa.array([], pa.string()), "label": pa.array([], pa.string())}, "no rows"),
    ],
)
def test_labels_that_cannot_be_meant_say_why(tmp_path, suffix, columns, message):
    with pytest.raises(InvalidInput, match=rf"labels{suffix}: {message}"):
        read_labels(write(tmp_path / f"labels{suffix}", columns))
