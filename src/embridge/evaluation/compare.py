"""Two reports on the same queries, query by query: which upgrade is better?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embridge.errors import InvalidInput
from embridge.evaluation.compatibility import Comparison, compatible, expected_flip_rates
from embridge.evaluation.report import Report, Task
from embridge.evaluation.statistics import weighted_mean

__all__ = ["CellChange", "compare"]


@dataclass(frozen=True, slots=True)
class CellChange:
    """A metric of one cell in two reports, and what the second is against the first.

    Attributes:
        direction: ``t2i``, ``i2t`` or another.
        cell: Its name, such as ``new/old``.
        metric: By which it is compared.
        queries: How many queries both reports asked.
        a: The metric in the first report.
        b: The metric in the second.
        comparison: Its answer is yes where b is better, no where it is worse.
        negative_flip_rate: The share of queries right in a and wrong in b.
        positive_flip_rate: The reverse.
        identical: Whether every query has the same value.

    Examples:
        >>> from embridge.evaluation import Comparison, Interval
        >>> gain = Comparison("yes", Interval(0.1, 0.05, 0.15))
        >>> CellChange("t2i", "new/old", "recall_at_10", 500, 0.4, 0.5, gain, 0.0, 0.1, identical=False).comparison.answer
        'yes'
    """

    direction: str
    cell: str
    metric: str
    queries: int
    a: float
    b: float
    comparison: Comparison
    negative_flip_rate: float
    positive_flip_rate: float
    identical: bool


def compare(a: Report, b: Report, *, metrics: Sequence[str] | None = None) -> tuple[CellChange, ...]:
    """Compare every cell that two reports share, query by query.

    Queries are matched by id; those that one report alone asked are left out.

    Args:
        a: The first report.
        b: The second.
        metrics: By which to compare; those of both reports by default.

    Returns:
        One change a direction, cell and metric.

    Raises:
        InvalidInput: The two share nothing, or were judged differently.

    Examples:
        >>> from embridge.evaluation import Cell, Report, Task
        >>> task = Task("", ("q", "r"), ("g", "h"), 2, np.array([1, 1]), np.ones((2, 1), np.float32))
        >>> def report(*gains):
        ...     gains, rows = np.array(gains, np.float32)[:, None], np.zeros((2, 1), np.int64)
        ...     return Report((task,), (Cell("", "new/old", rows, gains, gains),), ("recall_at_1",))
        >>> [(change.cell, change.a, change.b) for change in compare(report(0, 1), report(1, 1))]
        [('new/old', 0.5, 1.0)]
    """
    metrics = [m for m in a.metrics if m in b.metrics] if metrics is None else metrics
    changes = []
    for direction in (d for d in a.directions if d in b.directions):
        rows_a, rows_b = _shared(a, b, direction)
        if not _judged_alike(a.task(direction), b.task(direction), (rows_a, rows_b)):
            raise InvalidInput(
                f"{a.task(direction).title}: the two reports were judged by different pairs or galleries"
            )
        drawn = a.task(direction).drawn(rows_a)
        weights = drawn["weights"]
        for cell in (n for n in a.names(direction) if n in b.names(direction)):
            for metric in metrics:
                x, y = a.values(direction, cell, metric)[rows_a], b.values(direction, cell, metric)[rows_b]
                first, second = (weighted_mean(values, weights) for values in (x, y))
                comparison = compatible(y, x, **drawn, seed=a.seed)
                was, now = (r.right(direction, cell, metric)[rows] for r, rows in ((a, rows_a), (b, rows_b)))
                rates = expected_flip_rates(now, was, weights=weights)
                same = np.array_equal(x, y) and np.array_equal(was, now)
                changes.append(
                    CellChange(direction, cell, metric, len(rows_a), first, second, comparison, *rates, same)
                )
    if not changes:
        raise InvalidInput(
            f"the reports share no direction ({[*a.directions]}, {[*b.directions]}), cell or metric "
            f"({[*a.metrics]}, {[*b.metrics]})"
        )
    return tuple(changes)


def _shared(a: Report, b: Report, direction: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the queries that both asked."""
    row_of = {query: row for row, query in enumerate(b.task(direction).query_ids)}
    pairs = [(row, row_of[q]) for row, q in enumerate(a.task(direction).query_ids) if q in row_of]
    if not pairs:
        raise InvalidInput(f"{a.task(direction).title}: the reports share no query")
    rows = np.array(pairs, np.int64)
    return rows[:, 0], rows[:, 1]


def _judged_alike(a: Task, b: Task, rows: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether the shared queries have as many right items, of the same gains, and the same weights in both."""
    depth = min(a.ideal.shape[1], b.ideal.shape[1])
    judged = [
        (t.relevant[r], t.ideal[r, :depth], np.ones(len(r)) if t.weights is None else t.weights[r])
        for t, r in zip((a, b), rows, strict=True)
    ]
    return a.gallery == b.gallery and all(map(np.array_equal, *judged))
