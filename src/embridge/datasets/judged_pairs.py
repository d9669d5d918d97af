"""Judged pairs: a csv, tsv, JSON lines or parquet table that says which item answers which query."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embridge.datasets._paths import require_one_spelling
from embridge.datasets._rows import refuse_columns
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


def read_pairs(path: Path | str, *, columns: Sequence[str] = (), names: Mapping[str, str] | None = None) -> JudgedPairs:
    """Read columns ``text`` and ``image`` (paths or ids), or ``query`` and ``document``.

    Args:
        path: The table, see `read_table`.
        columns: Further columns to keep; all others are ignored.
        names: From these names to the file's, where they differ.

    Returns:
        The pairs, in the order of the rows.

    Raises:
        InvalidInput: The file is missing, unreadable or empty, a query or an item is blank, a list or a float, or two paths are
            of one image; the message names the first such line or row.
        MissingSetting: The columns are others, or both kinds are there and ``names`` does not say which.

    Examples:
        >>> _ = Path("judged.csv").write_text("text,image,language\\na black cat,17.jpg,en\\neine Katze,17.jpg,de\\n")
        >>> judged = read_pairs("judged.csv", columns=["language"])
        >>> judged.queries, judged.items, judged.columns["language"]
        (['a black cat', 'eine Katze'], ['17.jpg'], ('en', 'de'))
        >>> _ = Path("shop.csv").write_text("title,photo\\na black cat,17.jpg\\n")
        >>> read_pairs("shop.csv", names={"text": "title", "image": "photo"}).pairs
        (('a black cat', '17.jpg'),)
    """
    return pairs_of(read_table(path, names=names), columns=columns, named=names or ())


def pairs_of(table: Table, *, columns: Sequence[str] = (), named: Collection[str] = ()) -> JudgedPairs:
    """The judged pairs of a table that was read, see `read_pairs`.

    Args:
        table: What `read_table` gave.
        columns: Further columns to keep.
        named: Columns of ours that somebody named, which say of which kind the pairs are where both are there.

    Returns:
        The pairs, in the order of the rows.

    Raises:
        InvalidInput: A query or an item is blank, a list or a float, or two paths are of one image.
        MissingSetting: The columns are others.

    Examples:
        >>> from embridge.datasets.tables import read_table
        >>> _ = Path("judged.csv").write_text("query,document\\nshoe,d7\\n")
        >>> pairs_of(read_table("judged.csv")).pairs
        (('shoe', 'd7'),)
    """
    query, item = _columns_of(table, named)
    cross_modal = _COLUMNS[query, item]
    queries = table.columns([query], "text" if cross_modal else "id")[query]
    items = table.columns([item], "id")[item]
    require_filled(table, [queries, items])
    if cross_modal:
        require_one_spelling(items, table.path.parent, table.where)
    return JudgedPairs(tuple(zip(queries, items, strict=True)), cross_modal, table.columns(columns) if columns else {})


def _columns_of(table: Table, named: Collection[str]) -> tuple[str, str]:
    """Those of the queries and of the items."""
    present = [pair for pair in _COLUMNS if set(pair) <= set(table.names)]
    chosen = [pair for pair in present if set(pair) & set(named)] or present
    if len(chosen) > 1:
        raise MissingSetting(
            f"{table.path} has columns text and image, and query and document too; say which with columns, such as "
            "columns: {text: text, image: image}"
        )
    if not chosen:
        expected = "columns text and image, or query and document"
        refuse_columns(table.path, expected, table.names)
    return chosen[0]
