"""Images that come in a request: as data URLs alone, looked at before they are decoded."""

from __future__ import annotations

import base64
import binascii
import re
import warnings
from io import BytesIO
from typing import Any

from embridge.errors import InvalidInput, require

__all__ = ["image_of"]

_DATA_URL = re.compile(r"data:(image/[\w.+-]+)?(;[\w=.+-]+)*;base64,", re.ASCII)
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def image_of(url: str, *, pixels: int) -> Any:
    """The picture in a data URL, decoded.

    Args:
        url: ``data:image/png;base64,…``. No other URL is fetched, and no file is opened.
        pixels: How many the picture may have.

    Returns:
        A PIL image.

    Raises:
        InvalidInput: It is no data URL, no image of a format that is taken, larger than that, or damaged.

    Examples:
        >>> image_of("https://models.example/cat.png", pixels=10)
        Traceback (most recent call last):
        embridge.errors.InvalidInput: an image comes as a data URL, data:image/png;base64,…; addresses are not fetched
    """
    head = _DATA_URL.match(url)
    if head is None:
        raise InvalidInput("an image comes as a data URL, data:image/png;base64,…; addresses are not fetched")
    try:
        content = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"the image's base64 is damaged: {error}") from error
    pil = require("PIL.Image", extra="clip")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of bombs, and of damaged metadata
            picture = pil.open(BytesIO(content), formats=_FORMATS)
    except Exception as error:  # a decoder raises almost anything on a damaged file
        raise InvalidInput(f"the image cannot be read: expected {', '.join(_FORMATS)}; {error}") from error
    width, height = picture.size
    if width * height > pixels:
        raise InvalidInput(f"the image has {width} × {height} pixels, and {pixels:,} are allowed; send it smaller")
    try:
        picture.load()
    except Exception as error:
        raise InvalidInput(f"the image is damaged: {error}") from error
    return picture
