"""Image items: a file, a picture or an array becomes what a model takes, or an error that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from embridge.errors import InvalidInput, require

__all__ = ["read_image"]


def read_image(image: Any, use: Callable[[Any], Any], *, row: int) -> Any:
    """What ``use`` makes of the PIL image behind a path, a PIL image, or a uint8 array [h, w] or [h, w, c].

    row: where it stands among all items. Raises `InvalidInput` with the row and the file's name for an image that cannot
    be opened, decoded or used.
    """
    pil = require("PIL.Image", extra="clip")
    try:
        if isinstance(image, (str, Path)):
            with pil.open(image) as opened:
                return use(opened)
        picture = _picture(image) if isinstance(image, np.ndarray) else image
        if not isinstance(picture, pil.Image):
            raise TypeError("an image is a path, a PIL image or an array of uint8")
        return use(picture)
    except Exception as error:  # a decoder raises almost anything on a damaged file, SyntaxError among others
        name = image if isinstance(image, (str, Path)) else f"of type {type(image).__name__}"
        raise InvalidInput(f"image {row} ({name}) cannot be read: {error}; remove it or save it again") from error


def _picture(pixels: np.ndarray) -> Any:
    if pixels.dtype != np.uint8:
        raise ValueError(f"its pixels are {pixels.dtype}, not uint8 from 0 to 255")
    grey = pixels.ndim == 3 and pixels.shape[2] == 1
    return require("PIL.Image", extra="clip").fromarray(pixels[:, :, 0] if grey else pixels)
