"""The models beside the one that is trained: the old model, its ancestors, a paragon, and their vectors of the items."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from embridge.embeddings import Embeddings
from embridge.encoders import LazyEncoder
from embridge.errors import InvalidInput, SettingsError
from embridge.jobs._training_items import Items, own_ids
from embridge.jobs.models import Models
from embridge.methods.base import require_directions
from embridge.progress import silent
from embridge.settings.training import RowsSettings
from embridge.training.compatible.labelled import Rows
from embridge.training.compatible.old_models import old_vectors
from embridge.vector_files import read_vectors, write_vectors

__all__ = ["OtherModel"]

PART_ROWS = 16_384


class OtherModel:
    """The old model, or a paragon: an encoder, or a file with its vectors of all items.

    what: how messages call it. Raises `SettingsError` for an encoder that does not take these items, `InvalidInput` for a
    file of other items.
    """

    def __init__(self, what: str, settings: RowsSettings, items: Items, models: Models) -> None:
        self._items, self._models = items, models
        self._encoder: LazyEncoder | None = None
        if settings.vectors is not None:
            space = None if settings.space is None else settings.space.to_space()
            rows = read_vectors(
                settings.vectors, space=space, cast=settings.cast, columns=settings.columns_of("vectors")
            )
            require_directions(rows, "compatible training")
            self._rows: np.ndarray | None = _arranged(what, rows, items, settings.vectors)
            self.space = rows.space
            return
        if items.data.side is None:
            raise SettingsError(f"{what}: the items are vectors, which no encoder takes; name a file (vectors:)")
        self._encoder = models.encoder(settings)
        if "image" not in self._encoder.modalities:
            raise SettingsError(f"{what}: {settings.encoder} takes no images, and the items are images")
        self._rows, self.space = None, self._encoder.space

    def vectors(self, cache: Path) -> np.ndarray:
        """Unit vectors [n, d] of all items; those of an encoder are kept in the cache, a part at a time, for the next time."""
        if self._rows is None:
            data = self._items.data
            name = hashlib.sha256(f"{self.space.id} {data.fingerprint()} {PART_ROWS}".encode()).hexdigest()[:16]
            starts = range(0, len(data), PART_ROWS)
            self._rows = np.concatenate([self._part(start, cache / f"items-{name}-{start}.npy") for start in starts])
        return old_vectors(self._items.data, self._rows)

    def _part(self, start: int, file: Path) -> np.ndarray:
        """The vectors of some items, from the file if it is there."""
        data, encoder = self._items.data, self._encoder
        assert encoder is not None
        rows = np.arange(start, min(start + PART_ROWS, len(data)))

        def heard(done: int, total: int, what: str) -> None:
            self._models.progress(start + done, total + len(data) - len(rows), what)  # total: of this part

        if not file.exists():
            with self._models.heard_by(silent):
                vectors = old_vectors(Rows(data, rows), encoder, progress=heard)
            write_vectors(Embeddings.of(vectors, self.space), file)
        return read_vectors(file, space=self.space).vectors

    def stand_in(self) -> np.ndarray:
        """Vectors of that shape, by which the other parts are checked before any is encoded."""
        return np.ones((len(self._items.data), self.space.dim), np.float32)


def _arranged(what: str, rows: Embeddings, items: Items, path: Path) -> np.ndarray:
    """The vectors in the order of the items: by name where both sides have names, as they stand otherwise."""
    if own_ids(rows.ids) is not None and items.names is not None:
        row_of = {name: row for row, name in enumerate(rows.ids)}
        missing = [name for name in items.names if name not in row_of]
        if missing:
            raise InvalidInput(
                f"{what}: {path} lacks {len(missing)} of {len(items.names)} items, first {missing[0]!r}; its ids are the "
                "names of the items"
            )
        return rows.vectors[[row_of[name] for name in items.names]]
    if len(rows) != len(items.data):
        raise InvalidInput(f"{what}: {path} holds {len(rows)} vectors, and there are {len(items.data)} items")
    return rows.vectors
