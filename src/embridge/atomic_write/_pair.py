"""Two files that belong together, exchanged by one rename: data, and a description that holds a digest of the data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embridge.atomic_write._temporary import locked, sync, temporary_file

__all__ = ["atomic_pair", "descriptions"]


@contextmanager
def atomic_pair(data: Path, description: Path, *, belongs: Callable[[Path, Path], bool]) -> Iterator[tuple[Path, Path]]:
    """Yield two temporary paths beside them; both take their names only if the block ends well.

    The description waits under a name of its own until the rename of the data, which decides which description counts. A
    process that is killed leaves the earlier pair or the new one, for readers that use `descriptions`.

    Args:
        data: The file that is described.
        description: The file that describes it, in the same folder.
        belongs: Whether a file of data and a description belong together.

    Yields:
        Where to write the data and the description.

    Examples:
        >>> with atomic_pair(Path("a.bin"), Path("a.json"), belongs=lambda data, description: True) as (data, description):
        ...     _ = data.write_bytes(b"1"), description.write_text("{}")
        >>> Path("a.json").read_text()
        '{}'
    """
    with temporary_file(data) as new_data, temporary_file(description) as new_description:
        yield new_data, new_description
        for file in (new_data, new_description):
            file.chmod(0o644)
            sync(file)
        waiting = _waiting(description)
        with locked(data.parent):
            if waiting.exists() and data.exists() and belongs(data, waiting):
                os.replace(waiting, description)  # of a writer that was killed
            os.replace(new_description, waiting)
            sync(data.parent)
            os.replace(new_data, data)
            os.replace(waiting, description)
            sync(data.parent)


def descriptions(description: Path) -> list[Path]:
    """Find the descriptions that may count, the newest first; the data's digest says which does.

    Open the data before, and make sure afterwards that it is still the file of that name: then no writer came between.

    Args:
        description: As for `atomic_pair`.

    Returns:
        Those that are there.

    Examples:
        >>> descriptions(Path("nowhere.json"))
        []
    """
    return [path for path in (_waiting(description), description) if path.exists()]


def _waiting(description: Path) -> Path:
    return description.with_name(f".{description.name}.next")
