"""Embeddings on disk: npy (with a JSON beside it), Parquet, Arrow IPC.

Parquet and Arrow files carry ids and space in one file. A bare ``.npy`` says neither, so `write_vectors` puts them into
``NAME.npy.json``; reading one made elsewhere needs ``space=``. npy and Arrow are read through a memory map.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embridge.atomic_write import atomic_file, require_file
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, MissingSetting, require
from embridge.space import Space, require_same

__all__ = ["SUFFIXES", "raw_chunks", "read_chunks", "read_space", "read_vectors", "write_vectors"]

SUFFIXES = (".npy", ".parquet", ".arrow")
_SPACE_KEY = b"embridge.space"


def write_vectors(rows: Embeddings, path: Path | str) -> Path:
    """Write ids, vectors and space; the file appears whole or not at all.

    Args:
        rows: What to write.
        path: The file; its suffix, ``.npy``, ``.parquet`` or ``.arrow``, chooses the format.

    Returns:
        The path.

    Raises:
        InvalidInput: The suffix is none of these.

    Examples:
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> write_vectors(rows, "rows.npy").name
        'rows.npy'
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix == ".npy":
        sidecar = path.with_name(f"{path.name}.json")
        with atomic_file(sidecar) as description, atomic_file(path) as array:
            with array.open("wb") as file:
                np.save(file, rows.vectors, allow_pickle=False)
            description.write_text(json.dumps({"space": rows.space.to_dict(), "ids": rows.ids}))
            sidecar.unlink(missing_ok=True)  # a crash between the two renames must not pair old ids with new vectors
        return path
    table = _to_table(rows)
    with atomic_file(path) as temporary:
        if suffix == ".parquet":
            require("pyarrow.parquet", extra="parquet").write_table(table, temporary)
        else:
            ipc = require("pyarrow.ipc", extra="parquet")
            with ipc.new_file(str(temporary), table.schema) as writer:
                writer.write_table(table)
    return path


