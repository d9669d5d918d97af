"""Vectors of a table whose items are encoded again by an upgrade's new model: the work of ``embridge translate --text``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError
from embridge.items import ItemSource, read_items
from embridge.jobs.models import Models, with_lora
from embridge.scale._translate_tables import VectorsOf
from embridge.space import Space, require_same
from embridge.vector_files._ranges import Range
from embridge.vector_files._tables import ids_in

__all__ = ["EncodeTable"]

_BATCH_ROWS = 256  # that are decoded and encoded at once


@dataclass(frozen=True, slots=True)
class EncodeTable:
    """Prepares the new model of an upgrade, and where a table has its items."""

    upgrade: Path
    items: ItemSource

    def __call__(self) -> VectorsOf:
        upgrade = Upgrade.load(self.upgrade)
        name = upgrade.provenance.encoders.get("new")
        if name is None:
            raise SettingsError(
                f"{self.upgrade} does not say which model is the new one, so nothing can be encoded by it"
            )
        encoder = with_lora(Models().named(name), upgrade.lora)
        require_same(upgrade.new_space, encoder.space, what=f"{name} as it is loaded")

        def vectors_of(table: Any, part: Range) -> np.ndarray:
            return np.concatenate(
                [batch_of(table.slice(n, _BATCH_ROWS), part) for n in range(0, len(table), _BATCH_ROWS)]
            )

        def batch_of(table: Any, part: Range) -> np.ndarray:
            assert part.names is not None
            ids = ids_in(table[part.names[0]], f"{part.path}: the column {part.names[0]}", part.first)
            items = read_items(self.items, _Column(table), upgrade.new_space, ids)
            for missing, reason in items.missing.items():
                raise InvalidInput(f"{part.path}: row {missing!r}: {reason}; mend its item, or leave the row out")
            vectors = encoder.encode(items.items, modality=self.items.modality, role="document")
            return upgrade.head(Embeddings.of(vectors, encoder.space, items.ids)).vectors

        return vectors_of


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """The columns of a part of a table, whose ids are known to be unique."""

    table: Any

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        if name not in self.table.column_names:
            raise InvalidInput(f"there is no column {name}; there are {', '.join(self.table.column_names)}")
        values: list[Any] = self.table[name].to_pylist()
        return values
