"""Folders of files that belong together: written into another folder, which then takes the place of the earlier files.

Where there is a folder already, it stays the same folder, so that links to it, mounts, and whatever else is in it stay too.
The new files are prepared in a folder within it, and a rename to `_NEXT` makes them the ones that count: from then on
they are moved up, one by one, by this process or by whoever comes next.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from embridge.atomic_write._temporary import is_leftover, locked, sync, temporary_folder
from embridge.errors import InvalidInput

__all__ = ["atomic_folder", "refuse_foreign_folder", "whole_folder"]

_NEXT = ".embridge-next"
_SPENT, _LINK, _OBSOLETE = f"{_NEXT}-spent", f"{_NEXT}-link", "embridge-obsolete.json"


@contextmanager
def atomic_folder(
    path: Path | str, *, marker: str, own: Collection[str] = (), keep: Collection[str] = ()
) -> Iterator[Path]:
    """Yield a temporary folder; its files take their place in ``path``, all or none, only if the block ends well.

    Other files in the folder stay as they are. A process that is killed leaves the earlier files or the new ones, for
    readers that use `whole_folder`; the next write or read finishes what was begun.

    Args:
        path: The folder to write, or to write into; a link to a folder is followed.
        marker: The file that shows that an existing folder is one of the same kind.
        own: Patterns of names of this kind: what an earlier write left of them goes, if the new one has no such file; of
            folders, in any case.
        keep: Names that stay as they are, even if the block writes them.

    Yields:
        Where to write.

    Raises:
        InvalidInput: There is something else: a file, a link to nothing, or a folder with content but without the marker.

    Examples:
        >>> with atomic_folder("example", marker="kind.json") as temporary:
        ...     _ = (temporary / "kind.json").write_text("{}")
    """
    path = Path(path)
    _restore(path, marker)
    refuse_foreign_folder(path, marker=marker)
    with temporary_folder(path, within=path.is_dir()) as temporary:
        yield temporary
        _settle(temporary)
        for name in keep:
            (temporary / name).unlink(missing_ok=True)
        if _moved(temporary, path):
            return
        _require_same_kinds(temporary, path)
        with locked(path):
            _finish(path)
            obsolete = [name for name in _matching(path, own) if _goes(temporary, path, name) and name not in keep]
            (temporary / _OBSOLETE).write_text(json.dumps(obsolete), encoding="utf-8")
            sync(temporary / _OBSOLETE)
            os.replace(temporary, path / _NEXT)
            sync(path)
            _finish(path)


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Yield a folder of `atomic_folder` to read from; until the block ends, no writer changes its files.

    Args:
        path: The folder; what is no folder is yielded as it is.

    Yields:
        The folder; one within it, where a writer was killed and what it began cannot be finished here.

    Examples:
        >>> with whole_folder("nowhere") as folder:
        ...     print(folder)
        nowhere
    """
    path = Path(path)
    if not path.is_dir():
        yield path
        return
    if (path / _NEXT).exists():
        with locked(path), suppress(OSError):  # one that may not write here reads them where they are
            _finish(path)
    with locked(path, shared=True):
        yield path / _NEXT if (path / _NEXT).exists() else path


def refuse_foreign_folder(path: Path | str, *, marker: str) -> None:
    """Refuse to write where something else is.

    Args:
        path: The folder to be written.
        marker: The file that a folder of the same kind holds.

    Raises:
        InvalidInput: It is a file, a link to nothing, or a folder with content but without the marker.

    Examples:
        >>> refuse_foreign_folder("nothing-there", marker="kind.json")
    """
    path = Path(path)
    if path.is_file():
        raise InvalidInput(f"{path} is a file; a folder is to be written there. Choose another name")
    if path.is_symlink() and not path.exists():
        raise InvalidInput(
            f"{path} is a link to {path.readlink()}, where nothing is; make that folder, or remove the link"
        )
    if not path.is_dir() or (path / marker).exists() or (path / _NEXT / marker).exists():
        return
    if any(not is_leftover(entry.name) for entry in path.iterdir()):
        raise InvalidInput(
            f"{path} holds other things (no {marker} in it) and is not overwritten; choose a new or an empty folder"
        )


def _restore(path: Path, marker: str) -> None:
    """Earlier versions left the old folder under this name when they were killed between two renames."""
    previous = path.parent / f".{path.name}.old"
    if (previous / marker).exists():
        if path.exists():
            shutil.rmtree(previous, ignore_errors=True)
        else:
            os.replace(previous, path)


def _moved(new: Path, path: Path) -> bool:
    """Whether there was nothing, and is the new folder now."""
    if path.exists():
        return False
    try:
        os.replace(new, path)
    except OSError:
        if path.is_dir():
            return False  # another process has just made it
        raise
    sync(path.parent)
    return True


def _settle(folder: Path) -> None:
    folder.chmod(0o755)
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o644)  # some writers make files that only their owner reads
        sync(file)
    sync(folder)


def _matching(folder: Path, patterns: Collection[str]) -> list[str]:
    return sorted({found.relative_to(folder).as_posix() for pattern in patterns for found in folder.glob(pattern)})


def _goes(new: Path, old: Path, name: str) -> bool:
    return (old / name).is_dir() or not (new / name).exists()


def _require_same_kinds(new: Path, old: Path) -> None:
    for entry in new.rglob("*"):
        there = old / entry.relative_to(new)
        _require_within(old, there)
        if there.exists() and there.is_dir() != entry.is_dir():
            kinds = ("folder", "file") if there.is_dir() else ("file", "folder")
            raise InvalidInput(f"{there} is a {kinds[0]}; a {kinds[1]} of that name is to be written. Move it away")


def _finish(folder: Path) -> None:
    """Move up what counts already. It stays where it is until all is done, for readers, and for whoever comes next."""
    shutil.rmtree(folder / _SPENT, ignore_errors=True)
    (folder / _LINK).unlink(missing_ok=True)
    staged = folder / _NEXT
    if not staged.is_dir():
        return
    for name in _obsolete(staged):
        _require_within(folder, folder / name)
        _remove(folder / name)
    for source in sorted(staged.rglob("*")):
        target = folder / source.relative_to(staged)
        _require_within(folder, target)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        elif source.name != _OBSOLETE:
            _link(source, folder / _LINK)
            os.replace(folder / _LINK, target)
    sync(folder)
    os.replace(staged, folder / _SPENT)
    shutil.rmtree(folder / _SPENT, ignore_errors=True)


def _require_within(folder: Path, path: Path) -> None:
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise InvalidInput(f"{path.parent} leads out of {folder}, which is to be written into; remove that link")


def _obsolete(staged: Path) -> list[str]:
    """What the writer found to be in the way; a folder from elsewhere may hold anything under this name."""
    try:
        names = json.loads((staged / _OBSOLETE).read_text(encoding="utf-8"))
        paths = [PurePosixPath(name) for name in names]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{staged} is not what a killed writer leaves ({error}); remove it") from error
    if outside := [path for path in paths if path.is_absolute() or ".." in path.parts or not path.parts]:
        raise InvalidInput(f"{staged} is not what a killed writer leaves: it names {str(outside[0])!r}; remove it")
    return [str(path) for path in paths]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)
        sync(target)
