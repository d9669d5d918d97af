"""What the columns of a table are called, where they have other names than here: the key ``columns`` of a section."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

__all__ = ["Columns", "columns_of", "require_column_keys"]


def _columns(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(
            f"expected a mapping from a name of ours to the file's, such as {{id: doc_id}}; came {value!r}"
        )
    return {str(key): _columns(name) if isinstance(name, dict) else _name(key, name) for key, name in value.items()}


def _name(key: Any, name: Any) -> str:
    """A column's name; YAML reads 0 as a number and no as false."""
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise ValueError(f"{key}: expected the name of a column as text, came {name!r}; put it in quotes")
    return str(name)


Columns = Annotated[dict[str, Any], BeforeValidator(_columns)]
"""A key of a section: from our names of columns to the file's; under the key of a file, for that file alone."""


def require_column_keys(columns: Mapping[str, Any], names: Collection[str], *, files: Collection[str] = ()) -> None:
    """Require that every key is a column that the section's tables have, or one of its files.

    Args:
        columns: What the section says.
        names: What we call the columns of its tables.
        files: The keys of its files, where it has more than one.

    Raises:
        ValueError: There is another key.

    Examples:
        >>> require_column_keys({"id": "doc_id", "judged": {"text": "title"}}, ("id", "text"), files=("judged",))
        >>> require_column_keys({"ident": "doc_id"}, ("id", "text"))
        Traceback (most recent call last):
        ValueError: columns: there is no 'ident'; there are id, text
    """
    for key, name in columns.items():
        nested = isinstance(name, dict)
        if key not in (files if nested else names):
            known = [*names, *(f"{file}: {{…}}" for file in files)]
            raise ValueError(f"columns: there is no {key!r}; there are {', '.join(known)}")
        if nested:
            require_column_keys(name, names)


def columns_of(columns: Mapping[str, Any], file: str) -> dict[str, str]:
    """The names of one file's columns: those of the whole section, and over them those said for this file alone.

    Args:
        columns: What the section says.
        file: The key of the file.

    Returns:
        From our names to the file's.

    Examples:
        >>> columns_of({"id": "doc_id", "text": "title", "judged": {"text": "question"}}, "judged")
        {'id': 'doc_id', 'text': 'question'}
    """
    whole = {key: name for key, name in columns.items() if isinstance(name, str)}
    return whole | dict(columns.get(file, {}))
