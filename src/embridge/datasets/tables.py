"""Tables of text: the columns of a csv, tsv, JSON lines or parquet file, every value as a string."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from embridge.atomic_write import require_file
from embridge.errors import InvalidInput, MissingSetting, require

__all__ = ["Table", "finite_number", "read_table", "require_filled"]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was read: its path, the names of its columns in order, and their values.

    Attributes:
        path: The file.
        names: Its columns.

    Examples:
        >>> _ = Path("pairs.csv").write_text("query,document,times\\nshoe,d7,3\\n")
        >>> table = read_table("pairs.csv")
        >>> table.names, table.columns(["times"])
        (['query', 'document', 'times'], {'times': ('3',)})
    """

    path: Path
    names: list[str]
    _values: Callable[[Sequence[str]], dict[str, tuple[str, ...]]]

    def columns(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Those columns, one string a row: numbers as Python writes them, white space around them gone, blanks as ``""``.

        Raises `InvalidInput` for columns that are not there, listing those that are.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            raise MissingSetting(f"{self.path}: expected columns {', '.join(missing)}; came {self.names}")
        with _reading(self.path):
            return self._values(names)


def read_table(path: Path | str) -> Table:
    """Read a table of text, once.

    Args:
        path: Parquet, tsv (no quotes) or jsonl where it is named so, else csv with a header. The columns of jsonl are the
            keys of its first object.

    Returns:
        Its columns. Of Parquet, only those that are asked for are read.

    Raises:
        InvalidInput: The file is missing, unreadable or empty, two columns have one name, or a row is longer than the
            header: an unquoted comma would otherwise move values into the wrong column.

    Examples:
        >>> _ = Path("labels.csv").write_text("id,label\\n17.jpg,cat\\n")
        >>> read_table("labels.csv").columns(["label"])
        {'label': ('cat',)}
    """
    path = Path(path)
    require_file(path, "a csv, tsv, jsonl or parquet file")
    with _reading(path):
        read = {".parquet": _parquet, ".jsonl": _json_lines}.get(path.suffix, _csv)
        table = read(path)
    repeated = sorted({name for name in table.names if table.names.count(name) > 1})
    if not table.names or repeated:
        raise InvalidInput(f"{path}: {f'columns repeat: {repeated}' if repeated else 'no columns, the file is empty'}")
    return table


def require_filled(path: Path | str, columns: Sequence[Sequence[str]]) -> None:
    """Require columns that have rows and no blank cell.

    Args:
        path: The table, for the message.
        columns: Their values.

    Raises:
        InvalidInput: There are no rows, or a cell is blank; the message names its row, counted from 0.

    Examples:
        >>> require_filled("pairs.csv", [("shoe", "hat"), ("d1", "")])
        Traceback (most recent call last):
        embridge.errors.InvalidInput: pairs.csv: row 1 has a blank cell; fill it in
    """
    rows = list(zip(*columns, strict=True))
    blank = next((i for i, row in enumerate(rows) if not all(row)), None)
    if blank is not None or not rows:
        raise InvalidInput(f"{path}: {'no rows' if not rows else f'row {blank} has a blank cell'}; fill it in")


def finite_number(text: str) -> float | None:
    """The number that a text says.

    Args:
        text: A cell of a table.

    Returns:
        The number, or None where the text says no finite one.

    Examples:
        >>> finite_number("2.5"), finite_number("inf"), finite_number("many")
        (2.5, None, None)
    """
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    kind = path.suffix[1:] if path.suffix in (".tsv", ".jsonl") else "csv"
    unreadable: type[Exception] = csv.Error
    if path.suffix == ".parquet":
        kind, unreadable = "parquet", require("pyarrow", extra="parquet").ArrowException
    try:
        yield
    except InvalidInput:
        raise
    except (OSError, ValueError, unreadable) as error:  # text that is not UTF-8 is a ValueError
        raise InvalidInput(f"{path} cannot be read as {kind}: {error}") from error


def _csv_rows(path: Path) -> Iterator[list[str]]:
    """The rows that are not blank, the header first."""
    tabs = path.suffix == ".tsv"
    with path.open(newline="", encoding="utf-8-sig") as file:
        # strict: a quote that is never closed would otherwise swallow all rows after it
        reader = csv.reader(
            file, strict=True, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
        )
        yield from ([cell.strip() for cell in row] for row in reader if row)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines, one a line."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} holds no object in braces")
                yield row


def _csv(path: Path) -> Table:
    rows = _csv_rows(path)
    names = next(rows, [])
    values: list[list[str]] = [[] for _ in names]
    for i, row in enumerate(rows):
        if len(row) > len(names):
            raise InvalidInput(
                f"{path}: row {i} has {len(row)} cells, the header {len(names)}; quote cells with commas"
            )
        for place, column in enumerate(values):
            column.append(row[place] if place < len(row) else "")
    return Table(path, names, lambda wanted: {name: tuple(values[names.index(name)]) for name in wanted})


def _json_lines(path: Path) -> Table:
    rows = list(_objects(path))
    names = list(rows[0]) if rows else []
    return Table(path, names, lambda wanted: {name: tuple(_text(row.get(name)) for row in rows) for name in wanted})


def _parquet(path: Path) -> Table:
    file = require("pyarrow.parquet", extra="parquet").ParquetFile(path)

    def values(wanted: Sequence[str]) -> dict[str, tuple[str, ...]]:
        distinct = list(dict.fromkeys(wanted))
        table = file.read(columns=distinct)
        return {name: tuple(map(_text, table[name].to_pylist())) for name in distinct}

    return Table(path, list(file.schema_arrow.names), values)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8").strip()
    if value is None or value != value:  # NaN is how some writers say blank
        return ""
    return str(value).strip()
