"""Rows of csv, tsv and JSON lines, read one at a time, each with the number of its line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from embridge.datasets.text_lines import decoded_lines
from embridge.errors import InvalidInput, MissingSetting

__all__ = ["cells_of", "kind_of", "objects_of", "refuse_columns", "require_columns", "require_row"]

_KINDS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_OTHERS = (".json", ".xlsx", ".xls", ".ods", ".arrow", ".feather", ".npy", ".npz", ".zip")
_QUOTED_LATE = re.compile(r'\s+"')


def kind_of(path: Path) -> str:
    """What a file is by its name: csv, tsv, jsonl or parquet, or what else its suffix says; ``.gz`` is looked through.

    Raises `InvalidInput` for the suffix of something that is known not to be a table of text.
    """
    zipped = path.suffix == ".gz"
    suffix = (Path(path.stem).suffix if zipped else path.suffix).lower()
    if suffix in _OTHERS or (zipped and suffix == ".parquet"):
        advice = "one object a line, as .jsonl" if suffix == ".json" else "csv, tsv, jsonl or parquet"
        raise InvalidInput(f"{path}: {suffix}{'.gz' if zipped else ''} is not read here; save it as {advice}")
    return _KINDS.get(suffix, suffix)


def cells_of(path: Path, *, tabs: bool) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv, or of a tsv, which has no quotes, the header first; ``[]`` for a blank line."""
    lines = _Lines(path)
    # strict: a quote that is never closed would otherwise swallow all rows after it
    quoting: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    rows = csv.reader(lines, **(quoting if tabs else {"strict": True, "skipinitialspace": True}))
    begins = 1
    try:
        for row in rows:
            if lines.quoted:
                if not tabs and any(map(_QUOTED_LATE.match, row)):
                    raise InvalidInput(
                        f"{path}, line {begins}: white space stands before a quote; begin the cell with its quote"
                    )
                lines.quoted = False
            yield begins, row
            begins = rows.line_num + 1
    except csv.Error as error:
        raise InvalidInput(
            f"{path} cannot be read as {'tsv' if tabs else 'csv'}, line {begins}: {_why(error)}"
        ) from error


def objects_of(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The objects of JSON lines, one a line; None for a blank line."""
    for number, line in decoded_lines(path):
        if not line.strip():
            yield number, None
            continue
        try:
            row = _DECODER.decode(line.strip())
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
            if isinstance(error, json.JSONDecodeError):
                reason = f"{error.msg} at column {error.colno}"
            raise InvalidInput(f"{path}, line {number} is no JSON: {reason}{_advice(line)}") from error
        if not isinstance(row, dict):
            raise InvalidInput(
                f"{path}, line {number}: expected an object {{...}}, came {type(row).__name__}{_advice(line)}"
            )
        yield number, row


def require_row(path: Path, line: int, row: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a row with more cells than the header: an unquoted comma would move values into the wrong column."""
    if len(row) > len(names):
        raise InvalidInput(f"{path}, line {line}: {len(row)} cells, the header {len(names)}; quote cells with commas")


def require_columns(where: object, wanted: Collection[str], present: Sequence[str]) -> None:
    """Refuse a table without these columns; raises `MissingSetting`, which lists those that it has."""
    missing = [name for name in wanted if name not in present]
    if missing:
        refuse_columns(where, f"column{'s' * (len(missing) > 1)} {', '.join(missing)}", present)


def refuse_columns(where: object, expected: str, present: Sequence[str]) -> NoReturn:
    """Raise `MissingSetting` for a table whose columns are others than expected."""
    mark = next((mark for mark in (";", "\t", "|", ",") if len(present) == 1 and mark in present[0]), "")
    advice = "say what they are called with columns"
    if mark:
        advice = f"is {mark!r} between its columns? Save it as csv with commas or tsv with tabs"
    raise MissingSetting(f"{where}: expected {expected}; came {list(present)}; {advice}")


class _Lines:
    """The lines of a file, of which each lone CR ends one too, and whether a quote stood in those taken last."""

    def __init__(self, path: Path) -> None:
        self.path, self.quoted = path, False

    def __iter__(self) -> Iterator[str]:
        for _, line in decoded_lines(self.path):
            if '"' in line:
                self.quoted = True
            if "\r" not in line or line.find("\r") == len(line) - 2:
                yield line
            else:
                yield from filter(None, re.split("(?<=\r)(?!\n)", line))


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        repeated = next(name for i, (name, _) in enumerate(pairs) if name in {other for other, _ in pairs[:i]})
        raise ValueError(f"the key {repeated!r} stands there twice")
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_once_each)


def _why(error: csv.Error) -> str:
    reason = str(error)
    if "unexpected end of data" in reason:
        return f"{reason}: a quote is opened there and never closed"
    return f"{reason}; write texts as long as that in jsonl or Parquet" if "field limit" in reason else reason


def _advice(line: str) -> str:
    return "; write one object a line, without brackets around all" if line.lstrip()[:1] in ("[", "]") else ""
