"""Labels: a csv or parquet table that says to which class, product or person each id belongs."""

from __future__ import annotations

from pathlib import Path

from embridge.datasets.tables import Table, read_table, require_filled
from embridge.errors import InvalidInput

__all__ = ["labels_of", "read_labels"]


def read_labels(path: Path | str, *, column: str = "label") -> dict[str, str]:
    """Read the label of every id: what `LabelRelevance` takes.

    Args:
        path: The table, see `read_table`. An id may repeat with the same label; further columns are ignored.
        column: The column of the labels; that of the ids is called ``id``.

    Returns:
        The label of each id.

    Raises:
        InvalidInput: The file is missing, unreadable or empty, a column is not there, a cell is blank, or an id has two
            labels; the message names the row, counted from 0.

    Examples:
        >>> _ = Path("labels.csv").write_text("id,label\\n17.jpg,cat\\n18.jpg,dog\\n")
        >>> read_labels("labels.csv")
        {'17.jpg': 'cat', '18.jpg': 'dog'}
    """
    return labels_of(read_table(path), column=column)


def labels_of(table: Table, *, column: str = "label") -> dict[str, str]:
    """The labels of a table that was read, see `read_labels`.

    Args:
        table: What `read_table` gave.
        column: The column of the labels.

    Returns:
        The label of each id.

    Raises:
        InvalidInput: A column is not there, a cell is blank, or an id has two labels.

    Examples:
        >>> from embridge.datasets.tables import read_table
        >>> _ = Path("labels.csv").write_text("id,label,kind\\n17.jpg,cat,animal\\n")
        >>> labels_of(read_table("labels.csv"), column="kind")
        {'17.jpg': 'animal'}
    """
    values = table.columns(["id", column])
    require_filled(table.path, [values["id"], values[column]])
    labels: dict[str, str] = {}
    for row, (name, label) in enumerate(zip(values["id"], values[column], strict=True)):
        before = labels.setdefault(name, label)
        if before != label:
            raise InvalidInput(
                f"{table.path}: row {row} labels {name!r} as {label!r}, an earlier row as {before!r}; an id has one label"
            )
    return labels
