"""Writing that is whole or not at all: a temporary name, fsync, rename."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from embridge.atomic_write._folder import atomic_folder, refuse_foreign_folder, whole_folder
from embridge.atomic_write._pair import atomic_pair, descriptions
from embridge.atomic_write._temporary import is_leftover, locked, sync, temporary_file, temporary_folder
from embridge.errors import InvalidInput

_LOOKED_AT_BYTES = 1 << 16

__all__ = [
    "atomic_file",
    "atomic_folder",
    "atomic_pair",
    "descriptions",
    "is_leftover",
    "locked",
    "refuse_foreign_file",
    "refuse_foreign_folder",
    "require_file",
    "temporary_folder",
    "whole_folder",
]


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the name only if the block ends well.

    Args:
        path: The file to write or to replace.

    Yields:
        Where to write.

    Raises:
        InvalidInput: A folder has that name, it cannot be written there, or the disk is full.

    Examples:
        >>> with atomic_file("example.txt") as temporary:
        ...     _ = temporary.write_text("whole")
    """
    path = Path(path)
    with temporary_file(path) as temporary:
        yield temporary
        temporary.chmod(0o644)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)


def refuse_foreign_file(path: Path | str, *, marks: Collection[bytes], what: str) -> None:
    """Refuse to write where a file of another kind is; best before hours of work.

    Args:
        path: The file to be written.
        marks: Of these, a file of the same kind holds one near its beginning or its end.
        what: What the message says is to be written.

    Raises:
        InvalidInput: There is a folder, or a file that is not empty and holds none of them.

    Examples:
        >>> refuse_foreign_file("nothing-there.json", marks=(b"kind",), what="a report")
    """
    path = Path(path)
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; {what} is to be written there. Choose another name")
    if not path.exists():
        return
    with path.open("rb") as file:
        looked_at = file.read(_LOOKED_AT_BYTES)
        file.seek(max(0, path.stat().st_size - _LOOKED_AT_BYTES))
        looked_at += file.read()
    if looked_at and not any(mark in looked_at for mark in marks):
        raise InvalidInput(f"{path} is not {what} and is not overwritten; choose another name")


def require_file(path: Path | str, expected: str) -> None:
    """Refuse a path at which nothing is, so that a missing file is not taken for a damaged one.

    Args:
        path: The file.
        expected: What the message says was expected there.

    Raises:
        InvalidInput: Nothing is there.

    Examples:
        >>> require_file("none.npy", "vectors")
        Traceback (most recent call last):
        embridge.errors.InvalidInput: none.npy does not exist; expected vectors
    """
    if not Path(path).exists():
        raise InvalidInput(f"{path} does not exist; expected {expected}")
