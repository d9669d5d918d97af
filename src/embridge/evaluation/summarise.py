"""From per-query values to figures."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from embridge.errors import SettingsError
from embridge.evaluation.backfill_curve import backfill_auc
from embridge.evaluation.compatibility import flips
from embridge.evaluation.figures import Asked, Curve, Figure, Flip, Histogram, Ratios, ScoreShift, SliceFigure
from embridge.evaluation.gates import check_gates
from embridge.evaluation.measures import measure
from embridge.evaluation.ratios import break_even, retention, update_gain
from embridge.evaluation.report import BACKFILLED, CEILING, OLD, UPGRADED, Cell, Report, Task
from embridge.evaluation.score_shift import FEWEST_KEPT, ks_distance, precision_above, threshold_for_precision
from embridge.evaluation.summary import Summary
from embridge.evaluation.verdict import decide, with_gates

__all__ = ["summarise"]

_BINS = 40
_FLIPS, _HITS = 10, 5
_FEW_QUERIES, _FEW_IN_SLICE = 50, 10


def summarise(
    report: Report,
    *,
    gates: Sequence[str] = (),
    precisions: Sequence[float] = (0.5, 0.75, 0.9),
    thresholds: Sequence[float] = (),
) -> Summary:
    """Compute every figure of a report.

    Args:
        report: The report.
        gates: Conditions to check, in the grammar of `embridge.evaluation.gates`.
        precisions: Of best hits, 0 to 1, to find the old and the new score threshold for.
        thresholds: Old ones in use, to find the new ones that keep their precision.

    Returns:
        The figures.

    Raises:
        SettingsError: The report cannot answer a gate, a precision is outside 0 to 1, or a threshold is not finite.

    Examples:
        >>> gains, rows = np.array([[1.0], [0.0]], np.float32), np.zeros((2, 1), np.int64)
        >>> task = Task("", ("q", "r"), ("g", "h"), 2, np.array([1, 1]), np.ones((2, 1), np.float32))
        >>> cells = tuple(Cell("", name, rows, gains, gains) for name in ("old/old", "new/old", "new/new", "naive"))
        >>> summarise(Report((task,), cells, ("recall_at_1",))).figure("", "new/old", "recall_at_1").interval.value
        0.5
    """
    if not all(0 <= p <= 1 for p in precisions) or not all(map(isfinite, thresholds)):
        raise SettingsError(f"expected precisions of 0 to 1 and finite thresholds, came {precisions} and {thresholds}")
    tasks = report.tasks
    checked = check_gates(report, gates)
    shifts = [found for task in tasks for found in _shifts(report, task.direction, precisions, thresholds)]
    return Summary(
        verdict=with_gates(decide(report), checked),
        metrics=report.metrics,
        seed=report.seed,
        asked=tuple(_asked(report, task) for task in tasks),
        figures=tuple(
            _figure(report, t.direction, n, m) for t in tasks for n in report.names(t.direction) for m in report.metrics
        ),
        ratios=tuple(_ratios(report, task.direction) for task in tasks),
        slices=tuple(found for task in tasks for found in _slices(report, task)),
        flips=tuple(found for task in tasks for found in _worst_flips(report, task)),
        wins=tuple(found for task in tasks for found in _best_wins(report, task)),
        curves=tuple(found for task in tasks for found in _curves(report, task.direction)),
        histograms=tuple(found for task in tasks for found in _histograms(report, task.direction)),
        shifts=tuple(shifts),
        gates=checked,
        cautions=tuple(found for task in tasks for found in (*_cautions(report, task), *_few_kept(task, shifts))),
        about=dict(report.about),
    )


def _asked(report: Report, task: Task) -> Asked:
    names = tuple(
        sorted(report.names(task.direction), key=lambda name: name == CEILING)
    )  # it is no system, and stands below them
    return Asked(
        task.direction, task.title, len(task.query_ids), task.gallery, task.source, names, task.skipped, task.notes
    )


def _figure(report: Report, direction: str, cell: str, metric: str) -> Figure:
    interval = report.interval(direction, cell, metric)
    if cell == OLD:
        return Figure(direction, cell, metric, interval, None, None, None, None)
    comparison = report.compatible(direction, metric, cell)
    negative, positive = report.flip_rates(direction, metric, cell)
    return Figure(direction, cell, metric, interval, comparison.difference, comparison.answer, negative, positive)


def _ratios(report: Report, direction: str) -> Ratios:
    old, bridged, new = (report.mean(direction, cell, report.main) for cell in (OLD, UPGRADED, BACKFILLED))
    ceiling = report.mean(direction, CEILING, report.main) if CEILING in report.names(direction) else None
    return Ratios(
        direction,
        _finite(retention(bridged, new)),
        _finite(retention(new, old)),
        _finite(break_even(bridged, new, old)),
        _finite(update_gain(bridged, old, new)),
        ceiling,
    )


def _finite(figure: float) -> float | None:
    return figure if isfinite(figure) else None


def _slices(report: Report, task: Task) -> list[SliceFigure]:
    made = []
    for column in task.slices:
        for label in task.labels(column):
            among = task.among(column, label)
            for cell in (OLD, UPGRADED, BACKFILLED):
                interval = report.interval(task.direction, cell, report.main, among=among)
                place = (task.direction, column, label, int(among.sum()), cell, interval)
                if cell == OLD:
                    made.append(SliceFigure(*place, None, None))
                    continue
                comparison = report.compatible(task.direction, report.main, cell, among=among)
                made.append(SliceFigure(*place, comparison.difference, comparison.answer))
    return made


def _worst_flips(report: Report, task: Task) -> list[Flip]:
    """Queries that lost the best rank and fell furthest, first."""
    lost, _ = flips(*(_likely(report, task.direction, name) for name in (UPGRADED, OLD)))
    before, after = (_ranks(report.cell(task.direction, name), lost) for name in (OLD, UPGRADED))
    return _flips(report, task, lost[np.lexsort((lost, -after, before))])


def _best_wins(report: Report, task: Task) -> list[Flip]:
    """Queries that won the best rank and came from furthest, first."""
    _, won = flips(*(_likely(report, task.direction, name) for name in (UPGRADED, OLD)))
    before, after = (_ranks(report.cell(task.direction, name), won) for name in (OLD, UPGRADED))
    return _flips(report, task, won[np.lexsort((won, -before, after))])


def _likely(report: Report, direction: str, name: str) -> np.ndarray:
    """1 where a query is right in more than half of the orders of equal hits, else 0."""
    return (report.right(direction, name, report.main) > 0.5).astype(np.float64)


def _ranks(cell: Cell, rows: np.ndarray) -> np.ndarray:
    """Ranks of the first right item; what is not found comes after all."""
    ranks = cell.first_hits[rows]
    return np.where(ranks == 0, np.iinfo(np.int64).max, ranks)


def _flips(report: Report, task: Task, rows: np.ndarray) -> list[Flip]:
    """The first of those queries, with what was found before and after."""
    old, new = (report.cell(task.direction, name) for name in (OLD, UPGRADED))

    def hits(cell: Cell, row: int) -> tuple[str, ...]:
        return tuple(task.gallery_ids[i] for i in cell.rows[row, :_HITS])

    def right(row: int) -> tuple[str, ...]:
        best = old if old.first_hits[row] else new
        return tuple(task.gallery_ids[i] for i in best.rows[row][best.gains[row] > 0])

    return [
        Flip(
            task.direction, task.query_ids[row], int(old.first_hits[row]), int(new.first_hits[row]), right(row),
            hits(old, row), hits(new, row),
        )
        for row in rows[:_FLIPS].tolist()
    ]  # fmt: skip


def _curves(report: Report, direction: str) -> list[Curve]:
    made = []
    for order, points in report.curves(direction).items():
        intervals = tuple(report.interval(direction, cell, report.main) for _, cell in points)
        fractions = tuple(fraction for fraction, _ in points)
        made.append(Curve(direction, order, fractions, intervals, backfill_auc([i.value for i in intervals])))
    return made


def _histograms(report: Report, direction: str) -> list[Histogram]:
    """Old and bridged queries score in one space on shared bins; re-encoded rows in another have their own."""
    found = {name: _best_hits(report, direction, name) for name in (OLD, UPGRADED, BACKFILLED)}
    scores = {name: scores for name, (scores, _) in found.items()}
    together = [np.concatenate([scores[OLD], scores[UPGRADED]])] * 2 + [scores[BACKFILLED]]
    made = []
    for (name, (values, right)), span in zip(found.items(), together, strict=True):
        edges = np.histogram_bin_edges(span, _BINS)
        counts = (np.histogram(values[chosen], edges)[0].tolist() for chosen in (right, ~right))
        made.append(Histogram(direction, name, tuple(edges.tolist()), *map(tuple, counts)))
    return made


def _shifts(
    report: Report, direction: str, precisions: Sequence[float], thresholds: Sequence[float]
) -> list[ScoreShift]:
    old, new = (_best_hits(report, direction, name) for name in (OLD, UPGRADED))
    wanted = [(precision, threshold_for_precision(*old, precision)) for precision in precisions]
    for score in thresholds:
        used = precision_above(*old, score)
        wanted.append((used.precision, used))
    distance = ks_distance(old[0], new[0])
    return [
        ScoreShift(direction, UPGRADED, distance, precision, before, threshold_for_precision(*new, precision))
        for precision, before in wanted
    ]


def _few_kept(task: Task, shifts: Sequence[ScoreShift]) -> list[str]:
    """A caution for the thresholds above which so few hits lie that other queries would move them."""
    few = [
        f"{shift.precision:.3g}"
        for shift in shifts
        if shift.direction == task.direction
        and any(t is not None and t.rests_on_few(len(task.query_ids)) for t in (shift.old, shift.new))
    ]
    if not few:
        return []
    return [
        f"{task.title}: score thresholds for a precision of {', '.join(dict.fromkeys(few))} rest on fewer than "
        f"{FEWEST_KEPT} hits; do not set one by them"
    ]


def _best_hits(report: Report, direction: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The score of each query's best hit, and whether it is right; every query counts once, whatever its weight.

    Which of equal best hits it is, the report's seed draws.
    """
    cell = report.cell(direction, name)
    largest = np.finfo(np.float32).max  # dot and l2 of vectors longer than 1e19 are infinite in float32
    right = cell.gains[:, 0] > 0
    if cell.ties is not None:
        chance = cell.ties.relevant[:, 0] / cell.ties.size[:, 0]
        right[cell.ties.queries] = np.random.default_rng(report.seed).random(len(chance)) < chance
    return np.clip(cell.scores[:, 0].astype(np.float64), -largest, largest), right


