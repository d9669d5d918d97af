"""Captions from text, csv, tsv, JSON lines and Parquet, or a folder of such files, read a part at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embridge.atomic_write import require_file
from embridge.datasets._cells import require_usable, texts_of
from embridge.datasets._rows import cells_of, kind_of, objects_of, refuse_columns, require_row
from embridge.datasets.text_lines import decoded_lines
from embridge.errors import EmbridgeError, InvalidInput, MissingSetting, require

__all__ = ["Captions", "read_all_captions"]

_COLUMNS = ("caption", "text")
_KINDS = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_EXPECTED = "text with one caption a line, csv, tsv, jsonl or parquet with a column of them, or a folder of such files"


@dataclass(frozen=True, slots=True)
class Captions:
    """Distinct captions, in the order of their first appearance.

    Attributes:
        counts: How often each came.
        blanks: Lines or cells with nothing in them, which were dropped.
        files: How many were read.

    Examples:
        >>> captions = Captions({"a black cat": 2, "two boats": 1}, blanks=0, files=1)
        >>> len(captions), captions.repeats
        (2, 1)
    """

    counts: Mapping[str, int]
    blanks: int
    files: int

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def texts(self) -> list[str]:
        """The captions alone."""
        return list(self.counts)

    @property
    def repeats(self) -> int:
        """How many came again and were dropped."""
        return sum(self.counts.values()) - len(self.counts)

    def __str__(self) -> str:
        source = f" in {self.files} files" if self.files > 1 else ""
        return f"{len(self):,} captions{source}; {self.repeats:,} repeats and {self.blanks:,} blanks dropped"


def read_all_captions(path: Path | str, *, column: str | None = None) -> Captions:
    """Read every caption of a file, or of the files in a folder and those below it, in the order of their names.

    The suffix says the kind. ``.csv``, ``.tsv``, ``.jsonl`` and ``.parquet`` hold a column: ``caption``, else ``text``, else
    the one named. Anything else is text with one caption a line. A caption is a text: lists and numbers are refused. All but
    Parquet may be gzipped (``.csv.gz``). A ``.tsv`` has no quotes. White space around a caption is dropped. Of a folder, files
    of other kinds and hidden ones are left alone. Each distinct caption is in memory once.

    Args:
        path: The file or the folder.
        column: The column of the captions, where it is called otherwise.

    Returns:
        The captions, and what was dropped.

    Raises:
        InvalidInput: A file cannot be read, or holds something else than texts; the message names it, and the line where there
            is one.
        MissingSetting: There is no such column; the message lists those that are there.

    Examples:
        >>> _ = Path("shop.csv").write_text("id,caption\\n1,a black cat\\n2,two boats\\n3,a black cat\\n")
        >>> captions = read_all_captions("shop.csv")
        >>> captions.texts, str(captions)
        (['a black cat', 'two boats'], '2 captions; 1 repeats and 0 blanks dropped')
    """
    path = Path(path)
    require_file(path, _EXPECTED)
    files = _files_in(path) if path.is_dir() else [path]
    counts = Counter(text.strip() for file in files for text in _captions_of(file, column))
    blanks = counts.pop("", 0)
    if not counts:
        raise InvalidInput(f"{path} holds no caption; expected {_EXPECTED}")
    return Captions(dict(counts), blanks, len(files))


def _files_in(folder: Path) -> list[Path]:
    found = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and _suffix(file) in _KINDS)
    files = sorted(name.as_posix() for name in found if not any(part.startswith(".") for part in name.parts))
    if not files:
        raise InvalidInput(f"{folder} holds no file of captions; expected {', '.join(_KINDS)}, or those with .gz")
    return [folder / name for name in files]


def _suffix(file: Path) -> str:
    return (Path(file.stem).suffix if file.suffix == ".gz" else file.suffix).lower()


def _captions_of(file: Path, column: str | None) -> Iterator[str]:
    kind = kind_of(file)
    if kind == "parquet":
        return _from_parquet(file, column)
    if kind == "jsonl":
        return _from_json_lines(file, column)
    if kind in ("csv", "tsv"):
        return _from_table(file, column, tabs=kind == "tsv")
    if column is not None:
        raise MissingSetting(
            f"{file} is read as text, which has no column {column!r}; name it csv, tsv, jsonl or parquet"
        )
    return (part for _, line in decoded_lines(file) for part in line.rstrip("\r\n").split("\r"))


def _from_table(file: Path, column: str | None, *, tabs: bool) -> Iterator[str]:
    rows = cells_of(file, tabs=tabs)
    header = [name.strip() for name in next((cells for _, cells in rows if any(cells)), [])]
    if not header:
        return
    name = _chosen(file, header, column)
    if header.count(name) > 1:
        raise InvalidInput(f"{file}: columns repeat: {[name]}")
    place = header.index(name)
    for line, row in rows:
        require_row(file, line, row, header)
        yield row[place] if place < len(row) else ""


def _from_json_lines(file: Path, column: str | None) -> Iterator[str]:
    begun = False
    for number, row in objects_of(file):
        if row is None:
            yield ""
            continue
        where = f"{file}, line {number}"
        try:
            name = _chosen(where, row, column)
        except MissingSetting as error:
            raise (InvalidInput(str(error)) if begun else error) from error
        begun, value = True, row[name]
        yield value if isinstance(value, str) and value.isascii() and "\0" not in value else _text(value, name, where)


def _text(value: Any, name: str, where: str) -> str:
    return texts_of([value], "text", name, lambda _: where)[0]


def _from_parquet(file: Path, column: str | None) -> Iterator[str]:
    arrow, parquet = require("pyarrow", extra="parquet"), require("pyarrow.parquet", extra="parquet")
    first = 0
    try:
        with parquet.ParquetFile(file) as opened:
            name = _chosen(file, opened.schema_arrow.names, column)
            for batch in opened.iter_batches(columns=[name]):
                texts = _texts(file, name, batch.column(0), arrow)
                require_usable(texts, name, lambda row, before=first: f"{file}, row {before + row}")  # type: ignore[misc]
                yield from texts
                first += len(texts)
    except EmbridgeError:
        raise
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise InvalidInput(f"{file} cannot be read as parquet: {error}") from error


def _texts(file: Path, name: str, values: Any, arrow: Any) -> list[str]:
    kind = values.type.value_type if arrow.types.is_dictionary(values.type) else values.type
    if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind) or arrow.types.is_string_view(kind)):
        advice = "; write a row for each of its elements" if arrow.types.is_nested(kind) else ""
        raise InvalidInput(f"{file}: expected texts in the column {name}, came {values.type}{advice}")
    return [value or "" for value in values.to_pylist()]


def _chosen(where: object, held: Sequence[str] | Mapping[str, Any], column: str | None) -> str:
    """The column to read: the one named, else the first usual one."""
    wanted = _COLUMNS if column is None else (column,)
    found = [name for name in wanted if name in held]
    if not found:
        expected = (
            "a column caption or text, or another one that is named" if column is None else f"a column {column!r}"
        )
        refuse_columns(where, expected, list(held))
    return found[0]
