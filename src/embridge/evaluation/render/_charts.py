"""Drawings of a report as SVG: a backfill curve, the scores of hits, an interval beside zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from embridge.evaluation.figures import Asked, Curve, Histogram
from embridge.evaluation.measures import measure
from embridge.evaluation.render._figures import number, signed
from embridge.evaluation.render._markup import Markup, element
from embridge.evaluation.report import BACKFILLED, OLD
from embridge.evaluation.statistics import Interval
from embridge.evaluation.summary import Summary

__all__ = ["SERIES", "curve_chart", "curve_figure", "histogram_chart", "interval_bar", "swatch", "ticks"]

SERIES = 4
"""How many lines look different: each has a colour and a dash pattern of its own in the style sheet."""

_CURVE = (400, 250)
_SCORES = (340, 176)
_BAR = (150, 20)


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places along an axis of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """Round values between two bounds, no more than ``most``.

    >>> ticks(0.0, 1.0), ticks(0.26, 0.99, most=4)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.4, 0.6, 0.8])
    """
    span = high - low
    power = 10.0 ** floor(log10(span / most))
    for step in (power * factor for factor in (1, 2, 2.5, 5, 10, 20)):
        first, last = -floor(-low / step + 1e-9), floor(high / step + 1e-9)
        if last - first < most:
            return [round(i * step, 12) for i in range(first, last + 1)]
    return [low, high]


def curve_chart(
    curves: Sequence[Curve], metric: str, *, title: str, old: float | None = None, new: float | None = None
) -> Markup:
    """A line an order with its 95 % band, and level lines at old/old and new/new."""
    width, height = _CURVE
    levels = [level for level in (old, new) if level is not None]
    seen = [bound for curve in curves for i in curve.intervals for bound in (i.low, i.high)] + levels
    room = max(0.02, (max(seen) - min(seen)) * 0.08)
    x, y = Scale(0, 1, 46, width - 12), Scale(min(seen) - room, max(seen) + room, height - 46, 26)
    body = [
        *_grid(x, y),
        element("text", metric, x=4, y=12, class_="axis"),
        element("text", "fraction backfilled", x=(x.start + x.end) / 2, y=height - 6, class_="axis middle"),
        *(_band(curve, x, y, i) for i, curve in enumerate(curves)),
        *(_line(curve, x, y, i) for i, curve in enumerate(curves)),
        # one label left, the other right, so that they never meet; curves start low and end at new/new
        *([] if old is None else _level(y, x, old, f"old/old {number(old)}", at_end=True)),
        *([] if new is None else _level(y, x, new, f"new/new {number(new)}", at_end=False)),
    ]
    told = "; ".join(
        f"{c.order}: {number(c.intervals[0].value)} with {number(c.fractions[0])} backfilled, "
        f"{number(c.intervals[-1].value)} with {number(c.fractions[-1])}"
        for c in curves
    )
    return _drawing(_CURVE, title, f"{metric}; {told}", body)


def curve_figure(summary: Summary, asked: Asked) -> Markup:
    """The backfill curves of one direction with their legend; nothing where there are none."""
    curves = [curve for curve in summary.curves if curve.direction == asked.direction]
    if not curves:
        return Markup("")
    levels = {
        f.cell: f.interval.value
        for f in summary.figures
        if (f.direction, f.metric) == (asked.direction, summary.main) and f.cell in (OLD, BACKFILLED)
    }
    label, title = measure(summary.main).label, f"Backfill curve, {asked.title}"
    drawn = curve_chart(curves, label, title=title, old=levels.get(OLD), new=levels.get(BACKFILLED))
    legend = [
        element("li", swatch(i, curve.order), element("span", f"{curve.order}: AUC {number(curve.auc)}"))
        for i, curve in enumerate(curves)
    ]
    return element("figure", drawn, element("figcaption", element("ul", *legend, class_="orders")))


def histogram_chart(histogram: Histogram, *, tallest: int, title: str) -> Markup:
    """Right best hits upwards, wrong ones downwards; a bar of ``tallest`` hits fills the height."""
    width, height = _SCORES
    middle, reach = 94.0, 52.0
    edges = histogram.edges
    x = Scale(edges[0], edges[-1] if edges[-1] > edges[0] else edges[0] + 1, 10, width - 10)
    kinds = [("right", "▲", histogram.right), ("wrong", "▼", histogram.wrong)]
    words = [f"{sign} {kind}: {sum(counts):,}" for kind, sign, counts in kinds]
    body = [
        element("text", histogram.cell, x=10, y=14, class_="name"),
        element("text", words[0], x=10, y=33, class_="axis right"),
        element("text", words[1], x=width - 10, y=33, class_="axis wrong end"),
        _bars(histogram.right, edges, x, (middle, -reach / tallest), "right"),
        _bars(histogram.wrong, edges, x, (middle, reach / tallest), "wrong"),
        element("line", x1=x.start, x2=x.end, y1=middle, y2=middle, class_="frame"),
    ]
    for tick in ticks(x.low, x.high):
        body.append(
            element("line", x1=x(tick), x2=x(tick), y1=middle + reach + 2, y2=middle + reach + 7, class_="frame")
        )
        body.append(element("text", _short(tick), x=x(tick), y=height - 8, class_=f"axis {_anchor(x, tick)}"))
    told = f"scores of best hits from {edges[0]:.3g} to {edges[-1]:.3g}; {words[0][2:]}, {words[1][2:]}"
    return _drawing(_SCORES, title, told, body)


def interval_bar(interval: Interval, *, span: tuple[float, float], title: str) -> Markup:
    """A difference and its interval beside the line of no change; ``span`` holds 0, and is as wide as the drawing."""
    width, height = _BAR
    low, high = span if span[1] > span[0] else (-1.0, 1.0)
    x, middle = Scale(low, high, 6, width - 6), height / 2
    body = [
        element("line", x1=x.start, x2=x.end, y1=middle, y2=middle, class_="grid"),
        element("line", x1=x(0), x2=x(0), y1=1, y2=height - 1, class_="frame"),
        element("line", x1=x(interval.low), x2=x(interval.high), y1=middle, y2=middle, class_="span"),
        element("circle", cx=x(interval.value), cy=middle, r=4, class_="dot"),
    ]
    told = f"{signed(interval.value)}, 95 % interval {signed(interval.low)} to {signed(interval.high)}"
    return _drawing(_BAR, title, told, body, fixed=True)


def swatch(position: int, name: str) -> Markup:
    """A short piece of a curve's line, for the legend."""
    line = element("line", x1=2, x2=34, y1=6, y2=6, class_=f"line series-{position % SERIES}")
    return _drawing((36, 12), f"line of {name}", "how its curve is drawn", [line], fixed=True)


