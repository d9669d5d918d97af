"""Embeddings on disk: npy (with a JSON beside it), Parquet, Arrow and Feather.

Parquet, Arrow and Feather files carry ids and space in one file. A bare ``.npy`` says neither, so `write_vectors` puts them
into ``NAME.npy.json``, with checksums of the npy: one that was saved again by something else is refused. Reading an npy
made elsewhere needs ``space=``. npy and Arrow are read through a memory map.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from embridge.atomic_write import atomic_file
from embridge.embeddings import Embeddings, embeddings_as_read
from embridge.errors import InvalidInput
from embridge.space import Space
from embridge.vector_files._npy import NpyFile, opened_npy, write_npy
from embridge.vector_files._numbers import as_float32
from embridge.vector_files._said import (
    SUFFIXES,
    Binding,
    binding,
    count_rows,
    has_ids,
    read_space,
    settled_space,
    stored_suffix,
    vector_suffix,
)
from embridge.vector_files._streams import Part, write_rows
from embridge.vector_files._tables import (
    column_names,
    rows_of,
    table_batches,
    table_columns,
    table_space,
    values_of,
    whole_table,
    write_table,
)
from embridge.vector_files._texts import read_texts

__all__ = [
    "SUFFIXES",
    "Binding",
    "Part",
    "binding",
    "count_rows",
    "has_ids",
    "raw_chunks",
    "read_chunks",
    "read_rows",
    "read_space",
    "read_texts",
    "read_vectors",
    "table_columns",
    "write_rows",
    "write_vectors",
]


def write_vectors(rows: Embeddings, path: Path | str) -> Path:
    """Write ids, vectors and space; they appear whole or not at all, the JSON of an npy with it.

    Args:
        rows: What to write.
        path: The file; its suffix, ``.npy``, ``.parquet``, ``.arrow`` or ``.feather``, chooses the format.

    Returns:
        The path.

    Raises:
        InvalidInput: The suffix is none of these, or it cannot be written there.

    Examples:
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> write_vectors(rows, "rows.npy").name
        'rows.npy'
    """
    path = Path(path)
    suffix = vector_suffix(path)
    if suffix == ".npy":
        write_npy(rows, path)
        return path
    with atomic_file(path) as temporary:
        write_table(rows, temporary, suffix=suffix)
    return path


def read_vectors(
    path: Path | str, *, space: Space | None = None, cast: bool = False, columns: Mapping[str, str] | None = None
) -> Embeddings:
    """Read one file whole; npy and Arrow as a memory map.

    Args:
        path: A file of `write_vectors`, one of another library, or a bare ``.npy``. Of a folder ``NAME.parquet``, as Spark
            writes it, all files are read, by name.
        space: What the file must hold; needed where the file does not say.
        cast: Convert float16 or float64 to float32, which is refused otherwise.
        columns: What a table calls its columns ``id`` and ``vector``. Ids are text, whole numbers or UUIDs.

    Returns:
        Its rows; numbered from 0 where an npy has no ids.

    Raises:
        InvalidInput: The file is missing, truncated or not of its format; or an npy is not the one that its ids were written
            with.
        SpaceMismatch: The file says another space.

    Examples:
        >>> space = Space("toy", "1", 2)
        >>> _ = write_vectors(Embeddings.of(np.eye(2, dtype=np.float32), space, ["a", "b"]), "rows.npy")
        >>> read_vectors("rows.npy").ids, read_vectors("rows.npy").space == space
        (('a', 'b'), True)
        >>> np.save("bare.npy", np.eye(2, dtype=np.float16))  # says neither ids nor space, and is no float32
        >>> read_vectors("bare.npy", space=space, cast=True).ids
        ('0', '1')
    """
    path = Path(path)
    if stored_suffix(path, columns) == ".npy":
        with opened_npy(path) as npy:
            npy.require_bound(0)
            return _npy_rows(npy, 0, len(npy.vectors), _settled(npy, space), cast=cast)
    names = column_names(columns)
    ids, vectors = rows_of(whole_table(path, names), path, names)
    settled = settled_space(path, table_space(path), space, vectors.shape[1])
    with _named(path):
        return Embeddings(ids, as_float32(vectors, path, cast=cast), settled)


def read_chunks(
    path: Path | str,
    *,
    rows: int = 65_536,
    space: Space | None = None,
    cast: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Embeddings]:
    """Read in parts and hold one at a time; ids are unique within a part.

    Args:
        path: As for `read_vectors`.
        rows: How many rows a part has at most.
        space: As for `read_vectors`.
        cast: As for `read_vectors`.
        columns: As for `read_vectors`.

    Yields:
        The parts, in order; of an npy, each compared with its checksums before.

    Raises:
        InvalidInput: As `read_vectors`, or ``rows`` is below 1.

    Examples:
        >>> _ = write_vectors(Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3)), "rows.npy")
        >>> [len(part) for part in read_chunks("rows.npy", rows=2)]
        [2, 1]
    """
    for part, _ in read_rows(path, rows=rows, space=space, cast=cast, columns=columns):
        yield part


def read_rows(
    path: Path | str,
    *,
    rows: int = 65_536,
    space: Space | None = None,
    cast: bool = False,
    columns: Mapping[str, str] | None = None,
    payload: Sequence[str] = (),
) -> Iterator[Part]:
    """Read in parts, with further columns of a table.

    Args:
        path: As for `read_vectors`.
        rows: How many rows a part has at most.
        space: As for `read_vectors`.
        cast: As for `read_vectors`.
        columns: As for `read_vectors`.
        payload: Names of further columns, see `table_columns`.

    Yields:
        The parts, in order, as `write_rows` takes them.

    Raises:
        InvalidInput: As `read_chunks`.

    Examples:
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a", "b"])
        >>> _ = write_rows(lambda: [(rows, {"title": ["a cat", None]})], "rows.parquet", rows.space)
        >>> [columns for _, columns in read_rows("rows.parquet", payload=["title"])]
        [{'title': ['a cat', None]}]
    """
    path = Path(path)
    if rows < 1:
        raise InvalidInput(f"a chunk has at least 1 row, not {rows}")
    if stored_suffix(path, columns) == ".npy":
        yield from ((part, {}) for part in _npy_chunks(path, rows, space, cast))
        return
    names, said, start = column_names(columns), table_space(path), 0
    for batch in table_batches(path, rows, (*names, *payload)):
        ids, vectors = rows_of(batch, path, names, start=start)
        settled = settled_space(path, said, space, vectors.shape[1])
        with _named(path):
            part = Embeddings(ids, as_float32(vectors, path, cast=cast, start=start), settled)
        yield part, values_of(batch, path, payload)
        start += len(part)
    if not start:
        raise InvalidInput(f"{path}: no rows; nothing to read")


def raw_chunks(
    path: Path | str, *, rows: int = 65_536, columns: Mapping[str, str] | None = None
) -> Iterator[tuple[tuple[str, ...] | None, np.ndarray]]:
    """Read in parts, unchecked and uncast, to look at files that `read_vectors` would refuse.

    Args:
        path: As for `read_vectors`.
        rows: How many rows a part has at most.
        columns: As for `read_vectors`.

    Yields:
        Ids and vectors of a part; None for ids where the file has none, or those of other vectors (see `binding`).

    Examples:
        >>> np.save("bare.npy", np.full((3, 2), np.nan))
        >>> [(ids, len(vectors)) for ids, vectors in raw_chunks("bare.npy", rows=2)]
        [(None, 2), (None, 1)]
    """
    path = Path(path)
    if stored_suffix(path, columns) == ".npy":
        with opened_npy(path) as npy:
            ids = None if npy.problem else npy.ids
            for start in range(0, len(npy.vectors), rows):
                yield (None if ids is None else tuple(ids[start : start + rows])), npy.vectors[start : start + rows]
        return
    names, start = column_names(columns), 0
    for batch in table_batches(path, rows, names):
        yield rows_of(batch, path, names, start=start)
        start += len(batch)


def _npy_chunks(path: Path, rows: int, space: Space | None, cast: bool) -> Iterator[Embeddings]:
    with opened_npy(path) as npy:
        npy.require_bound(0)
        settled = _settled(npy, space)
        for start in range(0, len(npy.vectors), rows):
            yield _npy_rows(npy, start, min(start + rows, len(npy.vectors)), settled, cast=cast)


def _npy_rows(npy: NpyFile, start: int, stop: int, settled: Space, *, cast: bool) -> Embeddings:
    """Some rows, each compared with the checksums when it is looked at first."""
    held = npy.vectors[start:stop]
    names = map(str, range(start, stop)) if npy.ids is None else npy.ids[start:stop]
    if held.dtype != np.float32:
        npy.require_bound(stop)
    with _named(npy.path):
        vectors = as_float32(held, npy.path, cast=cast, start=start)
        return embeddings_as_read(tuple(names), vectors, settled, read=lambda n: npy.require_bound(start + n))


def _settled(npy: NpyFile, space: Space | None) -> Space:
    if npy.caution:
        warnings.warn(npy.caution, stacklevel=4)
    return settled_space(npy.path, npy.space, space, npy.vectors.shape[1])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors about ids and vectors name the file that holds them."""
    try:
        yield
    except InvalidInput as error:
        raise error if str(path) in str(error) else InvalidInput(f"{path}: {error}") from error
