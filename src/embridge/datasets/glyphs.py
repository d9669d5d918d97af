"""Glyphs: image-text pairs that are on every machine, with no download.

matplotlib ships the DejaVu and STIX fonts. Every character they draw has a Unicode name, so each rendering is an
image with a caption written by people: ``LATIN SMALL LETTER E WITH ACUTE``, ``BLACK CHESS QUEEN``. The names of the
characters that no font here draws make a text-only corpus, larger than the set of pairs.

The split is by code point, never by rendering: a held-out character is unseen in every font.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from embridge.errors import require
from embridge.shapes import Int32, UInt8

__all__ = ["IMAGE_SIZE", "Glyphs", "Part", "caption", "drawn_code_points", "render", "split", "undrawn_names"]

Part = Literal["train", "validation", "test"]

IMAGE_SIZE = 32
_TEST_CODE_POINTS = 1_000
_VALIDATION_CODE_POINTS = 500

_FONT_PIXELS = 24
_BASELINE_PIXELS = 24
_TILE = 3 * IMAGE_SIZE
_INKLESS = frozenset({0x2800, 0xFFFC})  # a braille cell without dots, and a stand-in: fonts map them to nothing
_UNLISTED_BLOCKS = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HANGUL SYLLABLE", "TANGUT IDEOGRAPH")


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Renderings, white on black.

    Attributes:
        images: Pixels, uint8 [n, 32, 32].
        code_points: The character of each.
        fonts: The font of each, such as ``DejaVuSans``.

    Examples:
        >>> render([0x265B], one_each=True).captions
        ['black chess queen']
    """

    images: UInt8[np.ndarray, "n 32 32"]
    code_points: Int32[np.ndarray, " n"]
    fonts: tuple[str, ...]

    @property
    def captions(self) -> list[str]:
        """The caption of every rendering (lower case; see `caption`)."""
        return [caption(int(c)) for c in self.code_points]

    @property
    def ids(self) -> list[str]:
        """A unique id for every rendering: ``U+00E9/DejaVuSans``."""
        return [f"U+{c:04X}/{font}" for c, font in zip(self.code_points, self.fonts, strict=True)]

    def take(self, rows: np.ndarray) -> Glyphs:
        """Those rows, in that order."""
        return Glyphs(self.images[rows], self.code_points[rows], tuple(self.fonts[int(i)] for i in rows))


def caption(code_point: int) -> str:
    """The Unicode name in lower case.

    Args:
        code_point: A named character.

    Returns:
        Its name.

    Examples:
        >>> caption(0x265B)
        'black chess queen'
    """
    return unicodedata.name(chr(code_point)).lower()


@cache
def drawn_code_points() -> tuple[int, ...]:
    """Every named, visible character that at least one of the fonts draws, in order.

    Returns:
        About 7,360 code points.

    Examples:
        >>> 0x265B in drawn_code_points()
        True
    """
    return tuple(sorted({c for font in _font_files() for c in _charmap(font)}))


def split(code_points: Iterable[int] | None = None) -> dict[Part, list[int]]:
    """Code points by part: 1,000 for test, 500 for validation, the rest for training.

    The order is that of a hash of the code point, so it depends neither on a random generator nor on a platform.

    Args:
        code_points: What to split; all that are drawn where None.

    Returns:
        Code points by part, each in order.

    Examples:
        >>> {part: len(found) for part, found in split(range(0x4E00, 0x5400)).items()}
        {'test': 1000, 'validation': 500, 'train': 36}
    """
    ranked = sorted(drawn_code_points() if code_points is None else code_points, key=_rank)
    cut = _TEST_CODE_POINTS + _VALIDATION_CODE_POINTS
    return {
        "test": sorted(ranked[:_TEST_CODE_POINTS]),
        "validation": sorted(ranked[_TEST_CODE_POINTS:cut]),
        "train": sorted(ranked[cut:]),
    }


