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
from embridge.errors import InvalidInput

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
    with pytest.raises(InvalidInput, match=rf"x\{kind}.*expected a column caption or text.*came \['id', 'title'\]"):
        read_all_captions(path)
    with pytest.raises(InvalidInput, match=rf"x\{kind}.*expected a column 'name'; came \['id', 'title'\]"):
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
        ("x.csv", b'caption\na\n"b\nc\n', r"x\.csv cannot be read as csv, line 4: unexpected end of data"),
        ("x.csv", b"id,caption\n1,a\n2,a cat, asleep\n", r"x\.csv, line 3: 3 cells, the header 2; quote cells"),
        ("x.csv", b"", r"x\.csv: expected a column caption or text.*came \[\]"),
        ("x.jsonl", b'{"text": "a"}\n{"text": \n', r"x\.jsonl, line 2 is no JSON"),
        ("x.jsonl", b'["a"]\n', r"x\.jsonl, line 1: expected an object \{\.\.\.\}, came list"),
        ("x.jsonl", b'{"text": "a"}\n{"text": 3}\n', r"x\.jsonl, line 2: expected a text as caption, came int"),
        ("x.jsonl", b'{"text": "a"}\n{"title": "b"}\n', r"x\.jsonl, line 2: expected a column caption or text"),
        ("x.parquet", b"PAR1 and no more", r"x\.parquet cannot be read as parquet"),
        ("x.txt.gz", b"no gzip", r"x\.txt\.gz cannot be read as UTF-8 text after line 0"),
        ("x.txt.gz", gzip.compress(b"line\n" * 99_999)[:-9], r"x\.txt\.gz cannot be read as UTF-8 text after line"),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_all_captions(tmp_path / name)


def test_a_column_of_text_or_of_numbers_makes_no_captions(tmp_path):
    with pytest.raises(InvalidInput, match=r"x\.txt is read as text, which has no column 'title'"):
        read_all_captions(write(tmp_path / "x.txt", ["a"]), column="title")
    with pytest.raises(InvalidInput, match=r"x\.parquet: expected texts in the column id, came int64"):
        read_all_captions(write(tmp_path / "x.parquet", ["a"]), column="id")


def test_texts_of_parquet_may_be_encoded_in_other_ways(tmp_path):
    for number, kind in enumerate((pa.large_string(), pa.dictionary(pa.int32(), pa.string()))):
        path = tmp_path / f"{number}.parquet"
        pa.parquet.write_table(pa.table({"text": pa.array(["a", None, "b", "a"], kind)}), path)
        captions = read_all_captions(path)
        assert (captions.texts, captions.blanks) == (["a", "b"], 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_marks_are_no_part_of_a_caption(tmp_path, end):
    (tmp_path / "x.txt").write_bytes(f"\ufeffa cat{end}two boats{end}a cat".encode())
    assert read_all_captions(tmp_path / "x.txt").texts == read_captions(tmp_path / "x.txt") == ["a cat", "two boats"]


@given(content=st.binary(max_size=200))
@pytest.mark.parametrize("kind", KINDS)
def test_junk_is_refused_or_read_and_nothing_else_is_raised(tmp_path_factory, kind, content):
    path = tmp_path_factory.mktemp("junk") / f"x{kind}"
    path.write_bytes(content)
    with suppress(InvalidInput):
        assert all(text and text == text.strip() for text in read_all_captions(path).texts)
