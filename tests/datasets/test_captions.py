"""The same captions from every kind of file; what cannot be meant is refused by file and line."""

import csv
import gzip
import json
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.datasets.captions import read_all_captions
from embridge.datasets.text_lines import read_captions
from embridge.errors import InvalidInput, SettingsError

KINDS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet", ".txt.gz", ".csv.gz", ".tsv.gz", ".jsonl.gz")
TEXTS = ["two boats", "", "a black cat", "two boats", "  a  black cat ", "ein Kätzchen 猫", "   ", 'say "meow", cat']
DISTINCT = ["two boats", "a black cat", "a  black cat", "ein Kätzchen 猫", 'say "meow", cat']


def write(path, texts, column="caption"):
    """The texts as the suffix says, in a table with a further column."""
    kind = path.name.partition(".")[2].removesuffix(".gz")
    if kind == "parquet":
        pa.parquet.write_table(pa.table({"id": range(len(texts)), column: texts}), path)
        return path
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if kind == "txt":
            file.writelines(f"{text}\n" for text in texts)
        elif kind == "jsonl":
            file.writelines(json.dumps({"id": i, column: text}) + "\n" for i, text in enumerate(texts))
        elif kind == "tsv":
            file.writelines(["id\t" + column + "\n", *(f"{i}\t{text}\n" for i, text in enumerate(texts))])
        else:
            csv.writer(file).writerows([("id", column), *enumerate(texts)])
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", ["caption", "text"])
def test_every_kind_of_file_gives_the_same_captions(tmp_path, kind, column):
    captions = read_all_captions(write(tmp_path / f"x{kind}", TEXTS, column))
    assert captions.texts == DISTINCT
    assert captions.counts["two boats"] == 2
    assert (captions.repeats, captions.blanks, captions.files, len(captions)) == (1, 2, 1, 5)
    assert str(captions) == "5 captions; 1 repeats and 2 blanks dropped"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "txt" not in kind])
def test_another_column_is_read_where_it_is_named(tmp_path, kind):
    path = write(tmp_path / f"x{kind}", TEXTS, "title")
    assert read_all_captions(path, column="title").texts == DISTINCT
    with pytest.raises(SettingsError, match=rf"x\{kind}.*expected a column caption or text.*came \['id', 'title'\]"):
        read_all_captions(path)
    with pytest.raises(SettingsError, match=rf"x\{kind}.*expected a column 'name'; came \['id', 'title'\]"):
        read_all_captions(path, column="name")


def test_a_folder_is_read_in_the_order_of_names_and_repeats_are_found_across_files(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / ".cache").mkdir()
    write(tmp_path / "b.csv", ["from b", "twice"])
    write(tmp_path / "a.parquet", ["from a", "twice"])
    write(tmp_path / "more" / "c.txt.gz", ["twice", "from c", ""])
    write(tmp_path / ".cache" / "d.txt", ["hidden"])
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    captions = read_all_captions(tmp_path)
    assert captions.texts == ["from a", "twice", "from b", "from c"]
    assert str(captions) == "4 captions in 3 files; 2 repeats and 1 blanks dropped"


