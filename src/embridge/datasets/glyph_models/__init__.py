"""The two tiny CLIPs that the package carries; ``scripts/train_glyph_models.py`` makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["folder"]


def folder(name: Literal["old", "new"]) -> Path:
    """The folder of the old (64-d) or the new (128-d) model, for ``clip:FOLDER``."""
    return Path(__file__).parent / name
