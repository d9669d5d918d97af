"""Labels: a csv or parquet table that says to which class, product or person each id belongs."""

from __future__ import annotations

from pathlib import Path

from embridge.datasets.tables import read_columns, require_filled
from embridge.errors import InvalidInput

__all__ = ["read_labels"]


def read_labels(path: Path | str, *, column: str = "label") -> dict[str, str]:
    """The label of every id, from the columns ``id`` and ``label``, or another one that is named; others are ignored.

    It is what `LabelRelevance` takes. An id may repeat with the same label. Raises
    `InvalidInput` for a missing, unreadable or empty file, a column that is not there, a blank cell, and an id with two
    labels, naming the row (counted from 0).

    >>> _ = Path("labels.csv").write_text("id,label\\n17.jpg,cat\\n18.jpg,dog\\n")
    >>> read_labels("labels.csv")
    {'17.jpg': 'cat', '18.jpg': 'dog'}
    """
    read = read_columns(path, ["id", column])
    require_filled(path, [read["id"], read[column]])
    found: dict[str, str] = {}
    for row, (name, label) in enumerate(zip(read["id"], read[column], strict=True)):
        before = found.setdefault(name, label)
        if before != label:
            raise InvalidInput(
                f"{path}: row {row} labels {name!r} as {label!r}, an earlier row as {before!r}; an id has one label"
            )
    return found
