"""Images of any size as the bytes of squares, red, green and blue: the same for training and for encoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embridge.encoders._images import read_image
from embridge.errors import SettingsError, require
from embridge.shapes import UInt8

__all__ = ["square_pixels"]


def square_pixels(
    images: Sequence[Any] | np.ndarray, side: int, *, first_row: int = 0
) -> UInt8[np.ndarray, "b 3 side side"]:
    """Images of any size as squares, resized by Pillow (bilinear) without regard to their shape.

    Grey images get three equal channels.

    Args:
        images: Paths, PIL images or uint8 arrays [h, w] or [h, w, 3].
        side: The side of a square, in pixels.
        first_row: Where they begin among all, for the message about an image.

    Returns:
        Bytes, uint8 [b, 3, side, side].

    Raises:
        InvalidInput: An image cannot be read; the message names it.

    Examples:
        >>> square_pixels([np.zeros((4, 6), np.uint8)], 2).shape
        (1, 3, 2, 2)
    """
    if side < 1:
        raise SettingsError(f"images: expected a side of at least 1 pixel, came {side}")
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:3] == (side, side):
        if images.ndim == 3:
            return np.repeat(images[:, None], 3, axis=1)
        if images.ndim == 4 and images.shape[3] == 3:
            return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    pil = require("PIL.Image", extra="train")

    def squared(picture: Any) -> np.ndarray:
        picture = picture.convert("RGB")
        return np.asarray(picture if picture.size == (side, side) else picture.resize((side, side), pil.BILINEAR))

    rows = [read_image(image, squared, row=first_row + i) for i, image in enumerate(images)]
    return np.ascontiguousarray(np.stack(rows).transpose(0, 3, 1, 2))
