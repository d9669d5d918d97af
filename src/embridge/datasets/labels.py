"""Labels: a csv or parquet table that says to which class, product or person each id belongs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from embridge.datasets._paths import require_one_spelling
from embridge.datasets._rows import require_columns
from embridge.datasets.tables import Table, read_table, require_filled
from embridge.errors import InvalidInput

__all__ = ["labels_of", "read_labels"]


def read_labels(path: Path | str, *, column: str = "label", names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Read the label of every id: what `LabelRelevance` takes.

    Args:
        path: The table, see `read_table`. An id may repeat with the same label; further columns are ignored.
        column: The column of the labels; that of the ids is called ``id``.
        names: From these names to the file's, where they differ.

    Returns:
        The label of each id.

    Raises:
        InvalidInput: The file is missing, unreadable or empty, a cell is blank, an id is a list or a float or has two labels,
            or two ids are paths of one image; the message names the line, or the row counted from 0.
        MissingSetting: A column is not there.

    Examples:
        >>> _ = Path("labels.csv").write_text("id,label\\n17.jpg,cat\\n18.jpg,dog\\n")
        >>> read_labels("labels.csv")
        {'17.jpg': 'cat', '18.jpg': 'dog'}
    """
    return labels_of(read_table(path, names=names), column=column)


def labels_of(table: Table, *, column: str = "label") -> dict[str, str]:
    """The labels of a table that was read, see `read_labels`.

    Args:
        table: What `read_table` gave.
        column: The column of the labels.

    Returns:
        The label of each id.

    Raises:
        InvalidInput: A cell is blank, an id is a list or a float or has two labels, or two ids are paths of one image.
        MissingSetting: A column is not there.

    Examples:
        >>> from embridge.datasets.tables import read_table
        >>> _ = Path("labels.csv").write_text("id,label,kind\\n17.jpg,cat,animal\\n")
        >>> labels_of(read_table("labels.csv"), column="kind")
        {'17.jpg': 'animal'}
    """
    require_columns(table.path, ["id", column], table.names)
    ids, values = table.columns(["id"], "id")["id"], table.columns([column])[column]
    require_filled(table, [ids, values])
    labels: dict[str, str] = {}
    for row, (name, label) in enumerate(zip(ids, values, strict=True)):
        before = labels.setdefault(name, label)
        if before != label:
            raise InvalidInput(
                f"{table.where(row)} labels {name!r} as {label!r}, an earlier one as {before!r}; an id has one label"
            )
    require_one_spelling(ids, table.path.parent, table.where)
    return labels
