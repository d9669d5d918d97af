"""Qrels: graded judgements as TREC and BEIR publish them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from embridge.atomic_write import require_file
from embridge.datasets.tables import finite_number
from embridge.errors import InvalidInput

__all__ = ["read_qrels"]

_TREC = ("query", "iteration", "item", "grade")
_BEIR = ("query-id", "corpus-id", "score")
_BLANKS = " \t\r\n\f\v"
_BETWEEN = re.compile(f"[{_BLANKS}]+")  # not str.split, which also cuts ids at spaces that other alphabets use
_SHOWN = 40


def read_qrels(path: Path | str) -> list[tuple[str, str, float]]:
    """Read graded judgements as TREC and BEIR publish them: what `Relevance.from_grades` takes.

    TREC: four columns between white space, query, iteration, item and grade, without a header. BEIR: three between tabs, under
    the header query-id, corpus-id, score. The first line says which one it is. Blank lines are skipped.

    Args:
        path: The file, UTF-8 text.

    Returns:
        (query id, item id, grade) rows, in order.

    Raises:
        InvalidInput: The file is missing, not UTF-8 text or without a judgement, or a line has another number of columns, a
            blank one, or a grade that is not a finite number.

    Examples:
        >>> _ = Path("qrels.trec").write_text("q1 0 d7 2\\nq1 0 d9 0\\n")
        >>> read_qrels("qrels.trec")
        [('q1', 'd7', 2.0), ('q1', 'd9', 0.0)]
    """
    path = Path(path)
    require_file(path, "qrels as TREC or BEIR write them")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = tuple(cell.strip() for cell in file.readline().split("\t"))
            file.seek(0)
            if header == _BEIR:
                found = [_row(path, line, cells, _BEIR) for line, cells in _beir(file)]
            else:
                found = [_row(path, line, cells, _TREC) for line, cells in _trec(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read as qrels: {error}") from error
    if not found:
        raise InvalidInput(f"{path} holds no judgement; expected lines of {', '.join(_TREC)}")
    return found


def _trec(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    for line, text in enumerate(file, start=1):
        if stripped := text.strip(_BLANKS):
            yield line, _BETWEEN.split(stripped)


def _beir(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Read as BEIR itself reads and writes it: an id with a quote in it stands between quotes."""
    reader = csv.reader(file, delimiter="\t", strict=True)
    next(reader)
    for cells in reader:
        if any(stripped := [cell.strip() for cell in cells]):
            yield reader.line_num, stripped


def _row(path: Path, line: int, cells: list[str], expected: tuple[str, ...]) -> tuple[str, str, float]:
    if len(cells) != len(expected) or not all(cells):
        came = f"{len(cells)} columns" if len(cells) != len(expected) else "a blank one"
        raise InvalidInput(
            f"{path}, line {line}: expected {len(expected)} columns ({', '.join(expected)}), came {came}"
        )
    query, *_, item, text = cells
    grade = finite_number(text)
    if grade is None:
        raise InvalidInput(f"{path}, line {line}: expected a finite number as grade, came {text[:_SHOWN]!r}")
    return query, item, grade
