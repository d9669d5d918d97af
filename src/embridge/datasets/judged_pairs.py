"""Judged pairs: a csv, tsv, JSON lines or parquet table that says which item answers which query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embridge.datasets.tables import Table, finite_number, read_table, require_filled
from embridge.errors import InvalidInput, MissingSetting

__all__ = ["JudgedPairs", "pairs_of", "read_pairs"]

_COLUMNS = {("text", "image"): True, ("query", "document"): False}


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """(query, item) pairs: which item answers which query.

    Attributes:
        pairs: One a row.
        cross_modal: Whether the items are images.
        columns: Further columns of the table, one text a pair: language, category, clicks.

    Examples:
        >>> JudgedPairs((("shoe", "a"), ("shoe", "b")), cross_modal=False).items
        ['a', 'b']
    """

    pairs: tuple[tuple[str, str], ...]
    cross_modal: bool
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def queries(self) -> list[str]:
        """Distinct queries in order."""
        return list(dict.fromkeys(query for query, _ in self.pairs))

    @property
    def items(self) -> list[str]:
        """Distinct items in order."""
        return list(dict.fromkeys(item for _, item in self.pairs))

    def numbers(self, column: str) -> tuple[float, ...]:
        """A kept column as numbers, such as how often a pair was clicked.

        Raises `InvalidInput` for a column that was not kept, and where a value is not a finite number above 0.

        >>> JudgedPairs((("shoe", "a"), ("hat", "b")), False, {"clicks": ("3", "1")}).numbers("clicks")
        (3.0, 1.0)
        """
        if column not in self.columns:
            raise InvalidInput(f"pairs: no column {column!r} was kept; there are {list(self.columns)}")
        found = []
        for row, text in enumerate(self.columns[column]):
            number = finite_number(text)
            if number is None or number <= 0:
                raise InvalidInput(f"pairs: column {column!r}, row {row}: expected a number above 0, came {text!r}")
            found.append(number)
        return tuple(found)


def read_pairs(path: Path | str, *, columns: Sequence[str] = ()) -> JudgedPairs:
    """Read columns ``text`` and ``image`` (paths or ids), or ``query`` and ``document``.

    Args:
        path: The table, see `read_table`.
        columns: Further columns to keep; all others are ignored.

    Returns:
        The pairs, in the order of the rows.

    Raises:
        InvalidInput: The file is missing, unreadable or empty, has other columns, or a query or an item is blank; the
            message names the first such row.

    Examples:
        >>> _ = Path("judged.csv").write_text("text,image,language\\na black cat,17.jpg,en\\neine Katze,17.jpg,de\\n")
        >>> judged = read_pairs("judged.csv", columns=["language"])
        >>> judged.queries, judged.items, judged.columns["language"]
        (['a black cat', 'eine Katze'], ['17.jpg'], ('en', 'de'))
    """
    return pairs_of(read_table(path), columns=columns)


def pairs_of(table: Table, *, columns: Sequence[str] = ()) -> JudgedPairs:
    """The judged pairs of a table that was read, see `read_pairs`.

    Args:
        table: What `read_table` gave.
        columns: Further columns to keep.

    Returns:
        The pairs, in the order of the rows.

    Raises:
        InvalidInput: The columns are others, or a query or an item is blank.

    Examples:
        >>> from embridge.datasets.tables import read_table
        >>> _ = Path("judged.csv").write_text("query,document\\nshoe,d7\\n")
        >>> pairs_of(read_table("judged.csv")).pairs
        (('shoe', 'd7'),)
    """
    for (query, item), cross_modal in _COLUMNS.items():
        if {query, item} <= set(table.names):
            values = table.columns([query, item, *columns])
            require_filled(table.path, [values[query], values[item]])
            pairs = tuple(zip(values[query], values[item], strict=True))
            return JudgedPairs(pairs, cross_modal, {name: values[name] for name in columns})
    raise MissingSetting(f"{table.path}: expected columns text and image, or query and document; came {table.names}")
