"""Judged pairs: a csv or parquet table that says which item answers which query."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from embridge.errors import InvalidInput, require

__all__ = ["JudgedPairs", "read_pairs"]

_COLUMNS = {("text", "image"): True, ("query", "document"): False}


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """(query, item) pairs; ``cross_modal`` where the items are images."""

    pairs: tuple[tuple[str, str], ...]
    cross_modal: bool

    @property
    def queries(self) -> list[str]:
        """Distinct queries in order."""
        return list(dict.fromkeys(query for query, _ in self.pairs))

    @property
    def items(self) -> list[str]:
        """Distinct items in order."""
        return list(dict.fromkeys(item for _, item in self.pairs))


def read_pairs(path: Path | str) -> JudgedPairs:
    """Read columns ``text`` and ``image`` (paths or ids), or ``query`` and ``document``; other columns are ignored.

    Raises `InvalidInput` for an unreadable or empty file, other columns, and blank cells (naming the first row).
    """
    path = Path(path)
    rows, names = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    for (query, item), cross_modal in _COLUMNS.items():
        if {query, item} <= set(names):
            pairs = tuple((str(row[query] or "").strip(), str(row[item] or "").strip()) for row in rows)
            blank = next((i for i, pair in enumerate(pairs) if not all(pair)), None)
            if blank is not None or not pairs:
                raise InvalidInput(f"{path}: {'no rows' if not pairs else f'row {blank} has a blank cell'}; fill it in")
            return JudgedPairs(pairs, cross_modal)
    raise InvalidInput(f"{path}: expected columns text and image, or query and document; came {names}")


def _read_csv(path: Path) -> tuple[list[dict[str, str | None]], list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            return list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read as csv: {error}") from error


def _read_parquet(path: Path) -> tuple[list[dict[str, str | None]], list[str]]:
    pa = require("pyarrow", extra="parquet")
    try:
        table = require("pyarrow.parquet", extra="parquet").read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(f"{path} cannot be read as parquet: {error}") from error
    return table.to_pylist(), table.column_names