def render(code_points: Iterable[int] | None = None, *, one_each: bool = False) -> Glyphs:
    """Draw characters in every font that has them; all of them are about 54,600 images and take seconds.

    Glyphs that leave no ink are left out.

    Args:
        code_points: The characters; all that are drawn where None.
        one_each: Keep one rendering a character, that of the first font that has it (DejaVu Sans upright before all).

    Returns:
        The renderings, by code point.

    Examples:
        >>> render([0x41, 0x42], one_each=True).ids
        ['U+0041/DejaVuSans', 'U+0042/DejaVuSans']
    """
    wanted = None if code_points is None else {int(c) for c in code_points}
    drawn: list[tuple[int, str, np.ndarray]] = []
    done: set[int] = set()
    for path in _font_files():
        own = _charmap(path) if wanted is None else _charmap(path) & wanted
        for code_point, image in _draw(path, sorted(own - done if one_each else own)):
            drawn.append((code_point, path.stem, image))
            done.add(code_point)
    drawn.sort(key=lambda row: row[0])
    images = np.stack([row[2] for row in drawn]) if drawn else np.empty((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    return Glyphs(images, np.array([row[0] for row in drawn], np.int32), tuple(row[1] for row in drawn))


def undrawn_names() -> list[str]:
    """Captions of the named characters that no font here draws: the text-only corpus.

    Names that only count an ideograph or spell a Hangul syllable (``cjk unified ideograph-4e00``) are left out.

    Returns:
        About 26,000 names.

    Examples:
        >>> len(undrawn_names()) > 20_000
        True
    """
    drawn = set(drawn_code_points())
    names = (unicodedata.name(chr(c), "") for c in range(0x110000) if c not in drawn)
    return sorted({name.lower() for name in names if name and not name.startswith(_UNLISTED_BLOCKS)})


def _rank(code_point: int) -> bytes:
    return hashlib.sha256(f"glyph U+{code_point:04X}".encode()).digest()


def _font_files() -> list[Path]:
    matplotlib = require("matplotlib", extra="demo")
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    files = [*folder.glob("DejaVu*.ttf"), *folder.glob("STIX*.ttf")]
    return sorted(files, key=lambda p: (p.stem != "DejaVuSans", p.stem))


@cache
def _charmap(path: Path) -> frozenset[int]:
    """The named, visible characters of a font."""
    mapped = require("matplotlib.ft2font", extra="demo").FT2Font(str(path)).get_charmap()
    named = {c for c in mapped if unicodedata.name(chr(c), "") and unicodedata.category(chr(c))[0] not in "ZC"}
    return frozenset(named - _INKLESS)


def _draw(path: Path, code_points: Sequence[int]) -> Iterable[tuple[int, np.ndarray]]:
    """Centred across, on one baseline, so that height stays part of the picture; what is too big is scaled down.

    All are drawn on one tall canvas, a tile each with room around it: a canvas each takes longer than the drawing.
    """
    image_font, image_draw = require("PIL.ImageFont", extra="demo"), require("PIL.ImageDraw", extra="demo")
    canvas = require("PIL.Image", extra="demo").new("L", (IMAGE_SIZE, _TILE * max(1, len(code_points))))
    pen = image_draw.Draw(canvas).draw
    font_of = cache(lambda pixels: image_font.truetype(str(path), pixels))
    for tile, code_point in enumerate(code_points):
        mask, (left, top) = font_of(_FONT_PIXELS).getmask2(chr(code_point), "L", anchor="ls")
        if (extent := max(mask.size)) > IMAGE_SIZE:
            pixels = max(4, int(_FONT_PIXELS * IMAGE_SIZE / extent))
            mask, (left, top) = font_of(pixels).getmask2(chr(code_point), "L", anchor="ls")
        width, height = mask.size
        x = round((IMAGE_SIZE - width) / 2 - left) + left
        y = min(max(_BASELINE_PIXELS, -top), IMAGE_SIZE - top - height) + top
        pen.draw_bitmap((x, y + tile * _TILE + IMAGE_SIZE), mask, 255)
    tiles = np.asarray(canvas).reshape(-1, _TILE, IMAGE_SIZE)[:, IMAGE_SIZE : 2 * IMAGE_SIZE].copy()
    return ((code_point, image) for code_point, image in zip(code_points, tiles, strict=False) if image.any())
