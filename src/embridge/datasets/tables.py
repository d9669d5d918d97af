"""Tables of text: the columns of a csv, tsv, JSON lines or parquet file, every value as a string."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from embridge.atomic_write import require_file
from embridge.errors import InvalidInput, require

__all__ = ["column_names", "finite_number", "read_columns", "require_filled"]


def column_names(path: Path | str) -> list[str]:
    """The columns of a file, in order: parquet, tsv (no quotes) or jsonl where it is named so, else csv with a header.

    Those of jsonl are the keys of its first object. Raises `InvalidInput` for a file that is missing, unreadable or empty,
    and for two columns of one name.
    """
    path = Path(path)
    require_file(path, "a csv, tsv, jsonl or parquet file")
    with _reading(path):
        if path.suffix == ".parquet":
            names = _parquet_names(path)
        else:
            names = list(next(_objects(path), {})) if path.suffix == ".jsonl" else next(_csv_rows(path), [])
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        raise InvalidInput(f"{path}: {f'columns repeat: {repeated}' if repeated else 'no columns, the file is empty'}")
    return names


def read_columns(path: Path | str, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Those columns, one string a row: numbers as Python writes them, white space around them gone, blanks as ``""``.

    Raises `InvalidInput` as `column_names` does, for columns that are not there (listing those that are) and for rows
    that are longer than the header: an unquoted comma would otherwise move values into the wrong column.

    >>> _ = Path("pairs.csv").write_text("query,document,times\\nshoe,d7,3\\n")
    >>> column_names("pairs.csv"), read_columns("pairs.csv", ["times"])
    (['query', 'document', 'times'], {'times': ('3',)})
    """
    path = Path(path)
    held = column_names(path)
    missing = [name for name in names if name not in held]
    if missing:
        raise InvalidInput(f"{path}: expected columns {', '.join(missing)}; came {held}")
    with _reading(path):
        if path.suffix == ".parquet":
            return _parquet_columns(path, names)
        if path.suffix == ".jsonl":
            rows = list(_objects(path))
            return {name: tuple(_text(row.get(name)) for row in rows) for name in names}
        return _csv_columns(path, held, names)


def require_filled(path: Path | str, columns: Sequence[Sequence[str]]) -> None:
    """Raise `InvalidInput` for columns without rows, and for a blank cell, naming its row (counted from 0)."""
    rows = list(zip(*columns, strict=True))
    blank = next((i for i, row in enumerate(rows) if not all(row)), None)
    if blank is not None or not rows:
        raise InvalidInput(f"{path}: {'no rows' if not rows else f'row {blank} has a blank cell'}; fill it in")


def finite_number(text: str) -> float | None:
    """The number that a text says, or None where it says no finite one.

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


def _csv_columns(path: Path, held: list[str], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    places = {name: held.index(name) for name in names}
    values: dict[str, list[str]] = {name: [] for name in names}
    rows = _csv_rows(path)
    next(rows)
    for i, row in enumerate(rows):
        if len(row) > len(held):
            raise InvalidInput(f"{path}: row {i} has {len(row)} cells, the header {len(held)}; quote cells with commas")
        for name, place in places.items():
            values[name].append(row[place] if place < len(row) else "")
    return {name: tuple(column) for name, column in values.items()}


def _parquet_names(path: Path) -> list[str]:
    return list(require("pyarrow.parquet", extra="parquet").read_schema(path).names)


def _parquet_columns(path: Path, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    distinct = list(dict.fromkeys(names))
    table = require("pyarrow.parquet", extra="parquet").ParquetFile(path).read(columns=distinct)
    return {name: tuple(map(_text, table[name].to_pylist())) for name in distinct}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8").strip()
    if value is None or value != value:  # NaN is how some writers say blank
        return ""
    return str(value).strip()
