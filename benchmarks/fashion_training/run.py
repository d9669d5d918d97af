"""Compatible training on product photos: an old model of 30 % of the types, new ones of all, trained with one recipe.

A small ResNet; photos are squeezed to 32 × 32 pixels. Products that bear the same title are all in one part: to train on, to
choose settings by, or to judge by; the judged ones are both the queries and the gallery (no photo finds itself): right is
what is of the same type. For the options, see ``protocols/training.py``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.data.files import require_data
from benchmarks.data.labelled import Seen
from benchmarks.protocols.training import main
from embridge.encoders.squares import square_pixels
from embridge.training.compatible.image_data import ImageArrays

PHOTOS, PRODUCTS = "fashion/dev12k_images.npz", "fashion/dev12k_meta.parquet"
SIDE = 32
PARTS = ("train", "validation", "test")


def load(config: Mapping[str, Any], part: str) -> tuple[Seen, Seen]:
    """Types with enough products, in a random order, of each the first products; the parts are drawn by title."""
    table = pq.read_table(require_data(PHOTOS, PRODUCTS) / PRODUCTS, columns=["article", "title"])
    types, titles = (np.array(table.column(name).to_pylist()) for name in table.column_names)
    names, counts = np.unique(types, return_counts=True)
    rng = np.random.default_rng(config["split_seed"])
    names = rng.permutation(names[counts >= config["least_per_type"]])
    drawn = rng.choice(PARTS, len(titles), p=config["shares"])
    _, first = np.unique(titles, return_inverse=True)
    parts = drawn[first]  # by its number among the titles, so that the same title is in the same part
    kept = [np.flatnonzero(types == name)[: config["most_per_type"]] for name in names]
    rows, labels = np.concatenate(kept), np.repeat(np.arange(len(names)), [len(own) for own in kept])
    seen = Seen(*(_photos(rows, labels, names, parts[rows] == chosen) for chosen in ("train", part)))
    return seen, seen


def _photos(rows: np.ndarray, labels: np.ndarray, names: Sequence[str], chosen: np.ndarray) -> ImageArrays:
    pack = np.load(require_data(PHOTOS) / PHOTOS, allow_pickle=False)
    blob, offset = pack["blob"], pack["offset"]
    photos = [Image.open(io.BytesIO(blob[offset[row] : offset[row + 1]].tobytes())) for row in rows[chosen]]
    pixels = np.ascontiguousarray(square_pixels(photos, SIDE).transpose(0, 2, 3, 1))
    return ImageArrays(pixels, labels[chosen], classes=[str(name) for name in names])


if __name__ == "__main__":
    main(Path(__file__).parent.name, load, description=__doc__)