def _same_ranking(report: Report, direction: str) -> bool:
    """Whether the bridge is no other than none: a model trained to be compatible has its old dims at the front."""
    return np.array_equal(report.cell(direction, "naive").rows, report.cell(direction, "new/old").rows)


def _cautions(report: Report, task: Task) -> list[str]:
    """What a reader should know before trusting the figures."""
    made = [f"{task.title}: {note}" for note in task.notes]
    queries, k = len(task.query_ids), max(measure(metric).k for metric in report.metrics)
    if task.skipped:
        made.append(
            f"{task.title}: {task.skipped:,} of {task.skipped + queries:,} queries were not asked, since no item of the "
            "gallery is known to be right for them"
        )
    if queries < _FEW_QUERIES:
        made.append(f"{task.title}: only {queries} queries were asked; intervals from so few are too narrow")
    if 2 * k >= task.gallery:
        made.append(f"{task.title}: k = {k} is half of the gallery of {task.gallery} or more; chance finds much there")
    if task.source.endswith("not people"):
        made.append(f"{task.title}: what is right is {task.source}: this measures imitation, not quality")
    any_of = [m for m in report.metrics if measure(m).kind in ("recall", "cmc")]
    if any_of and task.source == "qrels" and task.relevant.mean() > 1:
        made.append(
            f"{task.title}: {any_of[-1]} counts any relevant item; by qrels, where several are, recall mostly means the "
            f"share of them that is found: recall_share_at_{measure(any_of[-1]).k}"
        )
    naive, new_old = (report.compatible(task.direction, report.main, cell) for cell in ("naive", "new/old"))
    if naive.difference.value >= new_old.difference.value and not _same_ranking(report, task.direction):
        made.append(f"{task.title}: new queries do as well without the bridge; was it fitted for these spaces?")
    for column in task.slices:
        small = [label for label in task.labels(column) if task.among(column, label).sum() < _FEW_IN_SLICE]
        if small:
            made.append(f"{task.title}: {len(small)} slices of {column} have fewer than {_FEW_IN_SLICE} queries")
    return made
