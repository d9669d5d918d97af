"""A report as tables of text, for a terminal or Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from embridge.evaluation.figures import Asked, Ratios, worst_first
from embridge.evaluation.measures import measure
from embridge.evaluation.report import CEILING
from embridge.evaluation.score_shift import Threshold
from embridge.evaluation.statistics import Interval
from embridge.evaluation.summary import Summary

__all__ = ["ReportTable", "cell_tables", "flip_text", "interval_text", "report_tables"]

_SHOWN_FLIPS = 5


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table of text.

    Attributes:
        title: What it shows.
        columns: Their names.
        rows: One text a column each.

    Examples:
        >>> ReportTable("Cells", ["cell", "R@1"], [["old/old", ".50"]]).columns
        ['cell', 'R@1']
    """

    title: str
    columns: list[str]
    rows: list[list[str]]


def report_tables(summary: Summary) -> list[ReportTable]:
    """Lay out a report as tables of text.

    Args:
        summary: The figures.

    Returns:
        The cells of each direction, then slices, curves, thresholds, worst flips and gates, as far as there are any.

    Examples:
        >>> from embridge.evaluation import Verdict
        >>> nothing = dict.fromkeys(("ratios", "slices", "flips", "curves", "histograms", "shifts", "gates", "cautions"), ())
        >>> summary = Summary(Verdict("upgrade", "Upgrade."), ("mrr_at_5",), seed=0, asked=(), figures=(), about={}, **nothing)
        >>> report_tables(summary)
        []
    """
    more = (_ratios, _slices, _curves, _shifts, _flips, _gates)
    return cell_tables(summary) + [table for made in more if (table := made(summary)).rows]


def cell_tables(summary: Summary) -> list[ReportTable]:
    """Lay out the cells of each direction, one row a cell.

    A row has the metrics with half their 95 % interval, then the comparison with ``old/old`` by the last metric. Flips are the
    share of queries that lost (−) and that won (+) their right item. The ceiling stands last and in brackets, and is compared
    with nothing: it is no system.

    Args:
        summary: The figures.

    Returns:
        One table a direction.

    Examples:
        >>> from embridge.evaluation import Verdict
        >>> nothing = dict.fromkeys(("ratios", "slices", "flips", "curves", "histograms", "shifts", "gates", "cautions"), ())
        >>> cell_tables(Summary(Verdict("upgrade", "Upgrade."), ("mrr_at_5",), seed=0, asked=(), figures=(), about={}, **nothing))
        []
    """
    columns = [
        "query/gallery",
        *(measure(m).label for m in summary.metrics),
        f"better {measure(summary.main).label}",
        "flips",
    ]
    return [
        ReportTable(
            f"{asked.title}, {asked.queries:,} queries",
            columns,
            [_cell_row(summary, asked, cell) for cell in sorted(asked.cells, key=lambda name: name == CEILING)],
        )
        for asked in summary.asked
    ]


def _cell_row(summary: Summary, asked: Asked, cell: str) -> list[str]:
    figures = [summary.figure(asked.direction, cell, metric) for metric in summary.metrics]
    main = figures[-1]
    if cell == CEILING:
        return [f"({cell})", *(_with_half(figure.interval) for figure in figures), "", ""]
    against: list[str] = [main.compatible or "", ""]
    if main.negative_flip_rate is not None and main.positive_flip_rate is not None:
        against[1] = flip_text(main.negative_flip_rate, main.positive_flip_rate)
    return [cell, *(_with_half(figure.interval) for figure in figures), *against]


def _ratios(summary: Summary) -> ReportTable:
    columns = [
        "by " + measure(summary.main).label,
        "retention",
        "gain of new/new",
        "break-even",
        "update gain",
        "ceiling",
    ]

    def row(ratios: Ratios) -> list[str]:
        figures = (ratios.retention, ratios.gain_ratio, ratios.break_even, ratios.update_gain, ratios.ceiling)
        return [_title(summary, ratios.direction), *("" if x is None else f"{x:.3f}" for x in figures)]

    return ReportTable("What the bridge keeps", columns, [row(ratios) for ratios in summary.ratios])


