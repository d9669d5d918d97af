"""npy files and the JSON beside them, which says their ids, their space, and a checksum of every block of the npy.

The checksums bind the two: they show that another array was saved, not who saved it, and XXH3 is as fast as memory. They are
of blocks, so that a reader of parts compares each part before it gives it away.
"""

from __future__ import annotations

import json
import operator
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import xxhash

from embridge.atomic_write import atomic_pair, descriptions
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.space import Space
from embridge.vector_files._numbers import require_numbers

__all__ = [
    "BLOCK_BYTES",
    "CHECKSUM",
    "NpyFile",
    "belongs",
    "checksums",
    "misbound",
    "opened_npy",
    "sidecar_of",
    "write_npy",
]

BLOCK_BYTES = 1 << 20  # what a processor keeps at hand
CHECKSUM = "xxh3_64"
_CHECKSUMS: dict[str, Callable[[Any], str | int]] = {
    CHECKSUM: xxhash.xxh3_64_hexdigest,
    "crc32": zlib.crc32,  # of earlier versions
}
_ATTEMPTS, _WAIT_SECONDS = 4, 0.05  # something else may be writing the npy just now
_MOST_WRITES = 100  # that come between while it is looked at, on a busy machine
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # the same, with names of fields in UTF-8
}
_FAULTS = (OSError, ValueError, EOFError, OverflowError, TypeError, KeyError, AttributeError, SyntaxError, TokenError,
           MemoryError, RecursionError)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Described:
    file: Path
    space: Space
    ids: list[str]
    checksum: str = ""  # none in files of before there were any
    block_bytes: int = BLOCK_BYTES
    sums: tuple[str | int, ...] = ()


