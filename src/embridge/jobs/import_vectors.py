"""A file of vectors into a store: the work of ``embridge import``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest

from embridge.errors import InvalidInput, SettingsError
from embridge.jobs._held_space import held_space
from embridge.jobs.models import Models
from embridge.jobs.transfer import Transfer
from embridge.progress import Progress, silent
from embridge.space import Space, require_same
from embridge.stores import Store, open_store, parse_url
from embridge.stores.checks import is_column_name
from embridge.vector_files import count_rows, read_rows, read_space, table_columns

__all__ = ["VectorFile", "import_vectors"]

_ROWS = 8_192
_PLAIN = ("string", "large_string", "string_view", "bool", "null", "halffloat", "float", "double")


@dataclass(frozen=True, slots=True)
class VectorFile:
    """A file of vectors that is to be imported, and what it does not say itself.

    Attributes:
        path: An npy, Parquet, Arrow or Feather file.
        space: The id or the model of a space that the store holds, where the file does not say its own.
        encoder: The model that made them, as `embridge.encoders.load` takes it, where the store does not hold it yet.
        columns: What the table calls its columns ``id`` and ``vector``.
        payload: Which further columns go along; all that hold text, truths or numbers where None.
        cast: Whether vectors that are not float32 are made so.

    Examples:
        >>> VectorFile("shop.parquet", columns={"id": "sku"}, payload=("title",)).encoder is None
        True
    """

    path: Path | str
    space: str | None = None
    encoder: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    payload: Sequence[str] | None = None
    cast: bool = False


def import_vectors(
    file: VectorFile,
    url: Path | str,
    *,
    declarations: Path | str | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Transfer:
    """Write a file's rows into a store, a part at a time; rows of the same ids are replaced.

    A space that the store does not hold is added. After an interruption, do it again: what was written stays as it is.

    Args:
        file: What to import.
        url: The store, as `embridge.stores.open_store` takes it; made where it is not there.
        declarations: As for `embridge.stores.open_store`.
        dry_run: Read and check the whole file, and write nothing.
        progress: Hears how many rows are done.

    Returns:
        What was written.

    Raises:
        SettingsError: Nothing says of which space the vectors are.
        SpaceMismatch: The file says another space than was named.
        InvalidInput: The file cannot be read, or the store cannot hold its columns.
        StoreError: The store cannot be opened or written.

    Examples:
        >>> from embridge import Embeddings, write_vectors
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a", "b"])
        >>> _ = write_vectors(rows, "rows.parquet")
        >>> import_vectors(VectorFile("rows.parquet"), "shop").rows
        2
        >>> open_store("shop").count(rows.space)
        2
    """
    store = None if dry_run and file.space is None else open_store(url, create=not dry_run, declarations=declarations)
    try:
        space = _space_of(file, store, str(parse_url(url)))
        payload, left_out = _payload(file, holds_payload=store is None or store.capabilities.payload)
        if store is not None and not dry_run:
            store.add_space(space)
        rows = _copied(file, None if dry_run else store, space, payload, progress)
    finally:
        if store is not None:
            store.close()
    return Transfer(str(file.path), str(parse_url(url)), space, rows, tuple(payload), left_out, written=not dry_run)


def _space_of(file: VectorFile, store: Store | None, where: str) -> Space:
    """What the file says, the settings, or both where they agree."""
    if file.space is not None and file.encoder is not None:
        raise SettingsError("--space and --encoder both say of which model the vectors are; name one")
    written, named = read_space(file.path), None
    if file.encoder is not None:
        named = Models().named(file.encoder).space
    elif file.space is not None and (written is None or file.space not in (written.id, written.model)):
        assert store is not None
        named = held_space(store, file.space, where=where, key="--space")
    if written is not None and named is not None:
        require_same(named, written, what=str(file.path))
    space = written or named
    if space is None:
        raise SettingsError(
            f"{file.path} does not say of which model its vectors are; name it with --encoder PROVIDER:MODEL, or with "
            "--space the space of the store that they are of"
        )
    return space


def _payload(file: VectorFile, *, holds_payload: bool) -> tuple[list[str], dict[str, str]]:
    """Columns that go along, and those that do not, with the reason."""
    if Path(file.path).suffix == ".npy":
        if file.payload:
            raise InvalidInput(f"{file.path}: an npy has no column {file.payload[0]!r}")
        return [], {}
    own = {file.columns.get(name, name) for name in ("id", "vector")}
    held = {name: kind for name, kind in table_columns(file.path).items() if name not in own}
    missing = [name for name in file.payload or () if name not in held]
    if missing:
        raise InvalidInput(f"{file.path} has no column {missing[0]!r} beside its vectors; there are {sorted(held)}")
    reasons = {name: _unfit(name, kind) for name, kind in held.items()}
    if file.payload is not None:
        if odd := {name: reasons[name] for name in file.payload if reasons[name]}:
            raise InvalidInput(f"{file.path}: payload is text, truths and numbers; came {odd}")
        return list(file.payload), {name: reasons[name] or "not asked for" for name in held if name not in file.payload}
    if not holds_payload:
        return [], dict.fromkeys(held, "the store holds no payload")
    return [name for name in held if not reasons[name]], {name: reason for name, reason in reasons.items() if reason}


def _unfit(name: str, kind: str) -> str:
    """Why a column is no payload, which is its type where that says it; empty where it is."""
    if kind not in _PLAIN and not kind.startswith(("int", "uint")):
        return kind
    return "" if is_column_name(name) else "no plain name"


def _copied(file: VectorFile, store: Store | None, space: Space, payload: Sequence[str], progress: Progress) -> int:
    """How many rows were read, and written where there is a store."""
    total, done = count_rows(file.path), 0
    hashes = np.empty(total, np.uint64)
    parts = read_rows(file.path, rows=_ROWS, space=space, cast=file.cast, columns=file.columns, payload=payload)
    for rows, columns in parts:
        if store is not None:
            store.upsert(rows, columns or None)
        hashes[done : done + len(rows)] = [xxh3_64_intdigest(name.encode()) for name in rows.ids]
        done += len(rows)
        progress(done, total, f"import {space.model}")
    if repeats := done - len(np.unique(hashes[:done])):
        warnings.warn(f"{file.path}: {repeats} ids repeat; of rows of one id the last stands", stacklevel=3)
    return done
