"""Reading items by id; what is missing is recorded with its reason, and is no error."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from embridge.errors import SettingsError
from embridge.items._fetching import fetched
from embridge.items._files import file_content, file_of_id
from embridge.items._pictures import picture_of
from embridge.items._urls import url_of_id, url_of_path
from embridge.items.missing import MissingItem
from embridge.items.source import ItemSource
from embridge.space import Space

__all__ = ["Columns", "Items", "read_items"]


@runtime_checkable
class Columns(Protocol):
    """What is asked for columns: a store."""

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        """One column of those rows; None for ids that are not there."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Items that an encoder takes, and those that could not be had.

    Attributes:
        ids: Of the items.
        items: Texts, or images as an encoder takes them, in that order.
        missing: Why there is no item, by id.

    Examples:
        >>> Items(("a",), ["a cat"], {"b": "its text is empty"}).missing
        {'b': 'its text is empty'}
    """

    ids: tuple[str, ...]
    items: list[Any]
    missing: Mapping[str, str]


def read_items(source: ItemSource, store: Columns | None, space: Space, ids: Sequence[str]) -> Items:
    """Read the items of some rows.

    Images are decoded, and all of them are in memory: ask for as many as fit. They are files of at most 256 MB, or answers of at
    most 32 MB that came within 30 seconds; no path leads out of the source's folder, and no redirect to another host.

    Args:
        source: Where they come from.
        store: Whose columns are read; None where they come from no column.
        space: Whose rows they are.
        ids: Of the rows.

    Returns:
        The items in order of the ids, and why the others are missing.

    Raises:
        SettingsError: They come from a column, and there is no store.
        MissingExtra: Images need the extra ``clip``, and those at a URL ``http``.
        StoreError: The store cannot be read.
        InvalidInput: There is no such column.

    Examples:
        >>> titles = ItemSource("text", function={"a": "a cat", "b": " "}.get)
        >>> items = read_items(titles, None, Space("toy", "1", 2), ["a", "b", "c"])
        >>> items.items, items.missing
        (['a cat'], {'b': 'its text is empty', 'c': 'it is gone'})
    """
    values = _values(source, store, space, ids)
    if source.url:
        values = _answers(source, values)
    present, missing = {}, {}
    for name, value in values.items():
        try:
            present[name] = _item(source, name, value)
        except MissingItem as reason:
            missing[name] = str(reason)
    return Items(tuple(present), list(present.values()), missing)


def _values(source: ItemSource, store: Columns | None, space: Space, ids: Sequence[str]) -> dict[str, Any]:
    """What the source has for each id; what cannot be had is its `MissingItem`."""
    names = list(dict.fromkeys(ids))
    if source.column:
        if store is None:
            raise SettingsError(f"{source}: pass the store that has the column")
        return dict(zip(names, store.column(space, names, source.column), strict=True)) if names else {}
    if source.function is not None:
        return {name: _called(source, name) for name in names}
    return {name: name for name in names}


def _called(source: ItemSource, name: str) -> Any:
    assert source.function is not None
    try:
        return source.function(name)
    except Exception as error:  # someone else's function
        return MissingItem(f"the function failed: {type(error).__name__}: {error}")


def _answers(source: ItemSource, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with the content of what has an address."""
    found, addresses = dict(values), {}
    for name, value in values.items():
        if source.column and not isinstance(value, str):
            continue
        try:
            addresses[name] = url_of_path(source.url, value) if source.column else url_of_id(source.url, name)
        except MissingItem as reason:
            found[name] = reason
    return found | dict(zip(addresses, fetched(list(addresses.values())), strict=True))


def _item(source: ItemSource, name: str, value: Any) -> Any:
    if isinstance(value, MissingItem):
        raise value
    if value is None:
        raise MissingItem(f"there is nothing in the column {source.column}" if source.column else "it is gone")
    if source.modality == "text":
        return _text(value)
    if isinstance(value, Mapping):  # as the datasets of Hugging Face write images
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return picture_of(bytes(value))
    if source.function is not None:
        return picture_of(file_content(Path(value))) if isinstance(value, (str, Path)) else value
    if not isinstance(value, str) or not value:
        raise MissingItem(f"it is {type(value).__name__}, neither a path nor the bytes of an image")
    if value.startswith("data:image/"):
        return picture_of(_decoded(value))
    root = Path(source.folder)
    return picture_of(file_content(root / value, root=root) if source.column else file_of_id(root, name))


def _decoded(address: str) -> bytes:
    head, _, content = address.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("expected data:image/…;base64,…")
        return b64decode(content, validate=True)
    except ValueError as error:
        raise MissingItem(f"its data URL cannot be read: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MissingItem(f"it is {type(value).__name__}, not text")
    if not value.strip():
        raise MissingItem("its text is empty")
    return value
