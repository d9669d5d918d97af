"""Judged pairs and labels, and the tables they are read from: csv and parquet say the same, hostile files are refused."""

import csv
import datetime
import gzip
import json
import re

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
from embridge.errors import InvalidInput, SettingsError
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


@pytest.mark.slow
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
        with pytest.raises((InvalidInput, SettingsError), match=r"x\.(csv|parquet)"):
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
    with pytest.raises(
        InvalidInput, match=r"x\.parquet, row 0: 'image' holds bytes that are no UTF-8 text; name a column"
    ):
        read_table(path).columns(["image"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no columns, the file is empty"),
        (b"\n\n", "no columns, the file is empty"),
        (b"text,image,text\na,b,c\n", r"columns repeat: \['text'\]"),
        (b"text,image\na,b\nthe cat, asleep,c\n", r"line 3: 3 cells, the header 2; quote cells with commas"),
        (
            b'text,image\n"a,b\nc,d\n',
            "cannot be read as csv, line 2: unexpected end of data: a quote is opened there",
        ),
        (b'text,image\n"a"b,c\n', "cannot be read as csv"),
        (
            b"text,image\n\xff\xfe,b\n",
            "cannot be read as UTF-8 text, line 2: invalid start byte at its byte 0; save it as UTF-8",
        ),
        (b"text,image\n", "no rows"),
        (b"text,image\na,b\n \t,c\n", "line 3: a cell is blank"),
        (b"text,image\na\n", "line 2: a cell is blank"),
        (b"text,photo\na,b\n", r"expected columns text and image, or query and document; came \['text', 'photo'\]"),
        (b"text;image\na;b\n", r"came \['text;image'\]; is ';' between its columns\? Save it as csv with commas"),
        (b"text\timage\na\tb\n", r"is '.t' between its columns\?"),
        (b"a black cat,1.jpg\ntwo boats,2.jpg\n", r"expected columns text and image.*came \['a black cat', '1\.jpg'\]"),
        (b'text,image\n\t"a cat",1.jpg\n', "line 2: white space stands before a quote; begin the cell with its quote"),
        (b'text,image\n"a cat" ,1.jpg\n', "line 2: ',' expected after"),
        (b"text,image\na,b,\n", "line 2: 3 cells, the header 2"),
        (b"text,image\na\0b,c\n", "line 2: a NUL stands there"),
        (b"text,image,query,document\na,b,c,d\n", "has columns text and image, and query and document too; say which"),
        (
            b"text,image\na," + b"x" * 200_000,
            "cannot be read as csv, line 2: field larger than .*; write texts as long as that in jsonl",
        ),
    ],
)
def test_csv_that_cannot_be_meant_says_why(tmp_path, content, message):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises((InvalidInput, SettingsError), match=rf"pairs\.csv.*{message}"):
        read_pairs(path)


def test_csv_as_spreadsheets_write_it(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes('\ufeffquery, document\r\n"a ""b"", c", d \r\n\r\ne,"two\nlines"\r\n'.encode())
    assert read_pairs(path).pairs == (('a "b", c', "d"), ("e", "two\nlines"))


def test_csv_as_people_write_it(tmp_path):
    """A space before a quoted cell, a comma at the end of every line, blank rows of commas."""
    path = tmp_path / "pairs.csv"
    path.write_text('text, image,\n"a black cat, asleep", "1.jpg",\n,,\n   \n two boats , 2.jpg ,\n')
    assert read_pairs(path).pairs == (("a black cat, asleep", "1.jpg"), ("two boats", "2.jpg"))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize(
    ("names", "query"), [({"text": "title", "image": "0"}, "a cat"), ({"query": "sku", "document": "0"}, "7")]
)
def test_columns_of_other_names(tmp_path, suffix, names, query):
    """Also where the file has a column of our name with something else in it, and where a name is a number."""
    columns = {"sku": [7], "title": ["a cat"], "0": ["1.jpg"], "text": ["nothing"], "language": ["en"]}
    path = tmp_path / f"pairs{suffix}"
    if ".jsonl" in suffix:
        written = json.dumps({name: values[0] for name, values in columns.items()}).encode()
        path.write_bytes(gzip.compress(written, mtime=0) if suffix.endswith(".gz") else written)
    elif suffix == ".csv.gz":
        path.write_bytes(gzip.compress(write(tmp_path / "pairs.csv", columns).read_bytes()))
    else:
        write(path, columns)
    pairs = read_pairs(path, names=names, columns=["language", "title"])
    assert pairs.pairs == ((query, "1.jpg"),)
    assert pairs.columns == {"language": ("en",), "title": ("a cat",)}
    with pytest.raises(
        SettingsError, match=r"pairs\S*: expected column titel; came \['sku', 'title', '0', 'text', 'lang"
    ):
        read_pairs(path, names={"text": "titel"})
    assert read_labels(path, names={"id": "sku", "label": "title"}) == {"7": "a cat"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": ["a", "b"], "image": "1"}', "expected a text in 'text', came a list of 2; write a row for each"),
        ('{"text": [], "image": "1"}', "came a list of 0"),
        ('{"text": {"raw": "a"}, "image": "1"}', "came an object with raw; write its text alone"),
        ('{"text": 7, "image": "1"}', r"expected a text in 'text', came 7 \(int\); write it as a text"),
        ('{"text": true, "image": "1"}', r"came True \(bool\)"),
        ('{"text": "a", "image": 7.0}', "a text or a whole number as id in 'image', came 7.0, a float, which is not 7"),
        ('{"text": "a", "image": [1]}', "came a list of 1"),
        ('{"text": null, "image": "1"}', "a cell is blank"),
        ('{"text": NaN, "image": "1"}', "a cell is blank"),
        ('{"text": "  ", "image": "1"}', "a cell is blank"),
        ('{"image": "1"}', "a cell is blank"),
        ('{"text": "a\\u0000", "image": "1"}', "a NUL stands in 'text'; remove it"),
        ('{"text": "\\ude00", "image": "1"}', "half of a surrogate pair, .ude00, stands in 'text'"),
        ('{"text": "a", "text": "b", "image": "1"}', "is no JSON: the key 'text' stands there twice"),
        ('{"text": "a", "image": ', "is no JSON: Expecting value"),
        ("[1]", "expected an object {...}, came list; write one object a line"),
        ("7", "expected an object {...}, came int"),
    ],
)
def test_json_lines_that_cannot_be_meant_name_their_line(tmp_path, row, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"text": "a", "image": "1"}\n\n' * 3 + row + "\n")
    with pytest.raises(
        InvalidInput, match=re.escape(str(path)) + ", line 7.*" + message.replace("{...}", r"\{\.\.\.\}")
    ):
        read_pairs(path)


