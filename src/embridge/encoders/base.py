"""Encoder: items become vectors of one space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set, Sized
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from embridge.encoders._texts import require_texts
from embridge.errors import InvalidInput
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["Encoder", "Modality", "Role", "require_items"]

Modality = Literal["text", "image"]
Role = Literal["query", "document"]


@runtime_checkable
class Encoder(Protocol):
    """What turns items into vectors of one space. See `embridge.testing.check_encoder`.

    Attributes:
        space: Where the vectors lie.
        modalities: What is taken: ``text``, ``image`` or both.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.encoders import CachedEncoder
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a cat", "a dog"])
        >>> isinstance(CachedEncoder(text=rows), Encoder)
        True
    """

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
    """Require items, and of a modality that the encoder takes.

    Args:
        items: What is to be encoded.
        encoder: By what.
        modality: As what.

    Raises:
        InvalidInput: There are no items, one is no string where text is meant, or the modality is not taken.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.encoders import CachedEncoder
        >>> rows = Embeddings.of(np.eye(1, 2, dtype=np.float32), Space("toy", "1", 2), ["a cat"])
        >>> require_items(["a cat"], CachedEncoder(text=rows), "image")
        Traceback (most recent call last):
        embridge.errors.InvalidInput: toy takes text, not 'image'
    """
    if modality not in encoder.modalities:
        raise InvalidInput(f"{encoder.space.model} takes {' and '.join(sorted(encoder.modalities))}, not {modality!r}")
    if isinstance(items, str):
        raise InvalidInput(f"{encoder.space.model}: items are a list, came one string; wrap it: [{items[:40]!r}]")
    if not isinstance(items, Sized) or isinstance(items, (bytes, Mapping, Set)):
        raise InvalidInput(f"{encoder.space.model}: items are a list or an array, came {type(items).__name__}")
    if isinstance(items, np.ndarray) and items.dtype == np.uint8 and items.ndim == 3 and items.shape[2] == 3:
        raise InvalidInput(
            f"{encoder.space.model}: came one image {list(items.shape)} in the place of a list; wrap it: [image]"
        )
    if len(items) == 0:
        raise InvalidInput(f"{encoder.space.model}: nothing to encode, no {modality} items came")
    if modality == "text":
        require_texts(items)