def _drawing(
    size: tuple[int, int], title: str, description: str, body: Sequence[Markup], *, fixed: bool = False
) -> Markup:
    width, height = size
    named = [element("title", title), element("desc", description)]
    box = f"0 0 {width} {height}"
    if fixed:
        return element("svg", *named, *body, viewBox=box, role="img", width=width, height=height)
    return element("svg", *named, *body, viewBox=box, role="img", class_="chart")


def _grid(x: Scale, y: Scale) -> list[Markup]:
    made = []
    for tick in ticks(y.low, y.high):
        made.append(element("line", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick), class_="grid"))
        made.append(element("text", _short(tick), x=x.start - 6, y=y(tick) + 4, class_="axis end"))
    for tick in ticks(x.low, x.high):
        made.append(element("line", x1=x(tick), x2=x(tick), y1=y.start, y2=y.start + 5, class_="frame"))
        made.append(element("text", _short(tick), x=x(tick), y=y.start + 20, class_="axis middle"))
    return [*made, element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="frame")]


def _line(curve: Curve, x: Scale, y: Scale, position: int) -> Markup:
    places = [(x(f), y(i.value)) for f, i in zip(curve.fractions, curve.intervals, strict=True)]
    drawn = places if len(places) > 1 else places * 2  # a line from a point to itself is a dot
    return element("polyline", points=_points(drawn), class_=f"line series-{position % SERIES}")


def _band(curve: Curve, x: Scale, y: Scale, position: int) -> Markup:
    pairs = list(zip(curve.fractions, curve.intervals, strict=True))
    around = [(x(f), y(i.high)) for f, i in pairs] + [(x(f), y(i.low)) for f, i in reversed(pairs)]
    return element("polygon", points=_points(around), class_=f"band series-{position % SERIES}")


def _level(y: Scale, x: Scale, value: float, label: str, *, at_end: bool) -> list[Markup]:
    """A level line with its label: above it at the left, or below it at the right where there is room."""
    below = at_end and y.start - y(value) > 18
    place, anchor = (x.end - 2, " end") if at_end else (x.start + 4, "")
    return [
        element("line", x1=x.start, x2=x.end, y1=y(value), y2=y(value), class_="level"),
        element("text", label, x=place, y=y(value) + (15 if below else -6), class_=f"axis label{anchor}"),
    ]


def _bars(counts: Sequence[int], edges: Sequence[float], x: Scale, heights: tuple[float, float], kind: str) -> Markup:
    """All bars as one shape, from the middle line: a middle, and the way that one hit goes."""
    middle, step = heights
    drawn = [
        f"M{x(left):.2f} {middle:.2f}V{middle + step * count:.2f}H{x(right):.2f}V{middle:.2f}Z"
        for left, right, count in zip(edges, edges[1:], counts, strict=False)
        if count
    ]
    return element("path", d="".join(drawn), class_=f"bars {kind}")


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in places)


def _short(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _anchor(x: Scale, value: float) -> str:
    """Labels at the ends of an axis stay within the drawing."""
    share = (value - x.low) / (x.high - x.low)
    return "" if share < 0.06 else "end" if share > 0.94 else "middle"
