"""FAISS files: the ids beside them, in whatever file they are."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from embridge.errors import StoreError, require

__all__ = ["IdFile", "read_ids", "write_ids"]

_SHOWN = 10
_FAULTS = (OSError, ValueError, EOFError, OverflowError, TypeError, KeyError, AttributeError, SyntaxError, TokenError,
           MemoryError, RecursionError, NotImplementedError, csv.Error)  # fmt: skip
_WRITABLE = (".txt", ".json", ".npy")


@dataclass(frozen=True, slots=True)
class IdFile:
    """Ids by number: ``texts[number]``; ``whole`` where they are whole numbers, and stand in order of value."""

    texts: list[str]
    whole: bool


def read_ids(path: Path, column: str) -> IdFile:
    """Read ids; raises `StoreError`, naming file and line, for what is none."""
    reader = {".json": _json, ".npy": _npy, ".parquet": _parquet, ".csv": _csv}.get(path.suffix.lower(), _lines)
    try:
        values = reader(path, column)
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist; expected the ids of a FAISS file") from error
    except _FAULTS as error:
        raise StoreError(f"{path} holds no ids that can be read: {' '.join(str(error).split())[:300]}") from error
    whole = bool(values) and all(type(value) is int for value in values)
    if not whole and not all(type(value) is str and value for value in values):
        row = next(i for i, value in enumerate(values) if type(value) is not str or not value)
        raise StoreError(
            f"{path}, id {row}: expected texts that are not empty, or whole numbers, came {values[row]!r:.60}"
        )
    return IdFile(list(map(str, values)) if whole else values, whole)


def write_ids(ids: IdFile, path: Path, target: Path) -> None:
    """Write ids as the file at ``path`` holds them, to ``target``; raises `StoreError` where that cannot be."""
    values: Sequence[Any] = list(map(int, ids.texts)) if ids.whole else ids.texts
    suffix = path.suffix.lower()
    if suffix == ".json":
        target.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    elif suffix == ".npy":
        with target.open("wb") as file:
            np.save(file, np.array(values, np.int64 if ids.whole else str), allow_pickle=False)
    elif suffix in (".parquet", ".csv"):
        raise StoreError(
            f"{path} is not written: its other columns are yours. For rows that come and go name the ids in a file "
            f"of {', '.join(_WRITABLE)}"
        )
    else:
        odd = next((text for text in ids.texts if text.strip() != text or len(text.splitlines()) != 1), None)
        if odd is not None:
            raise StoreError(f"{path}: the id {odd!r:.60} does not fit into a line; keep the ids in a .json file")
        target.write_text("".join(f"{text}\n" for text in ids.texts), encoding="utf-8")


def _lines(path: Path, column: str) -> list[Any]:  # noqa: ARG001
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line.strip() for line in lines]


def _json(path: Path, column: str) -> list[Any]:  # noqa: ARG001
    values = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(values, list):
        raise ValueError(f"expected a list of ids, came {type(values).__name__}")
    return values


def _npy(path: Path, column: str) -> list[Any]:  # noqa: ARG001
    values = np.load(path, allow_pickle=False, mmap_mode="r")  # a header that says too much is refused
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iuUS":
        raise ValueError(
            f"expected one column of whole numbers or texts, came {getattr(values, 'dtype', 'an archive')}"
        )
    return [value.decode() for value in values.tolist()] if values.dtype.kind == "S" else values.tolist()


def _csv(path: Path, column: str) -> list[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        name = _chosen(next(rows, []), column)
        place = name[1]
        return [row[place] if place < len(row) else "" for row in rows]


def _parquet(path: Path, column: str) -> list[Any]:
    parquet = require("pyarrow.parquet", extra="parquet")
    with parquet.ParquetFile(path) as file:
        name, _ = _chosen(file.schema_arrow.names, column)
        values: list[Any] = file.read([name]).column(0).to_pylist()
        return values


def _chosen(names: list[str], column: str) -> tuple[str, int]:
    name = column or (names[0] if len(names) == 1 else "id")
    if name not in names:
        raise ValueError(
            f"there is no column {name!r}; there are {names[:_SHOWN]}: name one, as in ?ids=FILE&column=NAME"
        )
    return name, names.index(name)
