"""Captions as a text file, one a line, plain or gzipped."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

from embridge.errors import InvalidInput
from embridge.files import require_file

__all__ = ["count_captions", "read_captions"]


def read_captions(path: Path | str) -> list[str]:
    """The distinct, non-blank lines, stripped, in the order of their first appearance; raises as `count_captions` does.

    >>> _ = Path("captions.txt").write_text("a black cat\\n\\n two boats\\na black cat\\n")
    >>> read_captions("captions.txt")
    ['a black cat', 'two boats']
    """
    return list(count_captions(path))


def count_captions(path: Path | str) -> dict[str, int]:
    """How often each distinct, non-blank line stands there, in the order of their first appearance.

    Raises `InvalidInput` for a file that is missing, not UTF-8 text, or without a caption.
    """
    path = Path(path)
    require_file(path, "UTF-8 text, one caption a line")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            captions = dict(Counter(line for raw in file if (line := raw.strip())))
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InvalidInput(f"{path} cannot be read as UTF-8 text, one caption a line: {error}") from error
    if not captions:
        raise InvalidInput(f"{path} holds no caption; expected text, one caption a line")
    return captions
