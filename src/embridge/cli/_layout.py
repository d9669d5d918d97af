"""Laying out a table in a terminal: texts are wrapped, figures never cut, and what does not fit goes into a further part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

__all__ = ["Column", "parts"]

_LONGEST_WORD = 20  # a longer one is an id, a path or a model's name, which may be broken
_LONGEST_FIGURE = 30
_EDGES, _GAP = 2, 2


@dataclass(frozen=True, slots=True)
class Column:
    """Where a column of a table goes.

    Attributes:
        number: Which of the table's columns it is.
        width: Of its cells in a terminal.
        is_text: It holds texts, which are read from the left.
    """

    number: int
    width: int
    is_text: bool


def parts(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[Column]]:
    """Lay out a table: one part where all columns fit, else several, each with the first column.

    Args:
        columns: The heads.
        rows: The cells.
        width: Of the terminal.

    Returns:
        The columns of each part, in their order.

    Examples:
        >>> [[c.number for c in part] for part in parts(["cell", "R@1", "R@5"], [["new/old", "0.123", "0.456"]], 80)]
        [[0, 1, 2]]
        >>> [[c.number for c in part] for part in parts(["cell", "R@1", "R@5"], [["new/old", "0.123", "0.456"]], 18)]
        [[0, 1], [0, 2]]
    """
    cells = [[head, *(row[number] for row in rows)] for number, head in enumerate(columns)]
    least, most = [_longest_word(column) for column in cells], [_longest_line(column) for column in cells]
    first = min(least[0], max(width // 3, 1)) if least else 0
    groups: list[list[int]] = [[0]] if least else []
    for number in range(1, len(columns)):
        if len(groups[-1]) > 1 and _needed([first, *(least[n] for n in [*groups[-1][1:], number])]) > width:
            groups.append([0])
        groups[-1].append(number)
    texts = {n for n in range(len(columns)) if n == 0 or most[n] > _LONGEST_FIGURE}
    laid = []
    for group in groups:
        widths = _widths([first, *(least[n] for n in group[1:])], [most[n] for n in group], width)
        laid.append([Column(n, w, n in texts) for n, w in zip(group, widths, strict=True)])
    return laid


def _widths(least: Sequence[int], most: Sequence[int], width: int) -> list[int]:
    """The least of each column, and of what is left a share: first for a short first column, then for who wants little."""
    widths = list(least)
    spare = max(width - _needed(least), 0)
    by_want = sorted(range(len(widths)), key=lambda n: (n > 0 or most[0] > _LONGEST_FIGURE, most[n] - least[n]))
    for place, number in enumerate(by_want):
        alone = number == 0 and most[0] <= _LONGEST_FIGURE
        given = max(min(most[number] - least[number], spare if alone else spare // (len(by_want) - place)), 0)
        widths[number] += given
        spare -= given
    return widths


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + _EDGES + _GAP * (len(widths) - 1)


def _longest_word(cells: Sequence[str]) -> int:
    return min(max((cell_len(word) for cell in cells for word in cell.split()), default=1), _LONGEST_WORD)


def _longest_line(cells: Sequence[str]) -> int:
    return max((cell_len(line) for cell in cells for line in cell.splitlines()), default=1)
