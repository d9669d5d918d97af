"""Small JSON documents that a database keeps beside the rows, changed by compare and swap."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, Any, Protocol, final, runtime_checkable

from embridge.atomic_write import atomic_file
from embridge.errors import InvalidInput, StoreError
from embridge.space import Space
from embridge.stores.places import Declaration

__all__ = [
    "DECLARATIONS",
    "JOURNAL",
    "STATE",
    "Documents",
    "FileDocuments",
    "MemoryDocuments",
    "change_declarations",
    "declarations",
]

DECLARATIONS, STATE = "declarations", "state"
JOURNAL = "journal/"
"""Begins the name of an entry of a rollout's journal, which nobody changes once the next ones follow; its number is the rest."""
_SCHEMA = "embridge.documents/1"
_ATTEMPTS = 50

Document = Mapping[str, Any]
"""JSON: text, numbers, truths, None, lists and objects."""


@runtime_checkable
class Documents(Protocol):
    """Documents by name. Of several writers that expect the same document, exactly one wins."""

    def read(self, name: str) -> dict[str, Any] | None:
        """The document, or None where there is none."""
        ...

    def swap(self, name: str, expected: Document | None, new: Document) -> bool:
        """Write the new document if the present one equals the expected one, None for none; False where it does not."""
        ...


@final
class MemoryDocuments:
    """Documents of one process.

    Examples:
        >>> documents = MemoryDocuments()
        >>> documents.swap("state", None, {"step": 1}), documents.swap("state", None, {"step": 2})
        (True, False)
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._lock = Lock()

    def read(self, name: str) -> dict[str, Any] | None:
        text = self._texts.get(name)
        return None if text is None else json.loads(text)

    def swap(self, name: str, expected: Document | None, new: Document) -> bool:
        with self._lock:
            if self.read(name) != expected:
                return False
            self._texts[name] = json.dumps(new)
            return True


@final
class FileDocuments:
    """Documents in one JSON file, for databases that keep none themselves and for users who may only read.

    A lock beside the file keeps writers apart, of all processes of one machine.

    Args:
        path: The file; made with the first document.

    Raises:
        StoreError: The file is none of ours, or is damaged.

    Examples:
        >>> FileDocuments("declared.json").swap("state", None, {"step": 1})
        True
        >>> FileDocuments("declared.json").read("state")
        {'step': 1}
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def read(self, name: str) -> dict[str, Any] | None:
        return self._all().get(name)

    def swap(self, name: str, expected: Document | None, new: Document) -> bool:
        with locked(self.path):
            documents = self._all()
            if documents.get(name) != expected:
                return False
            text = json.dumps({"schema": _SCHEMA, "documents": documents | {name: dict(new)}}, indent=2)
            with atomic_file(self.path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            return True

    def _all(self) -> dict[str, Any]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error
        try:
            written = json.loads(text)
            if written["schema"] != _SCHEMA or not all(isinstance(one, dict) for one in written["documents"].values()):
                raise ValueError("it is of another schema")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"{self.path} holds no declarations of embridge ({error}); name another file, or restore it from a copy"
            ) from error
        return dict(written["documents"])


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock beside a path, which keeps the processes of one machine apart."""
    try:
        with path.with_name(path.name + ".lock").open("a+b") as handle:
            _lock(handle)
            yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error


def _lock(handle: IO[bytes]) -> None:
    """Wait for the lock, which ends with the handle, or with the process."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
        return
    fcntl.flock(handle, fcntl.LOCK_EX)


def declarations(documents: Documents) -> dict[Space, Declaration]:
    """What has been declared, by space, in that order.

    Args:
        documents: Where it stands.

    Returns:
        The declarations.

    Raises:
        InvalidInput: The document is damaged.

    Examples:
        >>> declarations(MemoryDocuments())
        {}
    """
    return _of(documents.read(DECLARATIONS))


def change_declarations(
    documents: Documents, change: Callable[[dict[Space, Declaration]], dict[Space, Declaration]]
) -> dict[Space, Declaration]:
    """Change what has been declared, whoever else does so meanwhile.

    Args:
        documents: Where it stands.
        change: Gives the new declarations for the present ones; called again where someone else was first.

    Returns:
        The new declarations.

    Raises:
        StoreError: Others are first again and again.

    Examples:
        >>> from embridge.stores.places import Place
        >>> documents, space = MemoryDocuments(), Space("toy", "1", 2)
        >>> _ = change_declarations(documents, lambda held: held | {space: Declaration(space, Place("items"))})
        >>> [space.model for space in declarations(documents)]
        ['toy']
    """
    for _ in range(_ATTEMPTS):
        document = documents.read(DECLARATIONS)
        present = _of(document)
        changed = change(dict(present))
        if changed == present:
            return present
        if documents.swap(DECLARATIONS, document, {"declarations": [one.to_dict() for one in changed.values()]}):
            return changed
    raise StoreError(f"declarations were changed by others {_ATTEMPTS} times in a row; try again")


def _of(document: Document | None) -> dict[Space, Declaration]:
    written = (document or {}).get("declarations", [])
    if not isinstance(written, list):
        raise InvalidInput(f"declarations are a list, came {written!r:.200}")
    return {one.space: one for one in map(Declaration.from_dict, written)}
