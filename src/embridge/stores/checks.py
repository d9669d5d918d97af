"""What every store refuses, and how it says so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from embridge.errors import InvalidInput, SpaceMismatch
from embridge.space import Space
from embridge.stores._columns import plain_column, require_text
from embridge.stores.base import Payload

__all__ = [
    "is_column_name",
    "require_column",
    "require_columns",
    "require_held",
    "require_ids",
    "require_limit",
    "require_payload",
    "require_present",
]


def require_held(spaces: Sequence[Space], space: Space, *, what: str) -> None:
    """Refuse vectors of a space that a store does not hold.

    Args:
        spaces: What the store holds.
        space: The space of the vectors.
        what: What the message calls the call.

    Raises:
        SpaceMismatch: The store does not hold the space.

    Examples:
        >>> require_held([Space("toy", "1", 3)], Space("toy", "1", 3), what="search")
    """
    if space in spaces:
        return
    names = "; ".join(map(str, spaces)) or "none yet"
    same_dim = [s for s in spaces if s.dim == space.dim]
    warning = " Equal dimensions do not make vectors comparable." if same_dim else ""
    raise SpaceMismatch(
        f"{what}: came vectors of {space}; this store holds: {names}.{warning} Map them with an upgrade into a space "
        "it holds, or add the new space beside the old with add_space"
    )


def is_column_name(name: str) -> bool:
    """Whether a payload column can be called so.

    Args:
        name: Such as a database of others has it.

    Returns:
        Whether it is a plain name that is not taken.

    Examples:
        >>> is_column_name("kind"), is_column_name("my kind"), is_column_name("id")
        (True, False, False)
    """
    return name.isidentifier() and not name.startswith("_") and name not in ("id", "vector")


def require_payload(payload: Payload | None, rows: int) -> dict[str, list[Any]]:
    """Payload columns as lists of Python's own values, each as long as the rows.

    Args:
        payload: Columns by name, or None.
        rows: How many rows there are.

    Returns:
        The columns.

    Raises:
        InvalidInput: A column is of another length, its name cannot be used, or a value is no text, number or truth; the
            message names the row, counted from 0.

    Examples:
        >>> require_payload({"kind": ("shoe", None)}, 2)
        {'kind': ['shoe', None]}
    """
    columns = {name: list(values) for name, values in (payload or {}).items()}
    for name, values in columns.items():
        if not is_column_name(name):
            raise InvalidInput(f"payload column {name!r}: use a plain name, not id, vector or one that begins with _")
        if len(values) != rows:
            raise InvalidInput(f"payload column {name!r} has {len(values)} values for {rows} rows")
    return {name: plain_column(name, values) for name, values in columns.items()}


def require_ids(ids: Sequence[str]) -> None:
    """Refuse ids that no database can hold: those with half of a surrogate pair.

    Args:
        ids: Non-empty texts, as `Embeddings` has them.

    Raises:
        InvalidInput: There is such an id.

    Examples:
        >>> require_ids(["it's 17", "größe"])
    """
    try:
        require_text("".join(ids))
    except ValueError as error:
        bad = next(name for name in ids if any("\ud800" <= letter <= "\udfff" for letter in name))
        raise InvalidInput(f"ids: {bad!r:.60} holds half of a surrogate pair; write it as valid text") from error


def require_limit(limit: int, *, what: str) -> None:
    """Refuse to look for less than one row.

    Args:
        limit: How many rows.
        what: What the message calls the call.

    Raises:
        InvalidInput: It is below 1.

    Examples:
        >>> require_limit(1, what="search")
    """
    if limit < 1:
        name = "k" if what == "search" else "rows" if what == "scan" else "limit"
        raise InvalidInput(f"{what}: {name} is at least 1, came {limit}")


def require_present(ids: Sequence[str], present: Collection[str]) -> None:
    """Refuse ids that a store does not have.

    Args:
        ids: Those asked for.
        present: Those that are there.

    Raises:
        InvalidInput: Some are not.

    Examples:
        >>> require_present(["a"], {"a", "b"})
    """
    missing = [name for name in ids if name not in present]
    if missing:
        raise InvalidInput(f"payload: {len(missing)} ids are not in the store, first {missing[0]!r}")


def require_column(name: str, columns: Collection[str]) -> None:
    """Refuse a column that a table does not have.

    Args:
        name: The column.
        columns: Those that are there.

    Raises:
        InvalidInput: It is not among them.

    Examples:
        >>> require_column("title", {"title", "price"})
    """
    if name not in columns:
        raise InvalidInput(f"there is no column {name!r}; there are {sorted(columns)}")


def require_columns(names: Sequence[str], columns: Collection[str]) -> None:
    """Refuse columns that a table does not have.

    Args:
        names: The columns.
        columns: Those that are there.

    Raises:
        InvalidInput: One is not among them.

    Examples:
        >>> require_columns(["title"], {"title", "price"})
    """
    for name in names:
        require_column(name, columns)
