"""The map of an upgrade that takes vectors of a space, in a worker too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from embridge.adapters.base import Adapter
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import require_vectors
from embridge.errors import SpaceMismatch
from embridge.space import Space

__all__ = ["map_from", "mapped"]


def map_from(upgrade: Path, space: Space) -> Adapter:
    """The bridge of an upgrade, or its head, whichever begins at a space.

    Raises:
        SpaceMismatch: Neither does.
    """
    loaded = Upgrade.load(upgrade)
    for adapter in (loaded.bridge, loaded.head):
        if adapter.source == space and adapter.target != space:
            return adapter
    raise SpaceMismatch(
        f"{upgrade} maps vectors of {loaded.bridge.source} to {loaded.bridge.target}; these are of {space}"
    )


def mapped(adapter: Adapter, vectors: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    """Checked vectors, so many at a time: the same products in whatever process."""
    for start in range(0, len(vectors), rows):
        result = adapter.apply(vectors[start : start + rows])
        if not adapter.bounded:
            require_vectors(result, dim=adapter.target.dim, what=f"vectors mapped to {adapter.target.model}")
        yield result
