"""A planted upgrade: the old vectors are the new ones turned, so that the bridge is exact and a wrong space is noticed.

An item's text is a number, and its vector is that row of a table. So encoding is a look-up, and whoever reads an item knows
which vectors it has to have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embridge import Space, Upgrade
from embridge.adapters import Identity, Linear
from embridge.encoders import PROVIDERS
from embridge.encoders.base import Modality, Role
from embridge.encoders.providers import Provider
from embridge.provenance import Provenance

__all__ = ["Planted", "TableEncoder", "names_of"]

_PART = 16_384


class Planted:
    """The files of a folder: vectors of both models, and the upgrade."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.old, self.new = Space("planted", "1", dim), Space("planted", "2", dim)
        self.old_vectors, self.new_vectors = (
            np.load(folder / f"{side}.npy", mmap_mode="r") if (folder / f"{side}.npy").exists() else np.empty((0, dim))
            for side in ("old", "new")
        )

    @property
    def upgrade(self) -> Path:
        return self.folder / "upgrade"

    @staticmethod
    def make(folder: Path, config: Mapping[str, Any]) -> Planted:
        rng, dim, rows = np.random.default_rng(config["seed"]), config["dim"], config["rows"] + config["spare_rows"]
        turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        sides = [
            np.lib.format.open_memmap(folder / f"{side}.npy", "w+", np.float32, (rows, dim)) for side in ("old", "new")
        ]
        for start in range(0, rows, _PART):
            part = rng.standard_normal((min(_PART, rows - start), dim), np.float32)
            part /= np.linalg.norm(part, axis=1, keepdims=True)
            for side, vectors in zip(sides, (part @ turn, part), strict=True):
                side[start : start + _PART] = vectors
        for side in sides:
            side.flush()
        planted = Planted(folder, dim)
        PROVIDERS["table"] = Provider(__name__, "TableEncoder", "", frozenset({"text"}), "a table of vectors")
        provenance = replace(Provenance("planted"), encoders={"new": f"table:{folder}"})
        bridge = Linear(planted.new, planted.old, turn)
        Upgrade(Identity(planted.new, planted.new), bridge, provenance).save(planted.upgrade)
        return planted


class TableEncoder:
    """A model: a look-up in the table of a folder."""

    modalities = frozenset({"text"})

    def __init__(
        self,
        model: Path | str,
        *,
        side: Literal["old", "new"] = "new",
        device: str | None = None,
        batch_size: int = 0,
        progress: object = None,
    ) -> None:
        self._vectors = np.load(Path(model) / f"{side}.npy", mmap_mode="r")
        self.space = Space("planted", "1" if side == "old" else "2", self._vectors.shape[1])

    def encode(self, items: Sequence[Any], *, modality: Modality, role: Role = "document") -> np.ndarray:
        return np.array(self._vectors[[int(item) for item in items]])


def names_of(n: int) -> list[str]:
    """Ids of the rows that are there from the first."""
    return [f"item {i:07d}" for i in range(n)]