def _slices(summary: Summary) -> ReportTable:
    """One row a slice, worst first: the cells, and the change from ``old/old`` to ``new/old``."""
    found = [s for a in summary.asked for s in worst_first([s for s in summary.slices if s.direction == a.direction])]
    cells = dict.fromkeys(s.cell for s in summary.slices)
    rows = []
    for bridged in found:
        place = (bridged.direction, bridged.column, bridged.label)
        own = {s.cell: s for s in summary.slices if (s.direction, s.column, s.label) == place}
        rows.append(
            [f"{_title(summary, place[0])}: {place[1]}={place[2]}", f"{bridged.queries:,}",
             *(f"{own[cell].interval.value:.3f}" for cell in cells),
             "" if bridged.difference is None else interval_text(bridged.difference), bridged.compatible or ""]
        )  # fmt: skip
    columns = [f"slice, {measure(summary.main).label}", "queries", *cells, "change to new/old", "better"]
    return ReportTable("Slices", columns, rows)


def _curves(summary: Summary) -> ReportTable:
    shown = (0.0, 0.25, 0.5, 0.75, 1.0)
    columns = [f"backfill order, {measure(summary.main).label}", *(f"{fraction:.0%}" for fraction in shown), "area"]
    rows = []
    for curve in summary.curves:
        nearest = (min(range(len(curve.fractions)), key=lambda i: abs(curve.fractions[i] - at)) for at in shown)
        rows.append(
            [f"{_title(summary, curve.direction)}: {curve.order}",
             *(f"{curve.intervals[i].value:.3f}" for i in nearest), f"{curve.auc:.3f}"]
        )  # fmt: skip
    return ReportTable("Backfilled so far", columns, rows)


def _shifts(summary: Summary) -> ReportTable:
    columns = ["score thresholds", "moved (KS)", "precision", "old threshold", "keeps", "new threshold", "keeps"]
    rows = []
    for s in summary.shifts:
        queries = next(asked.queries for asked in summary.asked if asked.direction == s.direction)
        sides = [_threshold(threshold, queries) for threshold in (s.old, s.new)]
        if s.old is not None or s.new is not None:
            rows.append(
                [_title(summary, s.direction), f"{s.ks_distance:.3f}", f"{s.precision:.2f}", *sides[0], *sides[1]]
            )
    return ReportTable("Thresholds that keep a precision", columns, rows)


def _flips(summary: Summary) -> ReportTable:
    columns = ["query that lost its right item", "rank before", "rank now", "right", "now first"]
    shown = [f for a in summary.asked for f in [f for f in summary.flips if f.direction == a.direction][:_SHOWN_FLIPS]]
    rows = [
        [
            f.query,
            str(f.before),
            str(f.after) if f.after else "not found",
            ", ".join(f.right[:2]),
            ", ".join(f.new_hits[:1]),
        ]
        for f in shown
    ]
    return ReportTable("Worst flips", columns, rows)


def _gates(summary: Summary) -> ReportTable:
    rows = [
        [g.gate, g.where, f"{g.value:.4f}{f', {g.end}' if g.end else ''}", f"{g.bound:.4f}",
         "passed" if g.passed else "FAILED"]
        for g in summary.gates
    ]  # fmt: skip
    return ReportTable("Gates", ["gate", "where", "value", "bound", ""], rows)


def _threshold(threshold: Threshold | None, queries: int) -> tuple[str, str]:
    if threshold is None:
        return "none", ""
    few = ", few hits" if threshold.rests_on_few(queries) else ""
    return f"{threshold.score:.4f}", f"{threshold.kept:.1%}{few}"


def _title(summary: Summary, direction: str) -> str:
    return next(asked.title for asked in summary.asked if asked.direction == direction)


def _with_half(interval: Interval) -> str:
    return f"{interval.value:.3f} ±{_short(interval.half)}"


def interval_text(difference: Interval) -> str:
    """Write a difference and its interval.

    Args:
        difference: The difference.

    Returns:
        The text.

    Examples:
        >>> interval_text(Interval(0.1, 0.05, 0.15))
        '+0.100 (+0.050 to +0.150)'
    """
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def flip_text(negative: float, positive: float) -> str:
    """Write both flip rates, without leading zeros.

    Args:
        negative: The share of queries that lost their right item.
        positive: The share that won it.

    Returns:
        The text.

    Examples:
        >>> flip_text(0.02, 0.1)
        '−.020 +.100'
    """
    return f"−{_short(negative)} +{_short(positive)}"


def _short(fraction: float) -> str:
    return f"{fraction:.3f}".removeprefix("0")
