"""An image out of bytes that anyone may have written."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

from embridge.errors import require
from embridge.items.missing import MissingItem

__all__ = ["picture_of"]

_MOST_PIXELS = 100_000_000
_FORMATS = frozenset({"AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP"})


def picture_of(content: bytes) -> Any:
    """The decoded PIL image; raises `MissingItem` for what is none, is broken, or would fill the memory."""
    pil = require("PIL.Image", extra="clip")
    if not content:
        raise MissingItem("it is empty")
    pil.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pictures with odd headers, which can be seen all the same
            picture = pil.open(BytesIO(content), formats=sorted(_FORMATS & pil.OPEN.keys()))
            wide, high = picture.size
            if wide * high <= _MOST_PIXELS:
                picture.load()
                return picture
    except Exception as error:  # a decoder raises almost anything on a damaged file, SyntaxError among others
        reason = (
            "it is no image of a kind that is read here" if type(error).__name__ == "UnidentifiedImageError" else error
        )
        raise MissingItem(f"it cannot be read: {reason}") from error
    raise MissingItem(f"it has {wide} × {high} pixels, more than {_MOST_PIXELS:,}")
