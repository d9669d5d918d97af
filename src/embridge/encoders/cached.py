"""Vectors computed elsewhere, as an encoder: an item is the id under which its vector is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from embridge.embeddings import Embeddings
from embridge.encoders.base import Modality, Role, require_items
from embridge.errors import InvalidInput
from embridge.shapes import Float32

__all__ = ["CachedEncoder"]


@final
class CachedEncoder:
    """Looks vectors up: texts and images by the ids (or the captions themselves) they were stored under.

    Args:
        text: Vectors of texts.
        image: Vectors of images, of the same space.

    Raises:
        InvalidInput: There are no vectors, or they are of two spaces.

    Examples:
        >>> from embridge.space import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a cat", "a dog"])
        >>> CachedEncoder(text=rows).encode(["a dog"], modality="text").tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, *, text: Embeddings | None = None, image: Embeddings | None = None) -> None:
        given: dict[Modality, Embeddings] = {}
        if text is not None:
            given["text"] = text
        if image is not None:
            given["image"] = image
        spaces = {rows.space for rows in given.values()}
        if len(spaces) != 1:
            raise InvalidInput(f"cached vectors of one model are needed, came {len(spaces)} spaces")
        self.space = spaces.pop()
        self.modalities: frozenset[Modality] = frozenset(given)
        self._rows = given
        self._row_of = {m: {name: i for i, name in enumerate(rows.ids)} for m, rows in given.items()}

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """The stored vectors; raises `InvalidInput` naming the first item that has none."""
        if modality not in self._rows or len(items) == 0:
            require_items(items, self, modality)
        row_of = self._row_of[modality]
        missing = [str(item) for item in items if str(item) not in row_of]
        if missing:
            raise InvalidInput(f"{len(missing)} of {len(items)} items have no cached {modality} vector: {missing[0]!r}")
        return np.asarray(self._rows[modality].vectors[[row_of[str(item)] for item in items]])
