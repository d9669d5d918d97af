"""Encoder: items become vectors of one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["Encoder", "Modality", "Role", "require_items"]

Modality = Literal["text", "image"]
Role = Literal["query", "document"]


@runtime_checkable
class Encoder(Protocol):
    """Says which modalities it takes, and puts them all into ``space``. See `embridge.testing.check_encoder`."""

    @property
    def space(self) -> Space:
        """Where the vectors lie."""
        ...

    @property
    def modalities(self) -> frozenset[Modality]:
        """What is taken."""
        ...

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """One row an item, in order.

        Text items are strings; image items are paths, PIL images, or uint8 arrays [h, w] or [h, w, c]. Raises
        `InvalidInput` for no items, for an item that cannot be read (naming it) and for a modality not taken.
        """
        ...


def require_items(items: Sequence[Any] | np.ndarray, encoder: Encoder, modality: Modality) -> None:
    """Raise `InvalidInput` unless there are items, and of a modality that the encoder takes."""
    if modality not in encoder.modalities:
        raise InvalidInput(f"{encoder.space.model} takes {' and '.join(sorted(encoder.modalities))}, not {modality!r}")
    if isinstance(items, str):
        raise InvalidInput(f"{encoder.space.model}: items are a list, came one string; wrap it: [{items[:40]!r}]")
    if len(items) == 0:
        raise InvalidInput(f"{encoder.space.model}: nothing to encode, no {modality} items came")
    if modality == "text":
        for row, item in enumerate(items):
            if not isinstance(item, str):
                raise InvalidInput(f"text items are strings; item {row} is {type(item).__name__}")
