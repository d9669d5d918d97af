"""A report as one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from embridge.atomic_write import atomic_file, refuse_foreign_file
from embridge.evaluation.compatibility import FEWEST_CHANGED
from embridge.evaluation.figures import Asked, Ratios
from embridge.evaluation.measures import measure
from embridge.evaluation.render._charts import curve_figure, histogram_chart
from embridge.evaluation.render._figures import NONE, number
from embridge.evaluation.render._flips import flip_columns
from embridge.evaluation.render._markup import Markup, element, joined, style_sheet
from embridge.evaluation.render._style import BASE, REPORT
from embridge.evaluation.render._tables import cell_legend, cell_table, gate_table, slice_table, threshold_table, wide
from embridge.evaluation.render.pictures import Picture, Show, pictures_from
from embridge.evaluation.summary import Summary
from embridge.evaluation.verdict import Decision

__all__ = ["PAGE_MARKS", "Picture", "Show", "pictures_from", "report_html", "save_html"]

PAGE_MARKS = (b"<title>Upgrade report",)
"""By which an earlier page is known."""

_SIGNS: dict[Decision, tuple[str, str]] = {
    "upgrade": ("✓", "good"),
    "upgrade with fusion or cascade": ("✓", "good"),
    "backfill first": ("!", "warn"),
    "keep the old model": ("✗", "bad"),
    "not enough evidence": ("?", "unknown"),
}
_WORDS = {"gain_ratio": "gain ratio", "break_even": "break-even", "update_gain": "update gain"}
_RATIOS = {
    "retention": "new/old ÷ new/new: how much of a full backfill the bridge keeps",
    "gain_ratio": "new/new ÷ old/old: how much better the new model is",
    "break_even": "retention × gain ratio: the bridge is worth it above 1",
    "update_gain": "how much of the way from old/old to new/new the bridge goes",
    "ceiling": "about the most that a map into this gallery can reach",
}


def report_html(summary: Summary, *, show: Show | None = None) -> str:
    """Render a report as one self-contained page.

    Ids, labels and texts are escaped, whatever they hold.

    Args:
        summary: The figures.
        show: From the id of an item or a query to what people look at; the id itself by default. `pictures_from` makes one
            of a folder of images.

    Returns:
        The page.

    Examples:
        >>> from embridge.evaluation import Verdict
        >>> nothing = dict.fromkeys(("ratios", "slices", "flips", "curves", "histograms", "shifts", "gates", "cautions"), ())
        >>> summary = Summary(Verdict("upgrade", "Upgrade."), ("mrr_at_5",), seed=0, asked=(), figures=(), about={}, **nothing)
        >>> "<h1>Upgrade report</h1>" in report_html(summary)
        True
    """
    seen: Show = cache(show) if show is not None else str
    parts = [
        element("h1", "Upgrade report"),
        _verdict(summary),
        _asked(summary),
        _gates(summary),
        _section("Cells", summary, _cells, after=_legend(summary)),
        _cautions(summary.cautions),
        _section("Backfill", summary, curve_figure, before=_text(_WHAT["Backfill"]), class_="beside-figures"),
        _section("Scores", summary, _scores, before=_text(_WHAT["Scores"])),
        _section("Slices", summary, _slices, before=_text(_WHAT["Slices"])),
        _section("Queries lost and won", summary, _flips(seen), before=_text(_WHAT["Queries lost and won"])),
        _about(summary),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"Upgrade report: {summary.outcome}"),
        style_sheet(BASE + REPORT),
    )
    page = element("html", head, element("body", element("main", *parts)), lang="en")
    return f"<!doctype html>\n{page}\n"


def save_html(path: Path | str, summary: Summary, *, show: Show | None = None) -> None:
    """Write a report as one page, whole or not at all.

    Args:
        path: Where it goes.
        summary: The figures.
        show: From an id to what people look at; see `report_html`.

    Raises:
        InvalidInput: A file that is no such page has that name.

    Examples:
        >>> from embridge.evaluation import Verdict
        >>> nothing = dict.fromkeys(("ratios", "slices", "flips", "curves", "histograms", "shifts", "gates", "cautions"), ())
        >>> summary = Summary(Verdict("upgrade", "Upgrade."), ("mrr_at_5",), seed=0, asked=(), figures=(), about={}, **nothing)
        >>> save_html("report.html", summary)
    """
    refuse_foreign_file(path, marks=PAGE_MARKS, what="a report's page")
    page = report_html(summary, show=show)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


_WHAT = {
    "Backfill": "New queries while the gallery is re-encoded bit by bit. The area under a curve (AUC) is the mean over "
    "the way from nothing to everything; the pale band is the 95 % interval.",
    "Scores": "What the best hit of each query scores, right ones upwards and wrong ones downwards. old/old and new/old "
    "share their scale; new/new scores in a space of its own. A threshold is the lowest score from which on that share of "
    "the best hits is right; it keeps that share of the queries.",
    "Slices": "Queries by kind, those that lost most first. The bar is the change against old/old with its 95 % "
    "interval; the upright line is no change.",
    "Queries lost and won": "Queries that found a right item before and do not now, beside those that find one now and did "
    "not before. Those that changed most come first. Framed and ticked: right items.",
}


def _text(words: str) -> Markup:
    return element("p", words, class_="note")


def _section(
    name: str,
    summary: Summary,
    part: Callable[[Summary, Asked], Markup],
    *,
    before: Markup | None = None,
    after: Markup | None = None,
    class_: str | None = None,
) -> Markup:
    """The part of every direction under one heading; nothing where there is none."""
    made = [(asked, part(summary, asked)) for asked in summary.asked]
    several = len(summary.asked) > 1
    bodies = [
        element("section", *([element("h3", _capital(asked.title))] if several else []), body)
        for asked, body in made
        if body
    ]
    if not bodies:
        return Markup("")
    around = [element("h2", name), *([before] if before else []), element("div", *bodies, class_=class_)]
    return element("section", *around, *([after] if after else []))


def _verdict(summary: Summary) -> Markup:
    """The sentence, in the colour of its decision; an upgrade whose gates failed is none to be green about."""
    verdict = summary.verdict
    sign, kind = _SIGNS[verdict.decision]
    if kind == "good" and not all(gate.passed for gate in summary.gates):
        sign, kind = "!", "warn"
    decision = _capital(verdict.decision)
    rest = verdict.sentence.removeprefix(decision)
    words = [element("strong", decision), rest] if rest != verdict.sentence else [verdict.sentence]
    return element("p", element("span", sign, class_="sign", aria_hidden="true"), *words, class_=f"verdict {kind}")


def _asked(summary: Summary) -> Markup:
    label = measure(summary.main).label
    told = "; ".join(
        f"{a.title}, {a.queries:,} queries over {a.gallery:,} items, right by {a.source}" for a in summary.asked
    )
    count = len(summary.cautions)
    cautions = f" {count} caution{'s' if count > 1 else ''} below." if count else ""
    return _text(f"The verdict goes by {label}. {_capital(told)}.{cautions}")


def _cautions(cautions: Sequence[str]) -> Markup:
    if not cautions:
        return Markup("")
    return element(
        "aside",
        element("h2", "Cautions"),
        element("ul", *(element("li", c) for c in cautions)),
        class_="cautions",
    )


def _gates(summary: Summary) -> Markup:
    if not summary.gates:
        return Markup("")
    passed, asked = sum(gate.passed for gate in summary.gates), len(summary.gates)
    told = f"all {asked} checks passed" if passed == asked else f"{asked - passed} of {asked} checks failed"
    return element("section", element("h2", f"Gates: {told}"), gate_table(summary.gates))


def _cells(summary: Summary, asked: Asked) -> Markup:
    ratios = [r for r in summary.ratios if r.direction == asked.direction]
    return joined([cell_table(summary, asked), *(_ratios(r, measure(summary.main).label) for r in ratios)])


def _ratios(ratios: Ratios, metric: str) -> Markup:
    entries = [
        element(
            "div",
            element("dt", _WORDS.get(name, name)),
            element("dd", number(getattr(ratios, name)), class_="big"),
            element("dd", told if getattr(ratios, name) is not None else "not measured, or nothing to divide by"),
        )
        for name, told in _RATIOS.items()
    ]
    return element("dl", *entries, class_="ratios", aria_label=f"ratios of {metric}")


def _legend(summary: Summary) -> Markup:
    cells = list(dict.fromkeys(cell for asked in summary.asked for cell in asked.cells))
    label = measure(summary.main).label
    told = (
        "±: half the 95 % interval. ▲\u00a0better, ▼\u00a0worse: the whole interval of the change lies on one side of 0; "
        f"◇\u00a0undecided: it does not, or fewer than {FEWEST_CHANGED} queries changed. Lost: share of queries that "
        f"{label} counts as found under old/old and not here (−); won: the reverse (+)."
    )
    return joined([_text(told), cell_legend(cells)])


def _scores(summary: Summary, asked: Asked) -> Markup:
    histograms = [h for h in summary.histograms if h.direction == asked.direction]
    shifts = [s for s in summary.shifts if s.direction == asked.direction]
    if not histograms and not shifts:
        return Markup("")
    made: list[Markup] = []
    if histograms:
        tallest = max(max(*h.right, *h.wrong, 1) for h in histograms)
        drawn = [histogram_chart(h, tallest=tallest, title=f"Scores of {h.cell}, {asked.title}") for h in histograms]
        distances = dict.fromkeys(f"{s.cell} {number(s.ks_distance)}" for s in shifts)
        told = f"Kolmogorov–Smirnov distance from the scores of old/old (0 alike, 1 apart): {', '.join(distances)}"
        made.append(
            element(
                "figure", element("div", *drawn, class_="panels"), *([element("figcaption", told)] if distances else [])
            )
        )
    return joined([*made, *([threshold_table(shifts, asked.title, asked.queries)] if shifts else [])])


def _slices(summary: Summary, asked: Asked) -> Markup:
    slices = [found for found in summary.slices if found.direction == asked.direction]
    return slice_table(slices, measure(summary.main).label, asked.title) if slices else Markup("")


def _flips(show: Show) -> Callable[[Summary, Asked], Markup]:
    def part(summary: Summary, asked: Asked) -> Markup:
        lost, won = ([f for f in flips if f.direction == asked.direction] for flips in (summary.flips, summary.wins))
        return flip_columns(lost, won, show) if lost or won else Markup("")

    return part


def _about(summary: Summary) -> Markup:
    told = [("metrics", ", ".join(summary.metrics)), ("seed", str(summary.seed)), ("schema", summary.schema)]
    rows = [element("tr", element("th", k, scope="row"), element("td", v)) for k, v in [*_flat(summary.about), *told]]
    return element(
        "section", element("h2", "About"), wide(element("table", element("tbody", *rows)), "about"), class_="about"
    )


def _flat(value: Mapping[str, Any], *, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as lines: ``old model: …``."""
    for key, found in value.items():
        name = f"{prefix}{key}"
        if isinstance(found, Mapping):
            yield from _flat(found, prefix=f"{name} ")
        elif isinstance(found, (list, tuple)):
            yield name, ", ".join(map(str, found)) or NONE
        else:
            yield name, NONE if found is None else str(found)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
