"""What people look at for an item: its text, or a picture of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embridge.errors import InvalidInput, MissingExtra, require

__all__ = ["Picture", "Show", "pictures_from", "small_picture"]

_MEDIA_TYPES = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
_SIDE = 128
_LARGEST_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class Picture:
    """An image to put into a page.

    Attributes:
        data: The bytes of its file.
        media_type: Such as ``image/png``.

    Raises:
        InvalidInput: A browser shows no such type.

    Examples:
        >>> Picture(b"GIF89a", "image/gif").uri
        'data:image/gif;base64,R0lGODlh'
    """

    data: bytes
    media_type: str

    def __post_init__(self) -> None:
        if self.media_type not in _MEDIA_TYPES.values():
            known = ", ".join(sorted(set(_MEDIA_TYPES.values())))
            raise InvalidInput(f"expected a picture of type {known}; came {self.media_type!r}")

    @property
    def uri(self) -> str:
        """The picture itself as an address, so that a page needs no other file."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


Show = Callable[[str], Picture | str]
"""From the id of an item or a query to what people look at."""


def pictures_from(folder: Path | str) -> Show:
    """Show the ids that name an image file below a folder as pictures, and every other id as text.

    What leads out of the folder, by ``..`` or by a link, stays text. Pictures are made small where Pillow is installed; without
    it files under 200 kB are taken as they are.

    Args:
        folder: What the ids are relative to.

    Returns:
        From an id to its picture or text, as `report_html` takes it.

    Raises:
        InvalidInput: There is no such folder.

    Examples:
        >>> pictures_from(".")("a caption")
        'a caption'
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise InvalidInput(f"{folder} is not a folder; expected the one that the ids are relative to")

    def show(item: str) -> Picture | str:
        path = _below(root, item)
        return item if path is None else _picture(path) or item

    return show


def _below(root: Path, item: str) -> Path | None:
    """The image file of that id, where it is one and lies below ``root``."""
    if Path(item).suffix.lower() not in _MEDIA_TYPES or Path(item).is_absolute():
        return None
    try:
        path = (root / item).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (OSError, ValueError):  # a name too long or with a null character is no file
        return None


def _picture(path: Path) -> Picture | None:
    try:
        return _small(path)
    except MissingExtra:
        if path.stat().st_size >= _LARGEST_BYTES:
            return None
        return Picture(path.read_bytes(), _MEDIA_TYPES[path.suffix.lower()])


def small_picture(image: Any) -> Picture:
    """Make a picture of at most 128 pixels a side, upright. Needs the extra ``clip``.

    Args:
        image: A PIL image.

    Returns:
        The picture: JPEG, or PNG where parts of it may be transparent.

    Raises:
        OSError: The image is damaged.

    Examples:
        >>> from PIL import Image
        >>> small_picture(Image.new("RGB", (300, 200))).media_type
        'image/jpeg'
    """
    image.thumbnail((_SIDE, _SIDE))
    upright = require("PIL.ImageOps", extra="clip").exif_transpose(image)
    opaque, stream = upright.mode in ("L", "RGB", "CMYK", "YCbCr"), io.BytesIO()
    if opaque:
        upright.convert("RGB").save(stream, "JPEG", quality=85, optimize=True)
    else:
        upright.convert("RGBA").save(stream, "PNG", optimize=True)
    return Picture(stream.getvalue(), "image/jpeg" if opaque else "image/png")


def _small(path: Path) -> Picture | None:
    """The small picture of a file; None where it is no image that Pillow reads."""
    image_module = require("PIL.Image", extra="clip")
    try:
        with image_module.open(path) as opened:
            return small_picture(opened)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError):
        return None
