"""Two reports on the same queries, query by query: which upgrade is better?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embridge.errors import InvalidInput
from embridge.evaluation.compatibility import Comparison, compatible, flip_rates
from embridge.evaluation.report import Report, Task
from embridge.evaluation.statistics import weighted_mean

__all__ = ["CellChange", "compare"]


@dataclass(frozen=True, slots=True)
class CellChange:
    """A metric of one cell in both reports, on the queries both asked, and what the second is against the first.

    ``comparison.answer`` is yes where b is better, no where it is worse; identical: every query has the same value.
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
    """Every cell that both reports have, by the metrics that both have, or those named.

    Queries are matched by id; those that only one report asked are left out, and ``queries`` says how many are left.
    Raises `InvalidInput` where there is nothing to compare, or the two were judged differently.
    """
    metrics = [m for m in a.metrics if m in b.metrics] if metrics is None else metrics
    made = []
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
                rates = flip_rates(now, was, weights=weights)
                same = np.array_equal(x, y) and np.array_equal(was, now)
                made.append(CellChange(direction, cell, metric, len(rows_a), first, second, comparison, *rates, same))
    if not made:
        raise InvalidInput(
            f"the reports share no direction ({[*a.directions]}, {[*b.directions]}), cell or metric "
            f"({[*a.metrics]}, {[*b.metrics]})"
        )
    return tuple(made)


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
