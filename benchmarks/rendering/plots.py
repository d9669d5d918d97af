"""The plots of the docs, drawn from the results as SVG: the same results give the same bytes.

A plot is 360 wide, so that its letters stay readable on a telephone, and has its own background, for light and dark pages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import log10
from statistics import mean

from benchmarks.rendering.backfill import at, curve
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


def agreement() -> str:
    """Two scores that a choice can go by, each against what judged queries say: how far every candidate is from the best."""
    points, height = _candidate_points(), 490
    parts = [
        _text(14, 22, "Which score knows the best map?", size=14, weight=600),
        _text(14, 40, "A dot is a map on one set; 0 is the best map there. Up: better", size=11),
        _text(14, 55, "for judged queries. Right: better by the score.", size=11),
    ]
    parts += _key([(PROCRUSTES, "text"), (BRIDGE, "text and images"), (OLD, "images")], 14, 75)
    for score, label, top in (
        ("agreement", "neighbour agreement, the chooser's score", 116),
        ("reciprocal_rank", "own-vector reciprocal rank", 318),
    ):
        parts += _scatter([(own[score], own["value"], own["kind"]) for own in points], label, top)
    return _svg(height, "Which score knows the best map", parts)


_REACH, _DEPTH = 0.3, 0.15  # how far behind by the score, and by the metric, a dot may be


def _candidate_points() -> list[dict]:
    """Of every set and candidate the mean over draws of what it lacks to the best of its draw, by both scores and the metric."""
    draws: dict[tuple, list[dict]] = {}
    for row in result("chooser"):
        if row.get("agreement") is not None and "reciprocal_rank" in row:
            key = tuple(row["setting"][part] for part in ("data", "old", "new"))
            draws.setdefault((*key, row["seed"]), []).append(row)
    lacks: dict[tuple, list[dict]] = {}
    measures = ("agreement", "reciprocal_rank", "value")
    for (*key, _), rows in draws.items():
        best = {measure: max(row[measure] for row in rows) for measure in measures}
        for row in rows:
            lacks.setdefault((*key, row["method"]), []).append({m: row[m] - best[m] for m in measures})
    kinds = dict.fromkeys(("photos", "cifar100"), OLD) | dict.fromkeys(("flickr8k", "lvis"), BRIDGE)
    return [
        {m: mean(lack[m] for lack in all_) for m in measures} | {"kind": kinds.get(key[0], PROCRUSTES)}
        for key, all_ in lacks.items()
    ]


def _scatter(points: Sequence[tuple[float, float, str]], label: str, top: float) -> list[str]:
    left, right, high = 50, 340, 140
    parts = [_text(left, top - 12, label, size=12, weight=600)]
    for tick in (0, 0.05, 0.1, 0.15):
        y = top + high * tick / _DEPTH
        parts.append(f'<path d="M{left} {y:g}H{right}" stroke="{FAINT}"/>')
        parts.append(_text(left - 6, y + 4, f"−{tick:g}".replace("0.", ".") if tick else "0", size=11, anchor="end"))
    for tick in (0, 0.1, 0.2, 0.3):
        x = right - (right - left) * tick / _REACH
        parts.append(_text(x, top + high + 16, f"−.{tick * 10:.0f}" if tick else "0", size=11, anchor="middle"))
    shown = [p for p in points if p[0] >= -_REACH and p[1] >= -_DEPTH]
    for colour in dict.fromkeys(kind for *_, kind in shown):
        parts.append(f'<g fill="{colour}" fill-opacity=".7">')
        for behind, lack, kind in shown:
            if kind == colour:
                x, y = right + (right - left) * behind / _REACH, top - high * lack / _DEPTH
                parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3"/>')
        parts.append("</g>")
    if len(shown) < len(points):
        parts.append(_text(left + 4, top + high - 6, f"{len(points) - len(shown)} maps are farther behind", size=11))
    return parts


def backfill() -> str:
    """Quality over that of the full backfill, by the share encoded, for three orders."""
    left, right, top, high, height = 44, 336, 88, 190, 322
    parts = [
        _text(14, 22, "What people look for first", size=14, weight=600),
        _text(14, 40, "Recall@10 over a full backfill's, by the share encoded (Flickr8k)", size=11),
    ]
    drawn = [(NEW, "opened most"), (BRIDGE, "as opened"), (PROCRUSTES, "as found"), (OLD, "random")]
    parts += _key(drawn, 14, 62)

    def point(share: float, quality: float) -> str:
        return f"{left + share * (right - left):.1f} {top + high * (1 - (quality - 0.2) / 0.9):.1f}"

    for tick in (0.2, 0.4, 0.6, 0.8, 1.0):
        y = float(point(0, tick).split()[1])
        parts.append(f'<path d="M{left} {y:g}H{right}" stroke="{FAINT}"/>')
        parts.append(_text(left - 6, y + 4, f"{tick * 100:.0f} %", size=11, anchor="end"))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = left + tick * (right - left)
        parts.append(_text(x, top + high + 16, f"{tick * 100:.0f} %", size=11, anchor="middle"))
    for (colour, _), order in zip(drawn, ("popularity", "opened", "found", "random"), strict=True):
        values = curve(order)
        shares = sorted({share for _, share in values})
        path = "L".join(point(share, at(values, share)) for share in shares)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
    parts.append(_text(180, height - 10, "encoded by the new model", size=11, anchor="middle"))
    return _svg(height, "What people look for first", parts)


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


PLOTS: dict[str, Callable[[], str]] = {
    "gain.svg": gain,
    "captions.svg": captions,
    "agreement.svg": agreement,
    "backfill.svg": backfill,
}
