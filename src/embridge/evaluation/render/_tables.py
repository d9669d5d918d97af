"""The tables of a report's page: cells as a heat map, gates, thresholds, slices."""

from __future__ import annotations

from collections.abc import Sequence

from embridge.evaluation.cells import MORE_CELLS
from embridge.evaluation.figures import Asked, Figure, ScoreShift, SliceFigure, worst_first
from embridge.evaluation.gates import GateResult
from embridge.evaluation.measures import measure
from embridge.evaluation.render._charts import interval_bar
from embridge.evaluation.render._figures import NONE, change, half_width, number, score, share, signed
from embridge.evaluation.render._markup import Markup, element
from embridge.evaluation.report import BACKFILLED, CEILING, OLD, UPGRADED
from embridge.evaluation.score_shift import Threshold
from embridge.evaluation.summary import Summary

__all__ = ["cell_legend", "cell_table", "gate_table", "slice_table", "threshold_table", "wide"]

_CELLS = {
    OLD: "as it is today: old queries, old gallery",
    UPGRADED: "the upgrade: new queries through the bridge, gallery untouched",
    BACKFILLED: "a full backfill: new queries, every item re-encoded",
    "naive": "new queries on the old gallery without a bridge",
    **MORE_CELLS,
}


_COUNTS = 10.0  # from here on, whole numbers are counts


def wide(table: Markup, label: str) -> Markup:
    """A box of its own for a table, in which it scrolls where the page is narrow."""
    return element("div", table, class_="wide", role="region", aria_label=label, tabindex="0")


def cell_table(summary: Summary, asked: Asked) -> Markup:
    """Rows are cells, columns metrics; the deeper the colour, the better within its column, which the ceiling is not of."""
    cells = [*(c for c in asked.cells if c != CEILING), *(c for c in asked.cells if c == CEILING)]
    columns = {m: [summary.figure(asked.direction, c, m) for c in cells] for m in summary.metrics}
    head = element(
        "tr",
        _head("query/gallery"),
        *(_head(measure(m).label) for m in summary.metrics),
        _head("lost"),
        _head("won"),
    )
    rows = [
        element(
            "tr",
            _cell_head(cell),
            *(_heat(columns[m], i) for m in summary.metrics),
            *_flip_rates(columns, i),
            class_="aside" if cell == CEILING else None,
        )
        for i, cell in enumerate(cells)
    ]
    return wide(_table(f"Cells: {asked.title}", head, rows, class_="heat"), f"cells, {asked.title}")


def cell_legend(cells: Sequence[str]) -> Markup:
    """What the cells are."""
    told = [(cell, _CELLS.get(cell, "a control: new queries through another bridge, to compare")) for cell in cells]
    return element(
        "dl", *(element("div", element("dt", cell), element("dd", text)) for cell, text in told), class_="legend"
    )


def gate_table(gates: Sequence[GateResult]) -> Markup:
    """What was required, where, and whether it holds; what failed comes first."""
    words, numbers = ("result", "gate", "where"), ("value", "bound")
    head = element("tr", *(_head(name, class_="words") for name in words), *map(_head, numbers))
    rows = [
        element(
            "tr",
            element("td", *_result(gate.passed), class_="left"),
            _row_head(gate.gate, class_="code"),
            element("td", gate.where, class_="words"),
            element("td", _value(gate.value), *([" ", element("small", gate.end, class_="stack")] if gate.end else [])),
            element("td", _value(gate.bound)),
        )
        for gate in sorted(gates, key=lambda gate: gate.passed)
    ]
    return wide(_table("What was required of the upgrade", head, rows), "gates")


def _value(value: float) -> str:
    """A share with its decimals, and a count without."""
    return f"{value:,.0f}" if abs(value) >= _COUNTS and value.is_integer() else number(value)


def threshold_table(shifts: Sequence[ScoreShift], title: str, queries: int) -> Markup:
    """For a precision the score that gave it, and the one that does now."""
    head = element("tr", *(_head(name) for name in ("precision wanted", "old threshold", "new threshold")))
    rows = [
        element("tr", _row_head(f"{shift.precision:g}"), *(_threshold(t, queries) for t in (shift.old, shift.new)))
        for shift in shifts
    ]
    return wide(_table(f"Thresholds: {title}", head, rows), f"thresholds, {title}")


