"""Image items: a file, a picture or an array becomes what a model takes, or an error that names it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from embridge.errors import InvalidInput, require

__all__ = ["read_image"]

_ORIENTATION = 0x0112
_TURNS = {
    **{2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM"},
    **{5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"},
}
_WITH_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_SIXTEEN_BITS = {"PNG", "PPM"}  # of which Pillow gives grey of 16 bits as 32-bit integers in some releases
_WHITE = 65_535


def read_image(image: Any, use: Callable[[Any], Any], *, row: int) -> Any:
    """What ``use`` makes of the picture behind a path, a PIL image, or a uint8 array [h, w] or [h, w, c].

    ``use`` gets it upright, as grey (L) or RGB of 8 bits: turned as its EXIF tag says, on white where it is transparent, grey
    of 16 bits scaled, and the first frame of several. row: where it stands among all items. Raises `InvalidInput` with the row
    and the file's name for an image that cannot be opened, decoded or used.
    """
    pil = require("PIL.Image", extra="clip")
    name = f"image {row} ({image if isinstance(image, (str, Path)) else f'of type {type(image).__name__}'})"
    try:
        if isinstance(image, (str, Path)):
            with pil.open(image) as opened:
                return use(_plain(opened, name))
        picture = _picture(image) if isinstance(image, np.ndarray) else image
        if not isinstance(picture, pil.Image):
            raise TypeError("an image is a path, a PIL image or an array of uint8")
        return use(_plain(picture, name))
    except Exception as error:  # a decoder raises almost anything on a damaged file, SyntaxError among others
        raise InvalidInput(f"{name} cannot be read: {error}; remove it or save it again") from error


def _picture(pixels: np.ndarray) -> Any:
    if pixels.dtype != np.uint8:
        raise ValueError(f"its pixels are {pixels.dtype}, not uint8 from 0 to 255")
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ValueError(
            f"an array is [height, width], or has 1, 3 (RGB) or 4 (RGBA) channels as its last axis; came {list(pixels.shape)}"
        )
    grey = pixels.ndim == 3 and pixels.shape[2] == 1
    return require("PIL.Image", extra="clip").fromarray(pixels[:, :, 0] if grey else pixels)


def _plain(picture: Any, name: str) -> Any:
    """The picture as anyone would see it, in mode L or RGB."""
    if 0 in picture.size:
        raise ValueError(f"it has no pixels: it is {picture.size[0]} wide and {picture.size[1]} high")
    picture.load()  # some formats say what follows only after their pixels
    upright = _upright(picture)
    if picture.mode == "F" or (picture.mode == "I" and picture.format not in _SIXTEEN_BITS):
        raise ValueError(
            f"its pixels are {'floats' if picture.mode == 'F' else '32-bit integers'}, which do not say what is white; save "
            "it with 8 or 16 bits a channel"
        )
    if picture.mode.startswith("I"):
        upright = _eight_bits(upright, picture.info.get("transparency"))
    palette = upright.palette.mode if upright.mode == "P" and upright.palette else ""
    if upright.mode in _WITH_ALPHA or "transparency" in upright.info or palette.endswith("A"):
        return _on_white(upright, name)
    return upright if upright.mode in ("L", "RGB") else upright.convert("L" if upright.mode == "1" else "RGB")


def _upright(picture: Any) -> Any:
    turn = None
    with suppress(Exception):  # whatever a broken tag raises: the picture is then taken as it lies
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION))
    return picture.transpose(getattr(require("PIL.Image", extra="clip").Transpose, turn)) if turn else picture


def _eight_bits(picture: Any, transparent: Any) -> Any:
    """Grey of 16 bits as grey of 8, with an alpha channel where one grey is called transparent."""
    pil = require("PIL.Image", extra="clip")
    grey = np.asarray(picture).astype(np.float64)
    scaled = pil.fromarray(np.rint(grey.clip(0, _WHITE) * (255 / _WHITE)).astype(np.uint8))
    if isinstance(transparent, int):
        opaque = pil.fromarray(np.where(grey == transparent, 0, 255).astype(np.uint8))
        return pil.merge("LA", (scaled, opaque))
    return scaled


def _on_white(picture: Any, name: str) -> Any:
    pil = require("PIL.Image", extra="clip")
    seen = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    ground = pil.new("RGBA", seen.size, "white")
    ground.alpha_composite(seen)
    flat = ground.convert("RGB")
    if seen.getextrema()[3][0] < 255 and all(low == high == 255 for low, high in flat.getextrema()):
        warnings.warn(
            f"{name} is all white: transparent pixels are seen on white, and nothing in it is darker. Save it on a "
            "background that it stands out from",
            stacklevel=4,
        )
    return flat