def read_vectors(path: Path | str, *, space: Space | None = None, cast: bool = False) -> Embeddings:
    """Read one file whole; npy and Arrow as a memory map.

    Args:
        path: A file of `write_vectors`, or a bare ``.npy``.
        space: What the file must hold; needed where the file does not say.
        cast: Convert float16 or float64 to float32, which is refused otherwise.

    Returns:
        Its rows; numbered where the file has no ids.

    Raises:
        InvalidInput: The file is missing, truncated or not of its format.
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
    if _stored_suffix(path) == ".npy":
        vectors, ids = _read_npy(path)
        return Embeddings.of(_as_float32(vectors, path, cast), _settle(path, space, vectors.shape[-1]), ids)
    pa = require("pyarrow", extra="parquet")
    try:
        if path.suffix == ".parquet":
            table = require("pyarrow.parquet", extra="parquet").read_table(path)
        else:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(f"{path} cannot be read as {path.suffix[1:]}: {error}; write it again") from error
    ids, vectors = _from_table(table, path)
    return Embeddings(ids, _as_float32(vectors, path, cast), _settle(path, space, vectors.shape[1]))


def read_chunks(
    path: Path | str, *, rows: int = 65_536, space: Space | None = None, cast: bool = False
) -> Iterator[Embeddings]:
    """Read in parts and hold one at a time; ids are unique within a part.

    Args:
        path: As for `read_vectors`.
        rows: How many rows a part has at most.
        space: As for `read_vectors`.
        cast: As for `read_vectors`.

    Yields:
        The parts, in order.

    Raises:
        InvalidInput: As `read_vectors`, or ``rows`` is below 1.

    Examples:
        >>> _ = write_vectors(Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3)), "rows.npy")
        >>> [len(part) for part in read_chunks("rows.npy", rows=2)]
        [2, 1]
    """
    path = Path(path)
    if rows < 1:
        raise InvalidInput(f"a chunk has at least 1 row, not {rows}")
    if _stored_suffix(path) == ".npy":
        vectors, ids = _read_npy(path)
        settled = _settle(path, space, vectors.shape[-1])
        for start in range(0, len(vectors), rows):
            part = _as_float32(vectors[start : start + rows], path, cast)
            names = ids[start : start + rows] if ids else map(str, range(start, start + len(part)))
            yield Embeddings(tuple(names), part, settled)
        return
    for batch in _batches(path, rows):
        names, part = _from_table(batch, path)
        yield Embeddings(names, _as_float32(part, path, cast), _settle(path, space, part.shape[1]))


def raw_chunks(path: Path | str, *, rows: int = 65_536) -> Iterator[tuple[tuple[str, ...] | None, np.ndarray]]:
    """Read in parts, unchecked and uncast, to look at files that `read_vectors` would refuse.

    Args:
        path: As for `read_vectors`.
        rows: How many rows a part has at most.

    Yields:
        Ids and vectors of a part; None for ids where the file has none.

    Examples:
        >>> np.save("bare.npy", np.full((3, 2), np.nan))
        >>> [(ids, len(vectors)) for ids, vectors in raw_chunks("bare.npy", rows=2)]
        [(None, 2), (None, 1)]
    """
    path = Path(path)
    if _stored_suffix(path) == ".npy":
        vectors, ids = _read_npy(path)
        for start in range(0, len(vectors), rows):
            yield (None if ids is None else tuple(ids[start : start + rows])), vectors[start : start + rows]
        return
    for batch in _batches(path, rows):
        yield _from_table(batch, path)


def read_space(path: Path | str) -> Space | None:
    """The space that a file says it holds; reads no vectors.

    Args:
        path: As for `read_vectors`.

    Returns:
        The space, or None where the file says none.

    Examples:
        >>> np.save("bare.npy", np.eye(2, dtype=np.float32))
        >>> read_space("bare.npy") is None
        True
    """
    path = Path(path)
    if _stored_suffix(path) == ".npy":
        described = _described(path)
        return None if described is None else Space.from_dict(described["space"])
    schema = _schema(path)
    written = (schema.metadata or {}).get(_SPACE_KEY)
    try:
        return None if written is None else Space.from_dict(json.loads(written))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} does not hold a space in its metadata ({error}); write it again") from error


def _suffix(path: Path) -> str:
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"{path}: vectors are kept as {', '.join(SUFFIXES)}, not as {path.suffix or 'no suffix'}")
    return path.suffix


def _stored_suffix(path: Path) -> str:
    suffix = _suffix(path)
    require_file(path, "a file of vectors")
    return suffix


def _described(path: Path) -> dict[str, Any] | None:
    sidecar = path.with_name(f"{path.name}.json")
    if not sidecar.exists():
        return None
    try:
        described = json.loads(sidecar.read_text())
        _ = described["space"], described["ids"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{sidecar} does not hold a space and ids ({error!r}); write the vectors again") from error
    return dict(described)


def _settle(path: Path, space: Space | None, dim: int) -> Space:
    """The space of a file: what it says, checked against what was asked for."""
    file_space = read_space(path)
    if file_space is not None and space is not None:
        require_same(space, file_space, what=str(path))
    if (settled := file_space or space) is None:
        raise MissingSetting(
            f"{path} does not say of which model its {dim}-d vectors are; name it with space= (YAML: space:)"
        )
    return settled


def _read_npy(path: Path) -> tuple[np.ndarray, Sequence[str] | None]:
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInput(f"{path} cannot be read as npy: {error}; write it again with numpy.save") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2:
        raise InvalidInput(f"{path}: expected one array [n, d], came {getattr(vectors, 'shape', type(vectors))}")
    described = _described(path)
    ids = None if described is None else described["ids"]
    if ids is not None and len(ids) != len(vectors):
        raise InvalidInput(f"{path} holds {len(vectors)} vectors and its JSON {len(ids)} ids; write both again")
    return vectors, ids


def _as_float32(vectors: np.ndarray, path: Path, cast: bool) -> np.ndarray:
    if vectors.dtype == np.float32:
        return vectors
    if vectors.dtype in (np.float16, np.float64) and cast:
        return vectors.astype(np.float32)
    raise InvalidInput(f"{path}: expected float32, came {vectors.dtype}; read floats with cast=True (YAML: cast: true)")


def _to_table(rows: Embeddings) -> Any:
    pa = require("pyarrow", extra="parquet")
    flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, rows.space.dim)
    metadata = {_SPACE_KEY: json.dumps(rows.space.to_dict())}
    schema = pa.schema([("id", pa.string()), ("vector", vectors.type)], metadata=metadata)
    return pa.table([pa.array(rows.ids, pa.string()), vectors], schema=schema)


def _schema(path: Path) -> Any:
    pa = require("pyarrow", extra="parquet")
    try:
        if path.suffix == ".parquet":
            return require("pyarrow.parquet", extra="parquet").read_schema(path)
        return pa.ipc.open_file(pa.memory_map(str(path))).schema
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(f"{path} cannot be read as {path.suffix[1:]}: {error}; write it again") from error


def _batches(path: Path, rows: int) -> Iterator[Any]:
    pa = require("pyarrow", extra="parquet")
    _schema(path)  # a clear error before the first batch
    if path.suffix == ".parquet":
        file = require("pyarrow.parquet", extra="parquet").ParquetFile(path)
        for batch in file.iter_batches(batch_size=rows):
            yield pa.Table.from_batches([batch])
        return
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    for start in range(0, len(table), rows):
        yield table.slice(start, rows)


def _from_table(table: Any, path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    missing = {"id", "vector"} - set(table.column_names)
    if missing:
        raise MissingSetting(f"{path}: expected columns id and vector, came {table.column_names}; rename them")
    column = table["vector"]
    chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # combining copies even a lone chunk
    if "list" not in str(chunk.type):
        raise InvalidInput(f"{path}: expected lists of numbers in the column vector, came {chunk.type}")
    if not len(table) or chunk.null_count:
        raise InvalidInput(f"{path}: {'no rows' if not len(table) else 'some vectors are null'}; nothing to read")
    compute = require("pyarrow.compute", extra="parquet")
    lengths = compute.min_max(compute.list_value_length(chunk)).as_py()
    if lengths["min"] != lengths["max"]:
        raise InvalidInput(f"{path}: the vectors differ in length ({lengths}); a file holds one dim")
    values = chunk.flatten().to_numpy(zero_copy_only=False)
    return tuple(table["id"].to_pylist()), values.reshape(len(chunk), -1)
