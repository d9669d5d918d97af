"""The two plots of ``docs/benchmarks.md``, drawn from the results as SVG: the same results give the same bytes.

A plot is 360 wide, so that its letters stay readable on a telephone, and has its own background, for light and dark pages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import log10
from statistics import mean

from benchmarks.rendering.markdown import result
from benchmarks.rendering.summary_page import GAINS, figures, gap_closed

__all__ = ["PLOTS"]

WIDTH = 360
INK, FAINT, PAPER = "#1b2a33", "#d5dde1", "#ffffff"
OLD, BRIDGE, PROCRUSTES, NEW = "#6b7b84", "#00796b", "#c25a00", "#1b2a33"


def gain() -> str:
    """One line a search: the old model today, the bridge on the same index, and a full backfill."""
    top, step, left, right = 78, 40, 14, 346
    height = top + step * len(GAINS) + 26
    parts = [_text(left, 22, "What a bridge brings, without a backfill", size=14, weight=600)]
    parts += _key([(OLD, "old model today"), (BRIDGE, "bridge, same index"), (NEW, "full backfill")], left, 44)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = left + tick * (right - left)
        parts.append(f'<path d="M{x:g} {top - 12}V{height - 24}" stroke="{FAINT}"/>')
        anchor = {0: "start", 1: "end"}.get(tick, "middle")
        parts.append(_text(x, height - 9, f"{tick:g}", size=11, anchor=anchor))
    for row, search in enumerate(GAINS):
        y = top + row * step
        share = gap_closed(search, "xbt-stage1")
        closed = f", {share * 100:.0f} % of the gap" if share is not None else ", no backfill measured"
        parts.append(_text(left, y + 4, f"{search.label}, {search.metric_label}{closed}", size=11))
        old, bridge = (mean(figures(search, method)) for method in ("old", "xbt-stage1"))
        new = figures(search, "independent")
        points = [(old, OLD), (bridge, BRIDGE), *([(mean(new), NEW)] if new else [])]
        xs = [left + value * (right - left) for value, _ in points]
        parts.append(f'<path d="M{min(xs):.1f} {y + 17}H{max(xs):.1f}" stroke="{OLD}" stroke-width="2"/>')
        for x, (_, colour) in zip(xs, points, strict=True):
            parts.append(f'<circle cx="{x:.1f}" cy="{y + 17}" r="5" fill="{colour}" stroke="{PAPER}"/>')
    return _svg(height, "What a bridge brings without a backfill, by search", parts)


def captions() -> str:
    """How much of a full backfill is left on the old index, by the number of captions that the bridge learnt from."""
    rows = result("pairs_curve")
    height = 430
    parts = [
        _text(14, 22, "How many captions a bridge needs", size=14, weight=600),
        _text(14, 40, "Recall@10 on the old index over a full backfill's (Flickr8k)", size=11),
    ]
    parts += _key([(BRIDGE, "XBT"), (PROCRUSTES, "Procrustes"), (OLD, "old model today")], 14, 62)
    for direction, label, top in (("t2i", "text finds photos", 92), ("i2t", "photos find text", 264)):
        parts += _panel([r for r in rows if r["direction"] == direction], label, top)
    parts.append(_text(180, height - 10, "captions", size=11, anchor="middle"))
    return _svg(height, "How many captions a bridge needs", parts)


def _panel(rows: Sequence[dict], label: str, top: float) -> list[str]:
    left, right, high = 44, 328, 118
    counts = sorted({r["setting"]["pairs"] for r in rows})
    full = {r["seed"]: r["value"] for r in rows if r["cell"] == "new/new"}

    def at(count: float, share: float) -> str:
        along = (log10(count) - log10(counts[0])) / (log10(counts[-1]) - log10(counts[0]))
        return f"{left + along * (right - left):.1f} {top + high * (1 - (share - 0.2) / 0.6):.1f}"

    parts = [_text(left, top - 6, label, size=12, weight=600)]
    for tick in (0.2, 0.4, 0.6, 0.8):
        y = at(counts[0], tick).split()[1]
        parts.append(f'<path d="M{left} {y}H{right}" stroke="{FAINT}"/>')
        parts.append(_text(left - 6, float(y) + 4, f"{tick * 100:.0f} %", size=11, anchor="end"))
    for count in counts:
        x = at(count, 0.2).split()[0]
        parts.append(_text(float(x), top + high + 16, f"{count:,}", size=11, anchor="middle"))
    for method, colour in (("old", OLD), ("procrustes", PROCRUSTES), ("xbt-stage1", BRIDGE)):
        own = [r for r in rows if r["method"] == method]
        points = []
        for count in counts:
            found = [r for r in own if r["setting"]["pairs"] == count] or own  # the old model needs no captions
            points.append(at(count, mean(r["value"] / full[r["seed"]] for r in found)))
        dashed = ' stroke-dasharray="6 4"' if method == "old" else ""
        parts.append(f'<path d="M{"L".join(points)}" fill="none" stroke="{colour}" stroke-width="2.5"{dashed}/>')
        if method != "old":
            parts += [
                f'<circle cx="{point.split()[0]}" cy="{point.split()[1]}" r="3.5" fill="{colour}"/>' for point in points
            ]
    return parts


def _key(entries: Sequence[tuple[str, str]], x: float, y: float) -> list[str]:
    parts = []
    for colour, label in entries:
        parts.append(f'<circle cx="{x + 5:g}" cy="{y}" r="5" fill="{colour}"/>')
        parts.append(_text(x + 14, y + 4, label, size=11))
        x += 34 + 5.6 * len(label)
    return parts


def _text(x: float, y: float, words: str, *, size: int, weight: int = 400, anchor: str = "start") -> str:
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}"{bold} text-anchor="{anchor}">{escape(words)}</text>'


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
        f'width="{WIDTH * 4 // 3}" height="{round(height * 4 / 3)}" role="img" '
        f"font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\" fill=\"{INK}\">"
    )
    body = [
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height:g}" rx="8" fill="{PAPER}"/>',
        *parts,
    ]
    return "\n".join([head, *body, "</svg>", ""])


PLOTS: dict[str, Callable[[], str]] = {"gain.svg": gain, "captions.svg": captions}
