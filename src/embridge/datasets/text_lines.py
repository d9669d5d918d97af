"""Lines of UTF-8 text, plain or gzipped, read one at a time; a line that is not UTF-8 is named by its number."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from embridge.atomic_write import require_file
from embridge.errors import InvalidInput

__all__ = ["decoded_lines", "read_captions"]

_MARK = "\ufeff"
_BEGINNINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    b"\x1f\x8b": "a gzipped file, which is named .gz",
    b"PK\x03\x04": "a zip or a spreadsheet",
    b"PAR1": "Parquet, which is named .parquet",
}


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
        path: UTF-8 text, plain or gzipped (.gz). A mark of the byte order at its beginning is dropped.

    Returns:
        (number, line), counted from 1, each line with its end.

    Raises:
        InvalidInput: The file is missing or cannot be read, or a line is not UTF-8, holds a NUL, or begins with a mark of the
            byte order though it is not the first; the message names it.

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
                if number == 1:
                    _require_text(path, raw)
                    line = line.removeprefix(_MARK)
                if "\0" in line or line[:1] == _MARK:
                    raise InvalidInput(f"{path}, line {number}: {_unusable(line)}")
                yield number, line
    except UnicodeDecodeError as error:
        if number == 1:
            _require_text(path, raw)
        raise InvalidInput(
            f"{path} cannot be read as UTF-8 text, line {number}: {error.reason} at its byte {error.start}; save it as UTF-8"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} cannot be read as UTF-8 text after line {number}: {error}") from error


def _require_text(path: Path, raw: bytes) -> None:
    """Refuse what is known by its first bytes to be something else."""
    for beginning, what in _BEGINNINGS.items():
        if raw.startswith(beginning):
            raise InvalidInput(
                f"{path} cannot be read as UTF-8 text, line 1: it begins as {what}; save it as UTF-8 text"
            )


def _unusable(line: str) -> str:
    if "\0" in line:
        return "a NUL stands there, as in UTF-16 read for UTF-8; save the file as UTF-8 text without NULs"
    return "a mark of the byte order (U+FEFF) stands within the file, where two were joined; remove it"
