"""Qrels: graded judgements as TREC and BEIR publish them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from embridge.atomic_write import require_file
from embridge.datasets._rows import kind_of, require_columns
from embridge.datasets.tables import Table, finite_number, read_table
from embridge.datasets.text_lines import decoded_lines
from embridge.errors import InvalidInput

__all__ = ["read_qrels"]

_TREC = ("query", "iteration", "item", "grade")
_BEIR = ("query-id", "corpus-id", "score")
_TABLE = ("query", "document", "score")
_BLANKS = " \t\r\n\f\v"
_BETWEEN = re.compile(f"[{_BLANKS}]+")  # not str.split, which also cuts ids at spaces that other alphabets use
_SHOWN = 40


def read_qrels(path: Path | str, *, names: Mapping[str, str] | None = None) -> list[tuple[str, str, float]]:
    """Read graded judgements as TREC and BEIR publish them: what `Relevance.from_grades` takes.

    TREC: four columns between white space, query, iteration, item and grade, without a header; ids may hold spaces where tabs
    stand between the columns. BEIR: three between tabs, under the header query-id, corpus-id, score. The first line says which
    one it is. Blank lines are skipped. Or a table, csv, jsonl or Parquet by its name, with these three columns or with query,
    document and score.

    Args:
        path: The file; text is UTF-8, and may be gzipped (.gz).
        names: From query, document and score to the file's columns: it is a table then.

    Returns:
        (query id, item id, grade) rows, in order.

    Raises:
        InvalidInput: The file is missing, not UTF-8 text or without a judgement, or a line has another number of columns, a
            blank one, or a grade that is not a finite number.
        MissingSetting: A table has other columns.

    Examples:
        >>> _ = Path("qrels.trec").write_text("q1 0 d7 2\\nq1 0 d9 0\\n")
        >>> read_qrels("qrels.trec")
        [('q1', 'd7', 2.0), ('q1', 'd9', 0.0)]
        >>> _ = Path("qrels.csv").write_text("query,document,score\\nq1,d7,2\\n")
        >>> read_qrels("qrels.csv")
        [('q1', 'd7', 2.0)]
    """
    path = Path(path)
    require_file(path, "qrels as TREC or BEIR write them")
    if names or kind_of(path) in ("csv", "jsonl", "parquet"):
        found = _from_table(read_table(path, names=names))
    else:
        lines = decoded_lines(path)
        first = next(lines, (1, ""))
        is_beir = tuple(cell.strip() for cell in first[1].split("\t")) == _BEIR
        whole = chain([first], lines)
        rows, expected = (_beir(path, whole), _BEIR) if is_beir else (_trec(whole), _TREC)
        found = [_judgement(partial("{}, line {}".format, path, line), cells, expected) for line, cells in rows]
    if not found:
        raise InvalidInput(f"{path} holds no judgement; expected lines of {', '.join(_TREC)}")
    return found


def _from_table(table: Table) -> list[tuple[str, str, float]]:
    names = _BEIR if set(_BEIR) <= set(table.names) else _TABLE
    require_columns(table.path, names, table.names)
    columns = table.columns(names[:2], "id") | table.columns(names[2:])
    cells = zip(*(columns[name] for name in names), strict=True)
    return [_judgement(partial(table.where, row), one, names) for row, one in enumerate(cells)]


def _trec(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    for line, text in lines:
        if stripped := text.strip(_BLANKS):
            apart = stripped.split("\t")
            yield (
                line,
                [cell.strip(_BLANKS) for cell in apart] if len(apart) == len(_TREC) else _BETWEEN.split(stripped),
            )


def _beir(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """Read as BEIR itself reads and writes it: an id with a quote in it stands between quotes."""
    reader = csv.reader((text for _, text in lines), delimiter="\t", strict=True)
    next(reader)
    try:
        for cells in reader:
            if any(stripped := [cell.strip() for cell in cells]):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise InvalidInput(f"{path} cannot be read as qrels, line {reader.line_num}: {error}") from error


def _judgement(where: Callable[[], str], cells: Sequence[str], expected: tuple[str, ...]) -> tuple[str, str, float]:
    if len(cells) != len(expected) or not all(cells):
        came = f"{len(cells)} columns" if len(cells) != len(expected) else "a blank one"
        more = len(cells) > len(expected) == len(_TREC)
        advice = "; put tabs between them where ids hold spaces" if more else ""
        raise InvalidInput(f"{where()}: expected {len(expected)} columns ({', '.join(expected)}), came {came}{advice}")
    query, *_, item, text = cells
    grade = finite_number(text)
    if grade is None:
        raise InvalidInput(f"{where()}: expected a finite number as grade, came {text[:_SHOWN]!r}")
    return query, item, grade