def test_a_whole_emoji_and_whole_numbers_of_any_size_are_read(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": 12345678901234567890123, "document": "\\ud83d\\ude00"}\n')
    assert read_pairs(path).pairs == (("12345678901234567890123", "\U0001f600"),)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["a", "b"], ["c"]], "expected a text in 'text', came a list of 2; write a row for each"),
        ([{"raw": "a"}, {"raw": "b"}], "came an object with raw"),
        ([1, 2], r"came 1 \(int\)"),
        ([1.5, None], r"came 1.5 \(float\)"),
        ([True, False], r"came True \(bool\)"),
        ([None, "a"], "a cell is blank"),
    ],
)
def test_columns_of_parquet_that_hold_no_texts_are_refused(tmp_path, values, message):
    path = write(tmp_path / "x.parquet", {"text": values, "image": ["1", "2"]})
    with pytest.raises(InvalidInput, match=rf"x\.parquet, row 0: .*{message}"):
        read_pairs(path)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary(), pa.string()])
def test_texts_of_parquet_may_be_encoded_in_any_way(tmp_path, kind):
    texts = pa.array([b"a cat", b"boats"] if kind == pa.binary() else ["a cat", "boats"], kind)
    path = write(tmp_path / "x.parquet", {"text": texts, "a.b": [1, 2], "image": pa.array([1, 2], pa.uint64())})
    assert read_pairs(path).pairs == (("a cat", "1"), ("boats", "2"))
    assert read_table(path).columns(["a.b"]) == {"a.b": ("1", "2")}


@pytest.mark.parametrize("other", ["./1.jpg", "sub/../1.jpg", "link.jpg", "absolute"])
def test_two_paths_of_one_image_are_refused(tmp_path, other):
    """Each would be an item of its own, and the other's rival."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "1.jpg").write_bytes(b"")
    (tmp_path / "2.jpg").write_bytes(b"")
    (tmp_path / "link.jpg").symlink_to("1.jpg")
    other = str(tmp_path / "1.jpg") if other == "absolute" else other
    pairs = write(tmp_path / "pairs.csv", {"text": ["a", "b", "c"], "image": ["1.jpg", "2.jpg", other]})
    labels = write(tmp_path / "labels.csv", {"id": ["1.jpg", "2.jpg", other], "label": ["x", "y", "x"]})
    for read, path in ((read_pairs, pairs), (read_labels, labels)):
        with pytest.raises(InvalidInput, match=r"csv, line 4: '.*' is the file that .*csv, line 2 calls '1\.jpg'"):
            read(path)


def test_ids_that_are_no_files_may_look_like_paths(tmp_path):
    path = write(tmp_path / "pairs.csv", {"text": ["a", "b"], "image": ["x/1", "./x/1"]})
    assert read_pairs(path).items == ["x/1", "./x/1"]


def test_parquet_with_columns_that_differ_in_length_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"query": ["q", "r"], "document": ["d", "e"]}), path)
    content = path.read_bytes()
    assert content.count(b"r\x15\x00\x15") == 1
    path.write_bytes(content.replace(b"r\x15\x00\x15", b"r\x15\x2c\x15"))  # a page of an unknown kind is passed over
    with pytest.raises(InvalidInput, match=r"x.parquet cannot be read as parquet: the column query holds 0 of 2 rows"):
        read_pairs(path)


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
    with pytest.raises(InvalidInput, match=rf"folder{suffix} cannot be read as"):
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
    with pytest.raises(SettingsError, match=r"expected column market; came \['document', 'lang', 'query', 'clicks'\]"):
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
        ({"id": ["a"], "class": ["x"]}, r"expected column label; came \['id', 'class'\]"),
        ({"name": ["a"], "class": ["x"]}, r"expected columns id, label; came"),
        ({"id": ["a", "b", "a"], "label": ["x", "y", "z"]}, "(line 4|row 2) labels 'a' as 'z', an earlier one as 'x'"),
        ({"id": ["a", "b"], "label": ["x", ""]}, "(line 3|row 1): a cell is blank"),
        ({"id": ["", "b"], "label": ["x", "y"]}, "(line 2|row 0): a cell is blank"),
        ({"id": pa.array([], pa.string()), "label": pa.array([], pa.string())}, "no rows"),
    ],
)
def test_labels_that_cannot_be_meant_say_why(tmp_path, suffix, columns, message):
    with pytest.raises((InvalidInput, SettingsError), match=rf"labels{suffix}[:,] {message}"):
        read_labels(write(tmp_path / f"labels{suffix}", columns))
