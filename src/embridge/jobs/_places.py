"""Finding a table, its vectors and its ids, and saying which there are where that cannot be told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from embridge.errors import SettingsError, SpaceMismatch, StoreError
from embridge.progress import Progress
from embridge.space import Space
from embridge.stores import STORES, Store, StoreUrl, open_store, parse_url
from embridge.stores.places import Place, Table

__all__ = ["find_place", "heard", "likely_ids", "names_store", "open_index", "usual_id", "with_table"]

_USUAL_IDS = ("id", "_id", "ID", "Id", "uuid", "key", "pk", "doc_id", "item_id", "document_id")
_ID_KINDS, _ID_NAME = ("text", "whole numbers"), re.compile(r"id$|uid|key|code|sku|number|path|url", re.IGNORECASE)
_WITHOUT_TABLE = ("lancedb", "postgresql")  # whose URLs may name a database with many tables
_SHOWN = 10
_T = TypeVar("_T")


def names_store(text: Path | str) -> bool:
    """Whether it is a store's URL, and not the path of something that is there."""
    head, colon, _ = str(text).partition(":")
    return bool(colon) and head.lower() in (*STORES, "postgres") and not Path(text).exists()


def with_table(url: StoreUrl, table: str) -> StoreUrl:
    """The URL of a table, where a URL may leave the table out and this one does."""
    return replace(url, table=table) if table and not url.table and url.kind in _WITHOUT_TABLE else url


def open_index(url: Path | str, declarations: Path | str | None) -> Store:
    """Open a store whose vectors are declared; of a database with one table, that table.

    Raises:
        StoreError: Nobody has declared of which model its vectors are.
    """
    address = parse_url(url)
    store = open_store(address, declarations=declarations)
    spaces, tables = store.spaces(), store.tables()
    with_vectors = [table.name for table in tables if table.vectors]
    if not spaces and len(with_vectors) == 1 and (narrowed := with_table(address, with_vectors[0])) != address:
        store.close()
        store = open_store(narrowed, declarations=declarations)
        spaces = store.spaces()
    if not spaces:
        store.close()
        raise StoreError(
            f"{address}: nobody has said which model made its vectors; there are {_listed(tables)}. Say so with "
            "embridge adopt, or name the table in the URL where it was said"
        )
    return store


def usual_id(table: Table) -> str | None:
    """The column of the ids: the one that the database names, or one that is usually called so; None where neither is."""
    if table.id is not None:
        return table.id
    return next((name for name in _USUAL_IDS if name in table.columns), None)


def likely_ids(table: Table) -> list[str]:
    """The columns that may hold the ids where none is usually called so, the likeliest first."""
    texts = [name for name, kind in table.columns.items() if kind in _ID_KINDS]
    return sorted(texts, key=lambda name: not _ID_NAME.search(name))


def find_place(tables: Sequence[Table], space: Space, asked: Place, *, where: str) -> Place:
    """The place that is meant, where the parts that are asked for leave no choice.

    Args:
        tables: Those of the store.
        space: What the vectors are to be of.
        asked: What was said; parts that are empty are looked for.
        where: What the message calls the store.

    Returns:
        The place, with all its parts.

    Raises:
        SettingsError: There are none, or several; the message lists them.
        SpaceMismatch: There are vectors, and none of that dimension.
    """
    if asked.table and not any(one.name == asked.table for one in tables):
        raise SettingsError(f"{where} has no table {asked.table!r}; there are {_listed(tables)}")
    meant = [one for one in tables if asked.table in ("", one.name)]
    tables = [one for one in meant if one.vectors]
    found = [(one, name) for one in tables for name in one.vectors if asked.vector in ("", name)]
    if not found:
        what = f"no vectors {asked.vector!r}" if asked.vector else "no vectors"
        raise SettingsError(f"{where} has {what}; there are {_listed(tables)}{_others(meant, asked.vector)}")
    fitting = [(one, name) for one, name in found if one.vectors[name].dim in (None, space.dim)]
    if not fitting:
        raise SpaceMismatch(
            f"{where}: {space.model} makes vectors of {space.dim} numbers; there are {_listed(tables)}. Another model made these"
        )
    surely = [(one, name) for one, name in fitting if one.vectors[name].dim is not None]
    if len(surely or fitting) > 1:
        option = "--table" if len({one.name for one, _ in surely or fitting}) > 1 else "--vector"
        raise SettingsError(
            f"{where} has several vectors of {space.dim} numbers: {_listed(tables)}; name one with {option}"
        )
    table, vector = (surely or fitting)[0]
    return Place(table.name, vector, asked.id or _id_of(table, where))


def _id_of(table: Table, where: str) -> str:
    column = usual_id(table)
    if column is None:
        raise SettingsError(
            f"{where}: which column of {table.name} holds the ids? There are {', '.join(sorted(table.columns)) or 'none'}; name "
            "one with --id"
        )
    return column


def _listed(tables: Sequence[Table]) -> str:
    """Tables with their vectors and dimensions."""
    texts = []
    for table in tables:
        vectors = [f"{name or 'vectors'} ({column.dim or 'any'} numbers)" for name, column in table.vectors.items()]
        texts.append(f"{table.name} with {', '.join(vectors) or 'no vectors'}")
    return "; ".join(texts) or "none"


def _others(tables: Sequence[Table], named: str) -> str:
    """What columns hold that may have been taken for vectors: the one that was named, or all of a table without any."""
    if len(tables) != 1 or (tables[0].vectors and named not in tables[0].columns):
        return ""
    columns = {name: kind for name, kind in tables[0].columns.items() if name == named or not tables[0].vectors}
    held = ", ".join(f"{name} ({kind})" for name, kind in list(columns.items())[:_SHOWN])
    return f"; its columns are {held}" if held else ""


def heard(parts: Iterable[_T], total: int | None, what: str, progress: Progress) -> Iterator[_T]:
    """The same parts, each with ``ids``, and the progress hears how many rows have come."""
    done = 0
    for part in parts:
        yield part
        done += len(part[0] or part[1])  # type: ignore[index]
        progress(min(done, total or done), total or done, what)
