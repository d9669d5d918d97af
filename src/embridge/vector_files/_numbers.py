"""Numbers of a file as float32: what is taken, what is cast where that is asked for, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embridge.errors import InvalidInput

__all__ = ["as_float32", "require_numbers"]

_BFLOAT16 = "; if these are bfloat16 numbers, save them with .astype(numpy.float32)"


def require_numbers(dtype: np.dtype, path: Path) -> None:
    """Refuse what is no array of plain numbers."""
    if dtype.hasobject:
        raise InvalidInput(f"{path} cannot be read as npy: it holds Python objects, which are never unpickled")
    if dtype.kind not in "fiu" or dtype.subdtype is not None:
        hint = _BFLOAT16 if dtype.kind == "V" and dtype.itemsize == 2 else ""
        raise InvalidInput(f"{path}: expected float32, came {dtype}{hint}")


def as_float32(vectors: np.ndarray, path: Path, *, cast: bool, start: int = 0) -> np.ndarray:
    """The same numbers in float32 and in this machine's byte order; float16 and float64 only where ``cast`` says so.

    start: the number of the first row, for messages.
    """
    kind = vectors.dtype.newbyteorder("=")
    if kind == np.float32:
        return vectors if vectors.dtype.isnative else vectors.astype(np.float32)
    if kind not in (np.float16, np.float64):
        hint = _BFLOAT16 if kind == np.uint16 else "; of other numbers, only float16 and float64 are cast"
        raise InvalidInput(f"{path}: expected float32, came {vectors.dtype}{hint}")
    if not cast:
        raise InvalidInput(
            f"{path}: expected float32, came {vectors.dtype}; read floats with cast=True (YAML: cast: true)"
        )
    with np.errstate(over="ignore", under="ignore"):
        numbers = vectors.astype(np.float32)
    if kind == np.float64:
        _require_same_rows(numbers, vectors, path, start)
    return numbers


def _require_same_rows(numbers: np.ndarray, vectors: np.ndarray, path: Path, start: int) -> None:
    """Refuse numbers that float32 has no place for: too large, or rows of which nothing is left."""
    spoilt = np.logical_not(np.isfinite(numbers).all(axis=1))
    spoilt[spoilt] = np.isfinite(vectors[spoilt]).all(axis=1)
    empty = np.logical_not(numbers.any(axis=1))
    empty[empty] = vectors[empty].any(axis=1)
    rows = np.flatnonzero(spoilt | empty)
    if len(rows):
        raise InvalidInput(
            f"{path}: row {start + rows[0]} has numbers beyond float32; scale or normalise the vectors before they are cast"
        )