def slice_table(slices: Sequence[SliceFigure], metric: str, title: str) -> Markup:
    """One row a slice, what lost most first, for every column that the queries were sliced by."""
    cells = {(f.column, f.label, f.cell): f for f in slices}
    changed = worst_first(slices)
    bounds = [0.0, *(bound for f in changed if (d := f.difference) for bound in (d.low, d.high))]
    words, numbers = ("slice", f"change of {metric}, 95 % interval"), ("queries", OLD, UPGRADED, BACKFILLED)
    head = element("tr", *(_head(name, class_="words") for name in words), *map(_head, numbers))
    rows = []
    for column in dict.fromkeys(f.column for f in changed):
        rows.append(
            element("tr", element("th", element("span", column), colspan="6", scope="rowgroup", class_="group"))
        )
        for found in (f for f in changed if f.column == column):
            old, new = (cells.get((column, found.label, cell)) for cell in (OLD, BACKFILLED))
            rows.append(_slice_row(found, old, new, (min(bounds), max(bounds))))
    return wide(_table(f"{metric} slice by slice: {title}", head, rows), f"slices, {title}")


def _slice_row(
    found: SliceFigure, old: SliceFigure | None, new: SliceFigure | None, span: tuple[float, float]
) -> Markup:
    bar: tuple[Markup, ...] = ()
    if found.difference is not None and found.compatible is not None:
        bounds = f"{signed(found.difference.low)} to {signed(found.difference.high)}"
        drawn = interval_bar(found.difference, span=span, title=f"change in {found.column} = {found.label}")
        words = element("strong", change(found.difference, found.compatible))
        bar = (drawn, element("span", words, " ", element("small", bounds), class_="words"))
    return element(
        "tr",
        _row_head(found.label),
        element("td", element("div", *bar, class_="beside")),
        element("td", f"{found.queries:,}"),
        _figure(old),
        _figure(found),
        _figure(new),
    )


def _heat(column: Sequence[Figure], row: int) -> Markup:
    """A figure on a ground as deep as it is good among those of its column."""
    figure = column[row]
    values = [other.interval.value for other in column if other.cell != CEILING]
    low, high = min(values), max(values)
    depth = (figure.interval.value - low) / (high - low) if high > low else 0.5
    body = [element("span", number(figure.interval.value), " ", element("small", half_width(figure.interval)))]
    if figure.difference is not None and figure.compatible is not None:
        body.append(element("small", change(figure.difference, figure.compatible), class_="stack"))
    return element("td", *body, style=None if figure.cell == CEILING else f"--depth:{depth:.3f}")


def _cell_head(cell: str) -> Markup:
    if cell != CEILING:
        return _row_head(cell)
    return element("th", element("span", cell, element("small", "asks with the answer", class_="stack")), scope="row")


def _flip_rates(columns: dict[str, list[Figure]], row: int) -> list[Markup]:
    figure = list(columns.values())[-1][row]
    rates = (("−", figure.negative_flip_rate), ("+", figure.positive_flip_rate))
    return [element("td", f"{sign if rate else ''}{share(rate)}", class_="plain") for sign, rate in rates]


def _figure(figure: SliceFigure | None) -> Markup:
    if figure is None:
        return element("td", NONE)
    return element("td", number(figure.interval.value), " ", element("small", half_width(figure.interval)))


def _threshold(threshold: Threshold | None, queries: int) -> Markup:
    if threshold is None:
        return element("td", NONE, " ", element("small", "no score gives it"))
    few = "few hits, " if threshold.rests_on_few(queries) else ""
    return element("td", score(threshold.score), " ", element("small", f"{few}keeps {threshold.kept:.3g}"))


def _result(passed: bool) -> tuple[str, ...]:
    return (element("strong", "✓ passed" if passed else "✗ failed", class_="good" if passed else "bad"),)


def _table(caption: str, head: Markup, rows: Sequence[Markup], *, class_: str | None = None) -> Markup:
    return element(
        "table",
        element("caption", element("span", caption, class_="unseen")),
        element("thead", head),
        element("tbody", *rows),
        class_=class_,
    )


def _head(name: str, *, class_: str | None = None) -> Markup:
    return element("th", name, scope="col", class_=class_)


def _row_head(name: str, *, class_: str | None = None) -> Markup:
    return element("th", element("span", name, dir="auto"), scope="row", class_=class_)
