"""The two tiny CLIPs that the package carries; ``scripts/train_glyph_models.py`` makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["folder"]


def folder(name: Literal["old", "new"]) -> Path:
    """The folder of a tiny CLIP, for ``clip:FOLDER``.

    Args:
        name: ``old`` (64-d) or ``new`` (128-d).

    Returns:
        The folder, inside the package.

    Examples:
        >>> folder("old").name
        'old'
    """
    return Path(__file__).parent / name
