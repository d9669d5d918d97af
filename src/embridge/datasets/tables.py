"""Tables of text: the columns of a csv, tsv, JSON lines or parquet file, every value as a string."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from embridge.atomic_write import require_file
from embridge.datasets._cells import Role, texts_of
from embridge.datasets._rows import cells_of, kind_of, objects_of, require_columns, require_row
from embridge.errors import EmbridgeError, InvalidInput, require

__all__ = ["Table", "finite_number", "read_table", "require_filled"]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was read: its path, the names of its columns in order, and their values.

    Attributes:
        path: The file.
        names: Its columns, as we call them.
        lines: The number of each row's line in the file; None where it has no lines.

    Examples:
        >>> _ = Path("pairs.csv").write_text("query,document,times\\nshoe,d7,3\\n")
        >>> table = read_table("pairs.csv")
        >>> table.names, table.columns(["times"])
        (['query', 'document', 'times'], {'times': ('3',)})
    """

    path: Path
    names: list[str]
    _values: Callable[[Sequence[str]], dict[str, Sequence[Any]]]
    lines: Sequence[int] | None = None

    def columns(self, names: Sequence[str], role: Role = "value") -> dict[str, tuple[str, ...]]:
        """Those columns, one string a row: numbers as Python writes them, white space around them gone, blanks as ``""``.

        Raises `MissingSetting` for columns that are not there, listing those that are, and `InvalidInput` for a value that is
        none of that role: ``text`` takes texts alone, ``id`` whole numbers too, and no role lists or objects.
        """
        require_columns(self.path, names, self.names)
        with _reading(self.path):
            values = self._values(names)
            return {name: texts_of(column, role, name, self.where) for name, column in values.items()}

    def where(self, row: int) -> str:
        """Where a row stands in the file, for messages."""
        return f"{self.path}, " + (f"row {row}" if self.lines is None else f"line {self.lines[row]}")


def read_table(path: Path | str, *, names: Mapping[str, str] | None = None) -> Table:
    """Read a table of text, once.

    Args:
        path: Parquet, tsv (no quotes) or jsonl where it is named so, else csv with a header; all but Parquet may be gzipped
            (.gz). The columns of jsonl are the keys of its first object.
        names: From our names of columns to the file's, where they differ. A column of ours that is named hides one of the
            file's that is called the same.

    Returns:
        Its columns. Of Parquet, only those that are asked for are read.

    Raises:
        InvalidInput: The file is missing, unreadable or empty, two columns have one name, or a row is longer than the
            header: an unquoted comma would otherwise move values into the wrong column.
        MissingSetting: A column that is named is not there.

    Examples:
        >>> _ = Path("labels.csv").write_text("id,label\\n17.jpg,cat\\n")
        >>> read_table("labels.csv").columns(["label"])
        {'label': ('cat',)}
        >>> read_table("labels.csv", names={"kind": "label"}).columns(["kind"])
        {'kind': ('cat',)}
    """
    path = Path(path)
    require_file(path, "a csv, tsv, jsonl or parquet file")
    with _reading(path):
        table = {"parquet": _parquet, "jsonl": _json_lines}.get(kind_of(path), _csv)(path)
    repeated = sorted({name for name in table.names if name and table.names.count(name) > 1})
    if not table.names or repeated:
        raise InvalidInput(f"{path}: {f'columns repeat: {repeated}' if repeated else 'no columns, the file is empty'}")
    return _renamed(table, names) if names else table


def require_filled(table: Table, columns: Sequence[Sequence[str]]) -> None:
    """Require columns that have rows and no blank cell.

    Args:
        table: The table, for the message.
        columns: Their values.

    Raises:
        InvalidInput: There are no rows, or a cell is blank; the message names its line, or its row counted from 0.

    Examples:
        >>> _ = Path("pairs.csv").write_text("query,document\\nshoe,d1\\nhat,\\n")
        >>> table = read_table("pairs.csv")
        >>> require_filled(table, list(table.columns(["query", "document"]).values()))
        Traceback (most recent call last):
        embridge.errors.InvalidInput: pairs.csv, line 3: a cell is blank; fill it in
    """
    rows = list(zip(*columns, strict=True))
    if not rows:
        raise InvalidInput(f"{table.path}: no rows; fill it in")
    blank = next((i for i, row in enumerate(rows) if not all(row)), None)
    if blank is not None:
        raise InvalidInput(f"{table.where(blank)}: a cell is blank; fill it in")


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
    if "_" in text:  # which Python takes for a space between digits
        return None
    return number if isfinite(number) else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    kind = kind_of(path)
    unreadable: type[Exception] = OSError
    if kind == "parquet":
        unreadable = require("pyarrow", extra="parquet").ArrowException
    try:
        yield
    except EmbridgeError:
        raise
    except (OSError, ValueError, unreadable) as error:
        kind = kind if kind in ("tsv", "jsonl", "parquet") else "csv"
        raise InvalidInput(f"{path} cannot be read as {kind}: {error}") from error


def _csv(path: Path) -> Table:
    rows = cells_of(path, tabs=kind_of(path) == "tsv")
    names: list[str] = []
    values: list[list[str]] = []
    lines = array("q")
    for line, raw in rows:
        cells = [cell.strip() for cell in raw]
        if not any(cells):
            continue  # a blank line, or one of commas alone
        if not names:
            names, values = cells, [[] for _ in cells]
            continue
        require_row(path, line, cells, names)
        lines.append(line)
        for place, column in enumerate(values):
            column.append(cells[place] if place < len(cells) else "")
    return Table(path, names, lambda wanted: {name: values[names.index(name)] for name in wanted}, lines)


def _json_lines(path: Path) -> Table:
    rows, lines = [], array("q")
    for line, row in objects_of(path):
        if row is not None:
            rows.append(row)
            lines.append(line)
    names = list(rows[0]) if rows else []
    return Table(path, names, lambda wanted: {name: [row.get(name) for row in rows] for name in wanted}, lines)


def _parquet(path: Path) -> Table:
    file = require("pyarrow.parquet", extra="parquet").ParquetFile(path)

    def values(wanted: Sequence[str]) -> dict[str, Sequence[Any]]:
        distinct = list(dict.fromkeys(wanted))
        table = file.read(columns=distinct)
        for name in distinct:
            if len(table[name]) != file.metadata.num_rows:
                raise ValueError(f"the column {name} holds {len(table[name])} of {file.metadata.num_rows} rows")
        return {name: table[name].to_pylist() for name in distinct}

    return Table(path, list(file.schema_arrow.names), values)


def _renamed(table: Table, names: Mapping[str, str]) -> Table:
    """The same table with our names of its columns before its own, of which they hide those that are called alike."""
    require_columns(table.path, list(names.values()), table.names)
    own = [name for name in table.names if name not in names]

    def values(wanted: Sequence[str]) -> dict[str, Sequence[Any]]:
        read = table._values([names.get(name, name) for name in wanted])
        return {name: read[names.get(name, name)] for name in wanted}

    return replace(table, names=[*names, *own], _values=values)
