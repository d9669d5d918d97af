"""Writing that is whole or not at all: a temporary name, fsync, rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embridge.errors import InvalidInput

__all__ = ["atomic_file", "atomic_folder", "refuse_foreign_folder", "require_file"]


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the name only if the block ends well.

    Args:
        path: The file to write or to replace.

    Yields:
        Where to write.

    Raises:
        InvalidInput: A part of the way to it is a file.

    Examples:
        >>> with atomic_file("example.txt") as temporary:
        ...     _ = temporary.write_text("whole")
    """
    path = Path(path)
    _make_parent(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str, *, marker: str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it takes the name only if the block ends well.

    A crash between the two renames leaves the old folder beside the new name as ``.NAME.old``, and the next write restores
    it first.

    Args:
        path: The folder to write or to replace.
        marker: The file that shows that an existing folder is one of the same kind and may be replaced.

    Yields:
        Where to write.

    Raises:
        InvalidInput: There is something else: a file, or a folder with content but without the marker.

    Examples:
        >>> with atomic_folder("example", marker="kind.json") as temporary:
        ...     _ = (temporary / "kind.json").write_text("{}")
    """
    path = Path(path)
    _make_parent(path)
    previous = path.parent / f".{path.name}.old"
    if previous.exists() and not path.exists():
        os.replace(previous, path)
    refuse_foreign_folder(path, marker=marker)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        for file in temporary.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # some writers make files that only their owner reads
            _sync(file)
        _sync(temporary)
        shutil.rmtree(previous, ignore_errors=True)
        if path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
        _sync(path.parent)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_foreign_folder(path: Path | str, *, marker: str) -> None:
    """Refuse to write where something else is.

    Args:
        path: The folder to be written.
        marker: The file that a folder of the same kind holds.

    Raises:
        InvalidInput: It is a file, or a folder with content but without the marker.

    Examples:
        >>> refuse_foreign_folder("nothing-there", marker="kind.json")
    """
    path = Path(path)
    if path.is_file():
        raise InvalidInput(f"{path} is a file; a folder is to be written there. Choose another name")
    if path.is_dir() and any(path.iterdir()) and not (path / marker).exists():
        raise InvalidInput(
            f"{path} holds other things (no {marker} in it) and is not overwritten; choose a new or an empty folder"
        )


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


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(
            f"{path} cannot be written: a part of the way to it is a file. Choose another name"
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
