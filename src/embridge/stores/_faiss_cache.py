"""FAISS files: what was read, kept in memory until a file changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embridge.space import Space
from embridge.stores._faiss_files import FaissFiles, Signature, held_still, load, remove, replace, signature, writing
from embridge.stores._faiss_ids import IdFile
from embridge.stores._faiss_index import as_read, faiss_module
from embridge.stores._faiss_rows import FaissRows
from embridge.stores._faiss_write import Changed

__all__ = ["FaissCache"]


class FaissCache:
    """Rows by file. A file that is not there yet holds nothing of the space ``added``, where one is named."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[Signature, FaissRows]] = {}

    def rows(self, files: FaissFiles, *, added: Space | None = None) -> FaissRows:
        """What the files hold now."""
        kept = self._kept.get(files.index)
        if kept is not None and kept[0] == signature(files):
            return kept[1]
        with held_still(files):
            return self._current(files, added)

    def change(self, files: FaissFiles, change: Callable[[FaissRows], Changed | None], *, added: Space) -> None:
        """Replace the files by what the change makes of them; nothing where it makes nothing."""
        with writing(files):
            held = self._current(files, added)
            changed = change(held)
            if changed is not None:
                root, ids = changed
                replace(files, root, ids)
                listed = held.listed if ids is None else ids
                self._keep(files, FaissRows(as_read(root, held.what), listed, what=held.what))

    def remove(self, files: FaissFiles, *, ids: bool) -> None:
        """Delete the index, and its ids."""
        with writing(files):
            remove(files, ids=ids)
        self._kept.pop(files.index, None)

    def clear(self) -> None:
        """Forget what was read."""
        self._kept.clear()

    def _current(self, files: FaissFiles, added: Space | None) -> FaissRows:
        """What the files hold, while no writer comes between."""
        kept = self._kept.get(files.index)
        if kept is not None and kept[0] == signature(files):
            return kept[1]
        if added is not None and not files.index.exists() and not (files.ids is not None and files.ids.exists()):
            return self._keep(files, _nothing(files, added))
        return self._keep(files, load(files))

    def _keep(self, files: FaissFiles, held: FaissRows) -> FaissRows:
        held.nprobe, held.ef = files.nprobe, files.ef
        self._kept[files.index] = signature(files), held
        return held


def _nothing(files: FaissFiles, space: Space) -> FaissRows:
    faiss = faiss_module()
    metric = faiss.METRIC_L2 if space.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    return FaissRows(
        as_read(faiss.IndexFlat(space.dim, metric), str(files.index)), IdFile([], whole=False), what=str(files.index)
    )