def test_a_folder_without_captions_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(InvalidInput, match=r"holds no file of captions; expected \.txt, \.csv"):
        read_all_captions(tmp_path)
    with pytest.raises(InvalidInput, match=r"nowhere does not exist; expected text with one caption a line, csv"):
        read_all_captions(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", KINDS)
def test_files_without_a_caption_are_refused(tmp_path, kind):
    with pytest.raises(InvalidInput, match=rf"x\{kind} holds no caption"):
        read_all_captions(write(tmp_path / f"x{kind}", ["", " "]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.txt",
            b"a\nb\n\xff\xfec\n",
            r"x\.txt cannot be read as UTF-8 text, line 3: invalid start byte at its byte 0",
        ),
        ("x.csv", b"caption\na\nb\xff\n", r"x\.csv cannot be read as UTF-8 text, line 3: .* byte 1; save it as UTF-8"),
        ("x.jsonl", b'{"text": "a"}\n\xff\n', r"x\.jsonl cannot be read as UTF-8 text, line 2"),
        (
            "x.csv",
            b'caption\na\n"b\nc\n',
            r"x\.csv cannot be read as csv, line 3: unexpected end of data: a quote is opened",
        ),
        ("x.csv", b"id,caption\n1,a\n2,a cat, asleep\n", r"x\.csv, line 3: 3 cells, the header 2; quote cells"),
        ("x.csv", b"", r"x\.csv holds no caption"),
        ("x.csv", b"text,text\na,b\n", r"x\.csv: columns repeat: \['text'\]"),
        ("x.jsonl", b'{"text": "a"}\n{"text": \n', r"x\.jsonl, line 2 is no JSON"),
        ("x.jsonl", b'["a"]\n', r"x\.jsonl, line 1: expected an object \{\.\.\.\}, came list"),
        ("x.jsonl", b'{"text": "a"}\n{"text": 3}\n', r"x\.jsonl, line 2: expected a text in 'text', came 3 \(int\)"),
        ("x.jsonl", b'{"text": true}\n', r"x\.jsonl, line 1: expected a text in 'text', came True \(bool\)"),
        (
            "x.jsonl",
            b'{"text": ["a", "b"]}\n',
            r"line 1: expected a text in 'text', came a list of 2; write a row for each",
        ),
        ("x.jsonl", b'{"text": {"raw": "a"}}\n', "line 1: expected a text in 'text', came an object with raw"),
        (
            "x.jsonl",
            b'{"text": "a"}\n{"text": "shoes \\ud83d"}\n',
            r"line 2: half of a surrogate pair, .ud83d, stands in",
        ),
        ("x.jsonl", b'{"text": "a\\u0000"}\n', "line 1: a NUL stands in 'text'"),
        ("x.jsonl", b'{"text": "a", "text": "b"}\n', "line 1 is no JSON: the key 'text' stands there twice"),
        (
            "x.jsonl",
            b'[{"text": "a"},\n{"text": "b"}]\n',
            "line 1 is no JSON.*write one object a line, without brackets",
        ),
        ("x.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", "line 1 is no JSON: it is nested too deep"),
        ("x.jsonl", b'{"text": ' + b"1" * 5_000 + b"}\n", "line 1 is no JSON: Exceeds the limit"),
        ("x.txt", "a cat\ntwo boats\n".encode("utf-16"), r"x\.txt .* line 1: it begins as UTF-16; save it as UTF-8"),
        ("x.csv", "caption\na cat\n".encode("utf-32"), r"x\.csv .* line 1: it begins as UTF-32; save it as UTF-8"),
        ("x.txt", "a cat\ntwo boats\n".encode("utf-16-le"), r"x\.txt, line 1: a NUL stands there, as in UTF-16"),
        ("x.csv", "caption\na cat\n".encode("utf-16-be"), r"x\.csv, line 1: a NUL stands there, as in UTF-16"),
        ("x.jsonl", b'{"text": "a"}\n{"text": "b\0"}\n', r"x\.jsonl, line 2: a NUL stands there"),
        ("x.txt", "a cat\nune for\u00eat\n".encode("latin-1"), r"line 2: invalid continuation byte at its byte 7"),
        ("x.txt", "a cat\n\ufefftwo boats\n".encode(), r"line 2: a mark of the byte order .* where two were joined"),
        ("x.txt", gzip.compress(b"a cat\n", mtime=0), r"line 1: it begins as a gzipped file, which is named \.gz"),
        ("x.csv", b"PK\x03\x04 and so on", "line 1: it begins as a zip or a spreadsheet"),
        ("x.txt", b"PAR1 and so on", r"line 1: it begins as Parquet, which is named \.parquet"),
        ("x.json", b'["a cat"]', r"x\.json: \.json is not read here; save it as one object a line, as \.jsonl"),
        ("x.xlsx", b"PK", r"x\.xlsx: \.xlsx is not read here; save it as csv, tsv, jsonl or parquet"),
        ("x.parquet.gz", b"", r"\.parquet\.gz is not read here"),
        ("x.jsonl", b'{"text": "a"}\n{"title": "b"}\n', r"x\.jsonl, line 2: expected a column caption or text"),
        ("x.parquet", b"PAR1 and no more", r"x\.parquet cannot be read as parquet"),
        ("x.txt.gz", b"no gzip", r"x\.txt\.gz cannot be read as UTF-8 text after line 0"),
        (
            "x.txt.gz",
            gzip.compress(b"line\n" * 99_999, mtime=0)[:-9],
            r"x\.txt\.gz cannot be read as UTF-8 text after line",
        ),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_all_captions(tmp_path / name)


def test_a_column_of_text_or_of_numbers_makes_no_captions(tmp_path):
    with pytest.raises(SettingsError, match=r"x\.txt is read as text, which has no column 'title'"):
        read_all_captions(write(tmp_path / "x.txt", ["a"]), column="title")
    with pytest.raises(InvalidInput, match=r"x\.parquet: expected texts in the column id, came int64"):
        read_all_captions(write(tmp_path / "x.parquet", ["a"]), column="id")


def test_texts_of_parquet_may_be_encoded_in_other_ways(tmp_path):
    for number, kind in enumerate((pa.large_string(), pa.dictionary(pa.int32(), pa.string()))):
        path = tmp_path / f"{number}.parquet"
        pa.parquet.write_table(pa.table({"text": pa.array(["a", None, "b", "a"], kind)}), path)
        captions = read_all_captions(path)
        assert (captions.texts, captions.blanks) == (["a", "b"], 1)


def test_lists_of_texts_in_parquet_are_refused_with_what_to_do(tmp_path):
    pa.parquet.write_table(pa.table({"text": [["a", "b"], ["c"]]}), tmp_path / "x.parquet")
    with pytest.raises(InvalidInput, match=r"in the column text, came list<.*>; write a row for each of its elements"):
        read_all_captions(tmp_path / "x.parquet")


@pytest.mark.parametrize("kind", [".csv", ".tsv"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_may_end_their_lines_as_any_system_does(tmp_path, kind, end):
    apart = {".csv": ",", ".tsv": "\t"}[kind]
    rows = [f"id{apart}caption", f"1{apart}a cat", "", f"2{apart}two boats", f"3{apart}x{apart}y"]
    (tmp_path / f"x{kind}").write_bytes(end.join(rows[:-1]).encode())
    captions = read_all_captions(tmp_path / f"x{kind}")
    assert (captions.texts, captions.blanks) == (["a cat", "two boats"], 1)
    (tmp_path / f"x{kind}").write_bytes(end.join(rows).encode())
    with pytest.raises(InvalidInput, match="line 5: 3 cells, the header 2"):
        read_all_captions(tmp_path / f"x{kind}")


def test_ndjson_is_another_name_of_json_lines(tmp_path):
    (tmp_path / "x.ndjson").write_text('{"text": "a cat"}\n')
    assert read_all_captions(tmp_path / "x.ndjson").texts == read_all_captions(tmp_path).texts == ["a cat"]


def test_a_suffix_counts_in_capitals_too(tmp_path):
    write(tmp_path / "x.csv", ["a cat"]).rename(tmp_path / "X.CSV")
    assert read_all_captions(tmp_path / "X.CSV").texts == read_all_captions(tmp_path).texts == ["a cat"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_marks_are_no_part_of_a_caption(tmp_path, end):
    (tmp_path / "x.txt").write_bytes(f"\ufeffa cat{end}two boats{end}a cat".encode())
    assert read_all_captions(tmp_path / "x.txt").texts == read_captions(tmp_path / "x.txt") == ["a cat", "two boats"]


@pytest.mark.slow
@given(content=st.binary(max_size=200))
@pytest.mark.parametrize("kind", KINDS)
def test_junk_is_refused_or_read_and_nothing_else_is_raised(tmp_path_factory, kind, content):
    path = tmp_path_factory.mktemp("junk") / f"x{kind}"
    path.write_bytes(content)
    with suppress(InvalidInput, SettingsError):
        assert all(text and text == text.strip() for text in read_all_captions(path).texts)
