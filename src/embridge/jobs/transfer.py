"""Rows of a store into a file of vectors: the work of ``embridge export STORE``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embridge.atomic_write import refuse_foreign_file
from embridge.errors import InvalidInput
from embridge.jobs._held_space import held_space
from embridge.progress import Progress, silent
from embridge.space import Space
from embridge.stores import Store, open_store, parse_url
from embridge.vector_files import SUFFIXES, Part, write_rows

__all__ = ["Transfer", "export_store"]

_ROWS = 8_192
_TAKEN = ("id", "vector")


@dataclass(frozen=True, slots=True)
class Transfer:
    """What went from a store into a file, or the other way.

    Attributes:
        source: Where rows came from.
        target: Where they went.
        space: What they are of.
        rows: How many.
        columns: The columns that went along.
        left_out: Those that did not, and why.
        written: Whether anything was written: not in a dry run.

    Examples:
        >>> print(Transfer("lancedb:shop", "shop.npy", Space("toy", "1", 2), 3, left_out={"title": "an npy holds none"}))
        3 rows of toy@1 (2-d cosine, space ...) from lancedb:shop to shop.npy; left out: title (an npy holds none)
    """

    source: str
    target: str
    space: Space
    rows: int
    columns: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    written: bool = True

    def __str__(self) -> str:
        columns = f", with {', '.join(self.columns)}" if self.columns else ""
        missing = "; left out: " + ", ".join(f"{name} ({why})" for name, why in self.left_out.items())
        return (
            f"{self.rows:,} rows of {self.space}{columns} {'' if self.written else 'would go '}from {self.source} to "
            f"{self.target}{missing if self.left_out else ''}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "source": self.source,
            "target": self.target,
            "space": self.space.to_dict() | {"id": self.space.id},
            "rows": self.rows,
            "columns": list(self.columns),
            "left_out": dict(self.left_out),
            "written": self.written,
        }


def export_store(
    url: Path | str,
    to: Path | str,
    *,
    space: str | None = None,
    declarations: Path | str | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Transfer:
    """Write the rows of a space of a store into one file of vectors, a part at a time.

    The file appears whole or not at all. Parquet, Arrow and Feather hold the payload beside the vectors; an npy has none.

    Args:
        url: The store, as `embridge.stores.open_store` takes it; nothing is written there.
        to: The file: ``.parquet``, ``.arrow``, ``.feather`` or ``.npy``. One that `embridge.write_vectors` wrote is replaced.
        space: Its id or its model, where the store holds several.
        declarations: As for `embridge.stores.open_store`.
        dry_run: Look, and write nothing.
        progress: Hears how many rows are done.

    Returns:
        What was written.

    Raises:
        SettingsError: No such space, or more than one, is held.
        StoreError: The store cannot be read.
        InvalidInput: The space has no rows, or the file is another kind of file.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings
        >>> store = open_store("shop", create=True)
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a", "b"])
        >>> store.add_space(rows.space)
        >>> store.upsert(rows, {"title": ["a cat", "a dog"]})
        >>> export_store("shop", "shop.parquet").columns
        ('title',)
    """
    to, where = Path(to), str(parse_url(url))
    _refuse_other_files(to)
    store = open_store(url, declarations=declarations)
    try:
        held = held_space(store, space, where=where, key="--space")
        columns, left_out = _payload_columns(store, held, npy=to.suffix == ".npy")
        total = store.count(held)
        if not total:
            raise InvalidInput(f"{where} has no rows of {held}; nothing to export")
        if not dry_run:
            total = write_rows(lambda: _stored_parts(store, held, columns, total, progress), to, held)
    finally:
        store.close()
    return Transfer(where, str(to), held, total, tuple(columns), left_out, written=not dry_run)


def _refuse_other_files(to: Path) -> None:
    """Raise `InvalidInput` for a suffix of no file of vectors, and for a file that is there and is none of ours."""
    if to.suffix not in SUFFIXES:
        raise InvalidInput(f"{to}: vectors are kept as {', '.join(SUFFIXES)}, not as {to.suffix or 'no suffix'}")
    if to.suffix != ".npy":
        refuse_foreign_file(to, marks=(b"embridge.space",), what="a file of vectors that embridge wrote")
        return
    sidecar = to.with_name(f"{to.name}.json")
    if to.exists() and not sidecar.exists():
        raise InvalidInput(f"{to} is no file that embridge wrote (no {sidecar.name} beside it); choose another name")
    refuse_foreign_file(sidecar, marks=(b'"xxh3_64"', b'"crc32"'), what="what embridge writes beside an npy")


def _payload_columns(store: Store, space: Space, *, npy: bool) -> tuple[list[str], dict[str, str]]:
    """The columns that go along, and those that do not, with the reason."""
    place = store.declaration(space).place
    held = list(store.payload(space, []))
    tables = [table for table in store.tables() if table.name == place.table]
    left_out = {name: kind for table in tables for name, kind in table.columns.items() if name not in (place.id, *held)}
    if npy:
        return [], left_out | dict.fromkeys(held, "an npy holds no payload")
    taken = {name: "a file of vectors has its own column of that name" for name in held if name in _TAKEN}
    return [name for name in held if name not in taken], left_out | taken


def _stored_parts(store: Store, space: Space, columns: Sequence[str], total: int, progress: Progress) -> Iterator[Part]:
    done = 0
    for rows, payload in store.scan_with_payload(space, columns, rows=_ROWS):
        yield rows, payload
        done += len(rows)
        progress(min(done, total), total, f"export {space.model}")
