"""Files of items below a folder."""

from __future__ import annotations

from pathlib import Path

from embridge.items.missing import MissingItem

__all__ = ["file_content", "file_of_id"]

_MOST_BYTES = 256_000_000
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


def file_content(path: Path, *, root: Path | None = None) -> bytes:
    """The bytes of a file; raises `MissingItem` where it cannot be read or lies outside of the root."""
    try:
        if root is not None and not path.resolve().is_relative_to(root.resolve()):
            raise MissingItem(f"its path {str(path)!r} leads out of the folder {str(root)!r}")
        if not path.is_file():
            raise MissingItem(f"{path} is {'no file' if path.exists() else 'gone'}")
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise MissingItem(f"{path} has {size:,} bytes, more than {_MOST_BYTES:,}")
        return path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # no rights, a NUL in the path, links in a circle
        raise MissingItem(f"{str(path)!r:.200} cannot be read: {error}") from error


def file_of_id(root: Path, name: str) -> bytes:
    """The file called as the id is, with or without the suffix of an image."""
    places = [root / name, *(root / f"{name}{suffix}" for low in _SUFFIXES for suffix in (low, low.upper()))]
    try:
        found = {place.resolve(): place for place in places if place.is_file()}
    except (OSError, ValueError, RuntimeError) as error:
        raise MissingItem(f"no file can be called {name!r:.200}: {error}") from error
    if len(found) > 1:
        files = ", ".join(place.name for place in found.values())
        raise MissingItem(f"there are several files for it: {files}")
    if not found:
        file_content(root / name, root=root)
    return file_content(next(iter(found.values())), root=root)
