"""The figures of a report, one record a kind, as its JSON file holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embridge.errors import InvalidInput
from embridge.evaluation.compatibility import Answer
from embridge.evaluation.report import UPGRADED
from embridge.evaluation.score_shift import Threshold
from embridge.evaluation.statistics import Interval

__all__ = [
    "Asked",
    "Curve",
    "Figure",
    "Flip",
    "Histogram",
    "Ratios",
    "ScoreShift",
    "SliceFigure",
    "worst_first",
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked in one direction.

    Attributes:
        direction: ``t2i``, ``i2t`` or another.
        title: The direction in words.
        queries: How many were asked.
        gallery: How many items were searched.
        source: Who says what is right.
        cells: Their names, in the order of a table.
        skipped: How many queries were not asked, since nothing is right for them.
        notes: What a reader should know of queries and judgements: what is missing, and which are one item.

    Examples:
        >>> Asked("t2i", "text to image", 5000, 1000, "judged pairs", ("old/old", "new/old")).skipped
        0
    """

    direction: str
    title: str
    queries: int
    gallery: int
    source: str
    cells: tuple[str, ...]
    skipped: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric of a cell, and what it is against ``old/old``; None for that cell itself.

    Attributes:
        direction: Of the cell.
        cell: Its name.
        metric: The metric's name.
        interval: The metric and its 95 % interval.
        difference: From ``old/old``.
        compatible: Whether it beats ``old/old``.
        negative_flip_rate: The share of queries right before and wrong now.
        positive_flip_rate: The reverse.

    Examples:
        >>> Figure("t2i", "old/old", "recall_at_1", Interval(0.5, 0.4, 0.6), None, None, None, None).interval.value
        0.5
    """

    direction: str
    cell: str
    metric: str
    interval: Interval
    difference: Interval | None
    compatible: Answer | None
    negative_flip_rate: float | None
    positive_flip_rate: float | None


@dataclass(frozen=True, slots=True)
class SliceFigure:
    """The main metric of a cell for the queries of one slice.

    Attributes:
        direction: Of the cell.
        column: What the queries are sliced by.
        label: The slice.
        queries: How many are in it.
        cell: The cell's name.
        interval: The metric and its 95 % interval.
        difference: From ``old/old``; None for that cell itself.
        compatible: Whether it beats ``old/old``; None for that cell itself.

    Examples:
        >>> SliceFigure("t2i", "language", "de", 20, "old/old", Interval(0.5, 0.3, 0.7), None, None).label
        'de'
    """

    direction: str
    column: str
    label: str
    queries: int
    cell: str
    interval: Interval
    difference: Interval | None
    compatible: Answer | None


def worst_first(slices: Sequence[SliceFigure]) -> list[SliceFigure]:
    """Sort the slices of ``new/old``, column by column, those that lost most against ``old/old`` first.

    Args:
        slices: Figures of every cell.

    Returns:
        Those of ``new/old``.

    Examples:
        >>> def of(label, change):
        ...     interval = Interval(change, change, change)
        ...     return SliceFigure("", "language", label, 9, "new/old", interval, interval, "undecided")
        >>> [figure.label for figure in worst_first([of("de", 0.1), of("fr", -0.2)])]
        ['fr', 'de']
    """
    changed = [found for found in slices if found.cell == UPGRADED and found.difference is not None]
    columns = list(dict.fromkeys(found.column for found in changed))
    return sorted(changed, key=lambda f: (columns.index(f.column), f.difference.value if f.difference else 0.0))


@dataclass(frozen=True, slots=True)
class Ratios:
    """Ratios of the main metric in one direction; None where something is divided by nothing.

    Attributes:
        direction: ``t2i``, ``i2t`` or another.
        retention: The share of a full backfill that the bridge keeps.
        gain_ratio: M(n, n) / M(o, o).
        break_even: Their product; above 1 a bridge is worth its while.
        update_gain: How far the upgrade goes, 0 to 1.
        ceiling: About the most that a map into this gallery can reach, where it was measured.

    Examples:
        >>> Ratios("t2i", retention=0.9, gain_ratio=1.2, break_even=1.08, update_gain=0.4, ceiling=None).break_even
        1.08
    """

    direction: str
    retention: float | None
    gain_ratio: float | None
    break_even: float | None
    update_gain: float | None
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class Flip:
    """A query that was lost or won.

    Attributes:
        direction: ``t2i``, ``i2t`` or another.
        query: Its id.
        before: The rank of its first right item in ``old/old``.
        after: The rank in ``new/old``; 0 where it was not found.
        right: The right items that ``old/old`` found, or else ``new/old``.
        old_hits: The first hits of ``old/old``.
        new_hits: The first hits of ``new/old``.

    Examples:
        >>> Flip("t2i", "a caption", 1, 12, ("photo 1",), ("photo 1",), ("photo 7",)).after
        12
    """

    direction: str
    query: str
    before: int
    after: int
    right: tuple[str, ...]
    old_hits: tuple[str, ...]
    new_hits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """The main metric of new queries at each fraction backfilled.

    Attributes:
        direction: ``t2i``, ``i2t`` or another.
        order: Which items come first.
        fractions: How much is re-encoded, ascending.
        intervals: The metric there, with its 95 % interval.
        auc: The area under the curve.

    Raises:
        InvalidInput: There are not as many intervals as fractions, or none.

    Examples:
        >>> Curve("t2i", "random", (0.0, 1.0), (Interval(0.4, 0.3, 0.5), Interval(0.6, 0.5, 0.7)), 0.5).auc
        0.5
    """

    direction: str
    order: str
    fractions: tuple[float, ...]
    intervals: tuple[Interval, ...]
    auc: float

    def __post_init__(self) -> None:
        if not self.fractions or len(self.fractions) != len(self.intervals):
            raise InvalidInput(f"the curve by {self.order}: expected as many intervals as fractions")


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the scores of each query's best hit are spread, right and wrong ones apart.

    Attributes:
        direction: Of the cell.
        cell: Its name.
        edges: Of the bins, one more than counts.
        right: How many right hits score within each.
        wrong: How many wrong ones.

    Raises:
        InvalidInput: The edges do not rise, or there are not as many bins as counts.

    Examples:
        >>> Histogram("t2i", "old/old", (0.0, 0.5, 1.0), (3, 9), (8, 1)).right
        (3, 9)
    """

    direction: str
    cell: str
    edges: tuple[float, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = list(self.edges) == sorted(self.edges) and self.edges[:1] < self.edges[-1:]
        if not rising or not len(self.edges) - 1 == len(self.right) == len(self.wrong):
            raise InvalidInput(f"the histogram of {self.cell}: expected rising edges, one more than counts")


@dataclass(frozen=True, slots=True)
class ScoreShift:
    """How far the scores of best hits moved.

    Attributes:
        direction: Of the cell.
        cell: Its name.
        ks_distance: Of the two score distributions, 0 to 1.
        precision: Of best hits.
        old: The threshold that gave it in ``old/old``; None where no score does.
        new: The one that gives it now; None where no score does.

    Examples:
        >>> ScoreShift("t2i", "new/old", 0.4, 0.9, old=None, new=None).precision
        0.9
    """

    direction: str
    cell: str
    ks_distance: float
    precision: float
    old: Threshold | None
    new: Threshold | None
