"""Images that come in a request: as data URLs alone, looked at before they are decoded, and never too many at once."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

from embridge.encoders.base import Modality
from embridge.errors import InvalidInput, require
from embridge.serve._batching import Busy
from embridge.settings.serve import LimitSettings

__all__ = ["Pictures", "picture_in"]

_DATA_URL = re.compile(r"data:(image/[\w.+-]+)?(;[\w=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


class Pictures:
    """The pictures of all requests: decoded in a thread of their own, and counted while a request holds them.

    A small file may unpack to a thousand times its size, so the limits on a body and on one picture bound no memory.

    Args:
        limits: ``image_pixels`` of one, and ``pixels`` of all that are held.

    Examples:
        >>> Pictures(LimitSettings()).held
        0
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._limits, self.held = limits, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    @asynccontextmanager
    async def decoded(self, modality: Modality, items: Sequence[Any]) -> AsyncIterator[list[Any]]:
        """Within, the items as a model takes them: texts as they are, data URLs as PIL images.

        Raises:
            InvalidInput: One is no picture that is taken, or together they have too many pixels.
            Busy: With those of other requests they have.
        """
        if modality == "text":
            yield list(items)
            return
        loop, most = asyncio.get_running_loop(), self._limits.pixels
        pictures = await loop.run_in_executor(self._thread, self._opened, items)
        pixels = sum(picture.width * picture.height for picture in pictures)
        if pixels > most:
            raise InvalidInput(
                f"the images have {pixels:,} pixels together, and {most:,} are allowed; send fewer at once"
            )
        if self.held + pixels > most:
            raise Busy(f"images of {self.held:,} pixels are at work, and {most:,} may be; try again soon")
        self.held += pixels
        try:
            await loop.run_in_executor(self._thread, _load, pictures)
            yield pictures
        finally:
            self.held -= pixels

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _opened(self, urls: Sequence[str]) -> list[Any]:
        return [picture_in(url, pixels=self._limits.image_pixels) for url in urls]


def picture_in(url: str, *, pixels: int) -> Any:
    """The picture in a data URL, not decoded yet.

    Args:
        url: ``data:image/png;base64,…``. No other URL is fetched, and no file is opened.
        pixels: How many the picture may have.

    Returns:
        A PIL image.

    Raises:
        InvalidInput: It is no data URL, no image of a format that is taken, or larger than that.

    Examples:
        >>> picture_in("https://models.example/cat.png", pixels=10)
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
        picture = pil.open(BytesIO(content), formats=_FORMATS)
    except pil.UnidentifiedImageError as error:
        raise InvalidInput(f"the image cannot be read: expected {', '.join(_FORMATS)}") from error
    except Exception as error:  # a decoder raises almost anything on a damaged file
        raise InvalidInput(f"the image cannot be read: {error}") from error
    width, height = picture.size
    if width * height > pixels:
        raise InvalidInput(f"the image has {width} × {height} pixels, and {pixels:,} are allowed; send it smaller")
    return picture


def _load(pictures: Sequence[Any]) -> None:
    for picture in pictures:
        try:
            picture.load()
        except Exception as error:
            raise InvalidInput(f"the image is damaged: {error}") from error
