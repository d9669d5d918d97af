"""Temporary names beside what is written: locked while their writer lives, removed by the next one when it is gone."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embridge.errors import InvalidInput

try:
    import fcntl
except ImportError:  # no such locks on this system: leftovers stay where they are
    fcntl = None  # type: ignore[assignment]

__all__ = ["is_leftover", "locked", "sync", "temporary_file", "temporary_folder"]

_MARK = ".embridge-"
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """A new file beside ``path``, which is removed at the end if it is still there; leftovers of the dead go first."""
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; a file is to be written there. Choose another name")
    with _refusals_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent, _prefix(path))
        temporary, handle = _claimed(path, folder=False)
    try:
        with _full_disk_named(path):
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def temporary_folder(path: Path, *, within: bool) -> Iterator[Path]:
    """Yield a new folder, which is removed at the end if it is still there; leftovers of the dead go first.

    Args:
        path: What is written.
        within: Whether it lies within ``path``, a folder that is there; else beside it.

    Yields:
        The folder.

    Raises:
        InvalidInput: It cannot be made there, or the disk is full.

    Examples:
        >>> with temporary_folder(Path("example"), within=False) as folder:
        ...     _ = folder.rename("example")
    """
    parent = path if within else path.parent
    with _refusals_named(path):
        parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(parent, _prefix(path))
        temporary, handle = _claimed(parent / path.name, folder=True)
    try:
        with _full_disk_named(path):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a folder against other writers, or with other readers; nothing is held where the file system has no locks.

    A temporary folder is its writer's alone, who holds it already.

    Args:
        folder: The folder.
        shared: Whether others may hold it so too.

    Yields:
        Nothing.

    Examples:
        >>> with locked(Path(".")):
        ...     _ = Path("alone.txt").write_text("no other writer comes between")
    """
    if is_leftover(folder.name):
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, shared=shared, wait=True)
        yield
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Have a file, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_leftover(name: str) -> bool:
    """Tell whether a name is a temporary one, which a killed process may have left.

    Args:
        name: Of a file or a folder.

    Returns:
        Whether it is.

    Examples:
        >>> is_leftover(".report.json.embridge-4f2k9a_1.json"), is_leftover("report.json")
        (True, False)
    """
    return name.startswith(".") and _MARK in name


def _prefix(path: Path) -> str:
    return f".{path.name}{_MARK}"


def _claimed(path: Path, *, folder: bool) -> tuple[Path, int]:
    """A new temporary name, locked: until it is, another writer may take it for a leftover."""
    while True:
        if folder:
            temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
            try:
                handle = os.open(temporary, os.O_RDONLY)
            except FileNotFoundError:  # it was taken for one before it could be locked
                continue
        else:
            handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=path.suffix, dir=path.parent)
            temporary = Path(name)
        _lock(handle, shared=False, wait=True)
        if temporary.exists():
            return temporary, handle
        os.close(handle)


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove what writers that are gone have left; what cannot be removed stays."""
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if entry.name.startswith(prefix)]
    for path in found:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if _lock(handle, shared=False, wait=False):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _lock(handle: int, *, shared: bool, wait: bool) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


@contextmanager
def _refusals_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(
            f"{path} cannot be written: a part of the way to it is a file. Choose another name"
        ) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror or error}. Choose another place") from error


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise InvalidInput(
            f"{path} was not written: {os.strerror(error.errno)}; make room. What was there before stands"
        ) from error
