"""Paths of images in tables: one file has one spelling."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from embridge.errors import InvalidInput

__all__ = ["file_key", "require_one_spelling"]

_PROBED = 100


def require_one_spelling(items: Sequence[str], folder: Path, where: Callable[[int], str]) -> None:
    """Refuse two paths of one file, such as ``a.jpg``, ``./a.jpg`` and a link to it: it would be two items, and rivals.

    Args:
        items: Paths that count from the folder, or ids, of which nothing is required: none of the first names a file then.
        folder: The folder.
        where: Says where a row stands.

    Raises:
        InvalidInput: Two paths name one file.
    """
    first = dict(zip(reversed(items), reversed(range(len(items))), strict=True))
    distinct = sorted(first, key=first.__getitem__)
    if not any((folder / item).is_file() for item in distinct[:_PROBED]):
        return
    seen: dict[Hashable, str] = {}
    for item in distinct:
        other = seen.setdefault(file_key(folder / item), item)
        if other != item:
            raise InvalidInput(
                f"{where(first[item])}: {item!r} is the file that {where(first[other])} calls {other!r}; write its path one way"
            )


def file_key(path: Path) -> Hashable:
    """What two paths of one file share: the file itself, or the path where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return str(path)
    return status.st_dev, status.st_ino
