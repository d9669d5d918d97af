"""FAISS files: reading one with its ids, and exchanging both in one step, whoever else reads or writes.

Writers hold the folder's lock, readers share it. New files wait under names of their own until a note beside them, which
lists them, makes them count: from then on whoever comes next moves them to their places.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embridge.atomic_write import locked
from embridge.errors import SettingsError, StoreError
from embridge.stores._faiss_ids import IdFile, read_ids, write_ids
from embridge.stores._faiss_index import faiss_module, in_one_line, read_index
from embridge.stores._faiss_rows import FaissRows
from embridge.stores.urls import StoreUrl

__all__ = ["FaissFiles", "Signature", "files_of", "held_still", "load", "remove", "replace", "signature", "writing"]

Signature = tuple[tuple[int, int, int] | None, ...]
_NOTE, _NEXT = "embridge-note", "embridge-new"


@dataclass(frozen=True, slots=True)
class FaissFiles:
    """An index and what is beside it: ids (None where rows are known by number), and vectors by number.

    ``nprobe`` is how many lists of an inverted file a search looks into, ``ef`` how many candidates an HNSW search keeps;
    None where that is as the file says.
    """

    index: Path
    ids: Path | None = None
    column: str = ""
    vectors: Path | None = None
    nprobe: int | None = None
    ef: int | None = None


def files_of(url: StoreUrl) -> FaissFiles:
    """The files that a URL names; raises `SettingsError` for options that there are not."""
    options = url.options
    unknown = options.keys() - {"ids", "column", "vectors", "nprobe", "ef"}
    if unknown:
        raise SettingsError(
            f"{url}: unknown {', '.join(sorted(unknown))}; expected faiss:FILE?ids=FILE&column=NAME&vectors=FILE&nprobe=N&ef=N"
        )
    ids, vectors = (Path(options[name]) if options.get(name) else None for name in ("ids", "vectors"))
    nprobe, ef = (_breadth(url, name) for name in ("nprobe", "ef"))
    return FaissFiles(Path(url.location), ids, options.get("column", ""), vectors, nprobe, ef)


def _breadth(url: StoreUrl, name: str) -> int | None:
    text = url.options.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:12]) < 1 << 31:
        raise SettingsError(f"{url}: {name} is a whole number of at least 1, came {text!r:.40}")
    return int(text)


def signature(files: FaissFiles) -> Signature:
    """What changes when a file does."""
    paths = [path for path in (files.index, files.ids, files.vectors) if path is not None]
    return tuple(_signature(path) for path in paths)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def held_still(files: FaissFiles) -> Iterator[None]:
    """No writer comes between; what one that was killed had settled is in its place."""
    folder = files.index.parent
    try:
        if _note(files).exists():
            with locked(folder):
                _finish(files)
        with locked(folder, shared=True):
            yield
    except OSError as error:
        raise StoreError(f"{files.index} cannot be read: {error}") from error


@contextmanager
def writing(files: FaissFiles) -> Iterator[None]:
    """No other writer comes between, nor a reader."""
    try:
        with locked(files.index.parent):
            _finish(files)
            yield
    except OSError as error:
        raise StoreError(f"{files.index} cannot be written: {error}; what was there stands") from error


def load(files: FaissFiles) -> FaissRows:
    """Read them; raises `StoreError` for what is damaged or does not belong together."""
    listed = None if files.ids is None else read_ids(files.ids, files.column)
    index = read_index(files.index)
    stored = (
        None if files.vectors is None else _vectors(files.vectors, index.dim, int(index.numbers.max(initial=-1)) + 1)
    )
    return FaissRows(index, listed, stored, what=str(files.index))


def replace(files: FaissFiles, root: Any, ids: IdFile | None) -> None:
    """Put a new index, and new ids where there are any, in the place of those that are there; within `writing`."""
    targets = [files.index] if ids is None or files.ids is None else [files.index, files.ids]
    try:
        if ids is not None and files.ids is not None:
            write_ids(ids, files.ids, _next(files.ids))
        faiss_module().write_index(root, str(_next(files.index)))
        for target in targets:
            _sync(_next(target))
        note = _next(_note(files))
        note.write_text(json.dumps([str(target.absolute()) for target in targets]), encoding="utf-8")
        _sync(note)
        os.replace(note, _note(files))
        _sync(files.index.parent)
    except RuntimeError as error:  # FAISS for a full disk
        raise StoreError(f"{files.index} cannot be written: {in_one_line(error)}; what was there stands") from error
    finally:
        if not _note(files).exists():
            for target in targets:
                _next(target).unlink(missing_ok=True)
    _finish(files)


def remove(files: FaissFiles, *, ids: bool) -> None:
    """Delete the index, and its ids; within `writing`."""
    files.index.unlink(missing_ok=True)
    if ids and files.ids is not None:
        files.ids.unlink(missing_ok=True)


def _finish(files: FaissFiles) -> None:
    """Move what counts already to its place."""
    note = _note(files)
    if not note.exists():
        return
    try:
        targets = json.loads(note.read_text(encoding="utf-8"))
        if not isinstance(targets, list) or not all(isinstance(one, str) for one in targets):
            raise ValueError("expected a list of files")
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{note} is not what a killed writer leaves ({error}); remove it") from error
    for target in map(Path, targets):
        with suppress(FileNotFoundError):  # moved already
            os.replace(_next(target), target)
    _sync(files.index.parent)
    note.unlink()


def _note(files: FaissFiles) -> Path:
    return files.index.with_name(f".{files.index.name}.{_NOTE}")


def _next(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_NEXT}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _vectors(path: Path, dim: int, rows: int) -> np.ndarray:
    try:
        vectors: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(vectors, np.ndarray) or vectors.dtype.kind != "f" or vectors.shape[1:] != (dim,):
            raise ValueError(f"expected numbers [n, {dim}], came {getattr(vectors, 'dtype', '')} {np.shape(vectors)}")
        if len(vectors) < rows:
            raise ValueError(f"expected at least {rows} rows, one for every number in the index, came {len(vectors)}")
    except (OSError, ValueError, EOFError, OverflowError, TypeError, SyntaxError, MemoryError) as error:
        raise StoreError(
            f"{path} cannot be used as the vectors of a FAISS file: {' '.join(str(error).split())[:300]}"
        ) from error
    return vectors
