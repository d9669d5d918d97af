"""Vectors of real CLIPs: the names of 1,203 LVIS categories by three text towers, and an image of each by one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.data.files import require_data
from embridge import Embeddings, Space

__all__ = ["Lvis", "load"]

FILE = "clip_lvis/clip_lvis1203.npz"
OLD = "openai-clip-b32"


@dataclass(frozen=True)
class Lvis:
    """The names by the old text tower and by each new one, by its name, and the gallery of images by the old image tower."""

    old: Embeddings
    new: dict[str, Embeddings]
    gallery: Embeddings


def load(columns: Mapping[str, str]) -> Lvis:
    """``columns``: the name of each new model by its array in the file."""
    data = np.load(require_data(FILE) / FILE, allow_pickle=False)
    names = data["names"].tolist()
    old, gallery = (_rows(data[f"openai_vitb32_{array}"], OLD, names) for array in ("text_a", "image_exemplar"))
    return Lvis(old, {model: _rows(data[array], model, names) for array, model in columns.items()}, gallery)


def _rows(vectors: np.ndarray, model: str, names: list[str]) -> Embeddings:
    rows = vectors.astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Embeddings.of(rows, Space(model, "", rows.shape[1]), names)