@dataclass(slots=True)
class NpyFile:
    """An open npy file.

    content: a memory map of its bytes. vectors: of them, [n, d] of any kind of number. problem: why ids and space cannot be
    of these vectors. caution: why they may not be.
    """

    path: Path
    content: np.ndarray
    vectors: np.ndarray
    described: _Described | None = None
    problem: str = ""
    caution: str = ""
    compared: int = field(default=0)  # blocks

    @property
    def ids(self) -> list[str] | None:
        return None if self.described is None else self.described.ids

    @property
    def space(self) -> Space | None:
        return None if self.described is None else self.described.space

    def require_bound(self, rows: int | None = None) -> None:
        """Raise `InvalidInput` unless the first so many rows, or all, are those that ids and space were written with."""
        if not self.problem and self.described is not None and self.described.checksum:
            stop = len(self.described.sums)
            if rows is not None and self.vectors.flags.c_contiguous:
                end = self.content.nbytes - (len(self.vectors) - rows) * self.vectors.strides[0]
                stop = min(stop, -(-end // self.described.block_bytes))
            if not _same(self.content, self.described, range(self.compared, stop)):
                self.problem = misbound(self.path, self.described.file)
            self.compared = max(self.compared, stop)
        if self.problem:
            raise InvalidInput(self.problem)


def write_npy(rows: Embeddings, path: Path) -> None:
    """Write both files, as one."""
    with atomic_pair(path, sidecar_of(path), belongs=belongs) as (array, description):
        with array.open("wb") as file:
            np.save(file, rows.vectors, allow_pickle=False)
        content = np.memmap(array, np.uint8, "r")
        npy = {"block_bytes": BLOCK_BYTES, CHECKSUM: list(checksums(content, CHECKSUM, BLOCK_BYTES))}
        description.write_text(json.dumps({"space": rows.space.to_dict(), "npy": npy, "ids": rows.ids}))


@contextmanager
def opened_npy(path: Path) -> Iterator[NpyFile]:
    """Open an npy and find what describes it; whether it does is for `NpyFile.require_bound` to say.

    Raises `InvalidInput` for a file that is no npy of one matrix of numbers, and for a damaged description.
    """
    if path.is_dir():
        raise InvalidInput(f"{path} cannot be read as npy: it is a folder")
    attempts, writes = _ATTEMPTS, _MOST_WRITES
    while True:
        with path.open("rb") as file:
            npy = NpyFile(path, *_mapped(file, path))
            described = [one for p in descriptions(sidecar_of(path)) if (one := _read_if_there(p)) is not None]
            if not os.path.samestat(path.stat(), os.fstat(file.fileno())) and writes:
                writes -= 1
                continue
            _settle(npy, described)
            if npy.ids is not None and len(npy.ids) != len(npy.vectors) and not npy.problem:
                npy.problem = (
                    f"{path} holds {len(npy.vectors)} vectors and its JSON {len(npy.ids)} ids; write both again"
                )
            if not npy.problem or attempts == 1:
                yield npy
                return
        attempts -= 1
        time.sleep(_WAIT_SECONDS)


def _settle(npy: NpyFile, described: list[_Described]) -> None:
    """Which of the descriptions, the newest first, is of this file."""
    sidecar = sidecar_of(npy.path)
    whole = len([d for d in described if d.checksum]) > 1  # then a beginning in common is not enough
    for one in described:
        if _counted(npy.content.nbytes, one) and _same(npy.content, one, range(len(one.sums) if whole else 1)):
            npy.described = one
            return
    beside = next((one for one in described if one.file == sidecar), None)
    if beside is not None and beside.checksum:
        npy.described, npy.problem = beside, misbound(npy.path, sidecar)
    elif beside is not None:
        npy.described = beside
        if npy.path.stat().st_mtime_ns > sidecar.stat().st_mtime_ns:
            npy.caution = (
                f"{npy.path} is newer than {sidecar}, which an earlier version wrote without checksums: are its ids and its "
                "space of these vectors? Write both again"
            )


def misbound(path: Path, sidecar: Path) -> str:
    """That an npy is not the one of its JSON."""
    return (
        f"{path} is not the file that {sidecar} was written with, so the ids and the space there are of other vectors; write "
        f"both again with embridge.write_vectors, or remove {sidecar.name} to read the vectors alone"
    )


def sidecar_of(path: Path) -> Path:
    """The JSON beside an npy."""
    return path.with_name(f"{path.name}.json")


def belongs(path: Path, description: Path) -> bool:
    """Whether a JSON was written with an npy, by its checksums."""
    try:
        described = _read_description(description)
    except InvalidInput:
        return False
    if not _counted(path.stat().st_size, described):
        return False
    return _same(np.memmap(path, np.uint8, "r"), described, range(len(described.sums)))


def _read_if_there(file: Path) -> _Described | None:
    """None for a description that a writer has just given its name: it is read under that one."""
    try:
        return _read_description(file)
    except InvalidInput:
        if file.exists():
            raise
        return None


def _read_description(file: Path) -> _Described:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        space, ids, npy = read["space"], read["ids"], read.get("npy")
        if not isinstance(ids, list):
            raise TypeError(f"ids are a list, not {type(ids).__name__}")
        space, kinds = Space.from_dict(space), set(map(type, ids))
        if kinds & {list, dict}:
            raise TypeError("ids are texts, not lists or objects")
        if int in kinds:
            ids = [str(name) if type(name) is int else name for name in ids]
        if npy is None:
            return _Described(file, space, ids)
        return _Described(file, space, ids, *_blocks(npy))
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{file} does not hold a space and ids ({error!r}); write the vectors again") from error


def _blocks(npy: dict[str, Any]) -> tuple[str, int, tuple[str | int, ...]]:
    """Which checksum, of how many bytes each, and the checksums."""
    size, names = npy["block_bytes"], sorted(npy.keys() & _CHECKSUMS)
    if len(names) != 1:
        raise KeyError(f"npy has one of {sorted(_CHECKSUMS)}")
    if type(size) is not int or size < 1 or not isinstance(npy[names[0]], list):
        raise TypeError(f"npy holds a block_bytes of at least 1 and a list of checksums, not {size!r:.100}")
    return names[0], size, tuple(npy[names[0]])


def _counted(size: int, described: _Described) -> bool:
    return bool(described.checksum) and len(described.sums) == -(-size // described.block_bytes) > 0


def _same(content: np.ndarray, described: _Described, blocks: range) -> bool:
    size, expected = described.block_bytes, described.sums[blocks.start : blocks.stop]
    sums = checksums(content[blocks.start * size : blocks.stop * size], described.checksum, size)
    return all(map(operator.eq, sums, expected))


def checksums(content: np.ndarray, checksum: str, size: int) -> Iterator[str | int]:
    """The checksums of its blocks, each as it is asked for."""
    held, digest = np.asarray(content), _CHECKSUMS[checksum]
    return (digest(held[start : start + size]) for start in range(0, len(held), size))


def _mapped(file: IO[bytes], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of the file, and its vectors among them."""
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    except _FAULTS as error:
        text = " ".join(f"{error or type(error).__name__}".split())[:200]
        raise InvalidInput(f"{path} cannot be read as npy: {text}; write it again with numpy.save") from error
    require_numbers(dtype, path)
    if len(shape) != 2 or any(type(n) is not int or n < 0 for n in shape):
        raise InvalidInput(f"{path}: expected one array [n, d], came {shape!r:.100}")
    start = file.tell()
    _require_size(os.fstat(file.fileno()).st_size - start, shape, dtype, path)
    content = np.memmap(file, np.uint8, "r")
    return content, content[start:].view(dtype).reshape(shape, order="F" if fortran else "C")


def _require_size(held: int, shape: Sequence[int], dtype: np.dtype, path: Path) -> None:
    expected = shape[0] * shape[1] * dtype.itemsize
    if held < expected:
        raise InvalidInput(
            f"{path} cannot be read as npy: {list(shape)} numbers of {dtype} take {expected:,} bytes, and {held:,} are "
            "there; write it again with numpy.save"
        )
    if held > expected:
        raise InvalidInput(
            f"{path} holds {held - expected:,} bytes after its array; were several arrays saved into one file? Save one"
        )
    if not expected:
        raise InvalidInput(f"{path} holds no rows, or rows of no numbers ({list(shape)}); nothing to read")
