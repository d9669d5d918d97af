"""FAISS files: an index with rows written or deleted, made beside the one that is read meanwhile."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError
from embridge.stores._faiss_ids import IdFile
from embridge.stores._faiss_index import as_read, faiss_module, in_one_line
from embridge.stores._faiss_rows import FaissRows

__all__ = ["Changed", "with_rows", "without_rows"]

Changed = tuple[Any, IdFile | None]
"""The new index; the new ids, None where they stay."""

_MOST = (1 << 63) - 1


def with_rows(held: FaissRows, rows: Embeddings) -> Changed:
    """With those rows in the place of those of the same id."""
    _require_whole(held)
    there = [held.row_of.get(text) for text in rows.ids]
    old = np.array([i for i, row in enumerate(there) if row is not None], np.int64)
    new = np.array([i for i, row in enumerate(there) if row is None], np.int64)
    replaced = np.array([row for row in there if row is not None], np.int64)
    ids, numbers = _numbered(held, [rows.ids[i] for i in new])
    vectors = np.ascontiguousarray(rows.vectors)
    if held.index.flat:
        matrix = held.vectors(slice(None))
        if len(old):
            matrix = np.array(matrix)
            matrix[replaced] = vectors[old]
        added = vectors[new] if len(old) else vectors
        return _flat(held, [(matrix, held.index.numbers), (added, numbers)]), ids
    if not held.index.root.is_trained:
        raise StoreError(f"{held.what} is not trained: FAISS can add no rows to it. Train it on your vectors first")
    if len(old) and not held.index.mapped:
        raise _refusal(held, "replace rows")
    root = _without(held, replaced) if len(old) else _copy(held)
    try:
        if held.index.mapped:
            order = np.concatenate([old, new])
            root.add_with_ids(vectors[order], np.concatenate([held.index.numbers[replaced], numbers]))
        else:
            root.add(vectors)
    except RuntimeError as error:
        raise _refusal(held, "add rows", in_one_line(error)) from error
    return root, ids


def without_rows(held: FaissRows, ids: Collection[str]) -> Changed:
    """Without the rows of those ids, which are there."""
    _require_whole(held)
    rows = np.array(sorted(held.row_of[text] for text in ids), np.int64)
    if not held.index.mapped and held.listed is None:
        raise _refusal(
            held, "delete rows", "ids are row numbers there, and would move. Name ids of your own with ?ids=FILE"
        )
    kept = np.delete(np.arange(len(held)), rows)
    left = None if held.index.mapped else IdFile([held.texts[row] for row in kept.tolist()], held.whole)
    if held.index.flat:
        return _flat(held, [(held.vectors(kept), held.index.numbers[kept])]), left
    return _without(held, rows), left


def _numbered(held: FaissRows, new: list[str]) -> tuple[IdFile | None, np.ndarray]:
    """The ids with the new ones, and their numbers."""
    if not new:
        return None, np.empty(0, np.int64)
    if held.listed is not None:
        listed = held.listed.texts
        if held.listed.whole and not all(map(_is_number, new)):
            raise _not_whole(held, new)
        return IdFile([*listed, *new], held.listed.whole), np.arange(len(listed), len(listed) + len(new))
    if not all(map(_is_number, new)):
        raise _not_whole(held, new)
    numbers = np.array(list(map(int, new)), np.int64)
    if not held.index.mapped and not np.array_equal(numbers, np.arange(len(held), len(held) + len(new))):
        raise InvalidInput(
            f"{held.what}: ids are row numbers there; expected {len(held)} and those that follow for new rows, came "
            f"{new[0]!r}. Name ids of your own with ?ids=FILE"
        )
    if held.index.mapped and held.index.core is held.index.root and (numbers < 0).any():
        raise _not_whole(held, new)
    return None, numbers


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return False
    return str(int(text)) == text and -_MOST <= int(text) <= _MOST


def _not_whole(held: FaissRows, new: list[str]) -> InvalidInput:
    odd = next((text for text in new if not _is_number(text)), new[0])
    return InvalidInput(f"{held.what}: ids are whole numbers of 64 bits there, came {odd!r:.60}")


def _flat(held: FaissRows, parts: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    """A flat index of rows and their numbers, of the same kind."""
    faiss, index = faiss_module(), held.index
    root = faiss.IndexFlat(index.dim, index.core.metric_type)
    if index.core is not index.root:
        root = getattr(faiss, type(index.root).__name__)(root)
    for vectors, numbers in parts:
        if len(vectors) and index.core is index.root:
            root.add(vectors)
        elif len(vectors):
            root.add_with_ids(vectors, np.ascontiguousarray(numbers))
    return root


def _copy(held: FaissRows) -> Any:
    """A copy to change, whose rows are not looked up meanwhile: FAISS would not follow."""
    faiss = faiss_module()
    try:
        root = faiss.clone_index(held.index.root)
        if held.index.ivf is not None:
            faiss.extract_index_ivf(root).set_direct_map_type(faiss.DirectMap.NoMap)
    except RuntimeError as error:
        raise _refusal(held, "write rows", in_one_line(error)) from error
    return root


def _without(held: FaissRows, rows: np.ndarray) -> Any:
    """A copy without those rows."""
    if held.index.ivf is not None and held.index.core is not held.index.root:
        raise _refusal(held, "delete or replace rows")  # its map of ids moves, and the numbers in its lists do not
    root = _copy(held)
    try:
        removed = root.remove_ids(np.ascontiguousarray(held.index.numbers[rows]))
    except RuntimeError as error:
        raise _refusal(held, "delete or replace rows", in_one_line(error)) from error
    if removed != len(rows) or len(as_read(root, held.what)) != len(held) - len(rows):
        raise _refusal(held, "delete or replace rows")
    return root


def _require_whole(held: FaissRows) -> None:
    if held.stored is not None:
        raise StoreError(
            f"{held.what} is not written: the file of its vectors (?vectors=) would not follow. Leave that out of the URL"
        )


def _refusal(held: FaissRows, what: str, reason: str = "") -> StoreError:
    why = f" ({reason})" if reason else ""
    return StoreError(
        f"{held.what}: FAISS cannot {what} in an index of kind {held.index.kind}{why}. Make the file anew, or add a space of "
        "its own beside it with add_space, which can"
    )
