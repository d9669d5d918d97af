"""Lines of UTF-8 text, plain or gzipped, read one at a time; a line that is not UTF-8 is named by its number."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from embridge.atomic_write import require_file
from embridge.errors import InvalidInput

__all__ = ["decoded_lines", "read_captions"]


def read_captions(path: Path | str) -> list[str]:
    """Read the distinct lines of a text, stripped, in the order of their first appearance; blank ones are dropped.

    Args:
        path: UTF-8 text, plain or gzipped (.gz), one caption a line.

    Returns:
        The captions.

    Raises:
        InvalidInput: The file is missing, not UTF-8 text, or without a caption.

    Examples:
        >>> _ = Path("captions.txt").write_text("a black cat\\n\\n two boats\\na black cat\\n")
        >>> read_captions("captions.txt")
        ['a black cat', 'two boats']
    """
    lines = (line for _, text in decoded_lines(path) for line in text.split("\r"))
    captions = list(dict.fromkeys(line for raw in lines if (line := raw.strip())))
    if not captions:
        raise InvalidInput(f"{path} holds no caption; expected text, one caption a line")
    return captions


def decoded_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Read a text a line at a time.

    Args:
        path: UTF-8 text, plain or gzipped (.gz). A mark of the byte order is dropped.

    Returns:
        (number, line), counted from 1, each line with its end.

    Raises:
        InvalidInput: The file is missing or cannot be read, or a line is not UTF-8; the message names it.

    Examples:
        >>> _ = Path("captions.txt").write_bytes(b"a black cat\\r\\ntwo boats")
        >>> list(decoded_lines("captions.txt"))
        [(1, 'a black cat\\r\\n'), (2, 'two boats')]
    """
    path = Path(path)
    require_file(path, "UTF-8 text, one caption a line")
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.decode("utf-8")
                yield number, line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} cannot be read as UTF-8 text, line {number}: {error.reason} at its byte {error.start}; save it as UTF-8"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} cannot be read as UTF-8 text after line {number}: {error}") from error
