"""Where benchmarks and tests find real data, and what they say where there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["data_folder", "require_data"]


def data_folder() -> Path:
    """``EMBRIDGE_DATA``, or the folder ``shared/data`` beside the checkout."""
    return Path(os.environ.get("EMBRIDGE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def require_data(*names: str) -> Path:
    """The data folder, or leave with a line that says which files are missing."""
    folder = data_folder()
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        sys.exit(f"skipped: {', '.join(missing)} not found under {folder}; set EMBRIDGE_DATA")
    return folder
