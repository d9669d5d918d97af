"""The parts of the page that hold data, as markup."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence

import numpy as np

from embridge.evaluation.gates import GateResult
from embridge.evaluation.render._charts import curve_figure
from embridge.evaluation.render._markup import Markup, element, joined
from embridge.evaluation.render._tables import gate_table, wide
from embridge.jobs.rollout import RolloutStatus
from embridge.rollout.state import RolloutState
from embridge.serve._dashboard._comparison import Answered, Comparison, Item
from embridge.serve._dashboard._looks import Look, Required
from embridge.serve._dashboard._times import RouteTimes
from embridge.serve._dashboard._words import JOURNEY, Advice
from embridge.serve._models import ServedModel

__all__ = ["comparison_part", "parts_of"]

_REASONS = 8
_COLUMNS, _CHARACTERS = 3, 160


def parts_of(
    look: Look,
    advice: Advice,
    models: Mapping[str, ServedModel],
    times: Sequence[RouteTimes],
    searches: Mapping[str, int],
) -> dict[str, Markup]:
    """Every part by its name."""
    status = look.status
    return {
        "store": Markup("") if status is None else joined([status.store]),
        "journey": _journey(None if status is None else status.state),
        "advice": _advice(advice),
        "figures": _figures(look),
        "shadow": _shadow(status),
        "curve": _curve(look.required),
        "gates": _gates(look.required),
        "times": _times(times, searches),
        "failures": _failures(status),
        "journal": _journal(status),
        "models": _models(models),
    }


def comparison_part(found: Comparison) -> Markup:
    """The three answers side by side."""
    return joined(_answered(one) for one in found.answers)


def _journey(state: RolloutState | None) -> Markup:
    phase = None if state is None else state.phase
    at = JOURNEY.index(phase) if phase in JOURNEY else -1
    steps = [
        element(
            "li",
            element("span", name),
            class_="done" if i < at else "now" if i == at else None,
            aria_current="step" if i == at else None,
        )
        for i, name in enumerate(JOURNEY)
    ]
    return element("ol", *steps, class_="journey", aria_label="The way of a rollout")


def _advice(advice: Advice) -> Markup:
    command = [" ", element("code", advice.command)] if advice.command else []
    return joined(
        [
            element("p", advice.sentence, class_="meaning"),
            element("p", element("b", "Next: "), advice.step, *command, class_="next"),
        ]
    )


def _figures(look: Look) -> Markup:
    status, state = look.status, None if look.status is None else look.status.state
    if status is None:
        return Markup("")
    left = look.seconds_left
    agreed = status.shadow[0].overlap if status.shadow else None
    rate = f"{look.rows_per_second:,.3g} rows/s" if look.rows_per_second else "—"
    tiles = [
        _tile("Canary", "—" if state is None else f"{100 * state.canary:.4g} %", "of new clients’ queries"),
        _tile("Encoded", f"{100 * status.share:.3g} %", f"{status.encoded:,} of {status.rows:,} rows", _bar(status)),
        _tile("Rate", rate, "nothing is encoded now" if left is None else f"{_duration(left)} left"),
        _tile(
            "Shadow agreement",
            "—" if agreed is None else f"{100 * agreed.value:.3g} %",
            "no query was asked both ways" if agreed is None else "of the hits are the same",
        ),
        _tile("Failures", f"{status.failures:,}", "items that could not be had"),
    ]
    return element("dl", *tiles, class_="tiles")


def _tile(name: str, value: str, about: str, *more: Markup) -> Markup:
    return element(
        "div", element("dt", name), element("dd", value, class_="big"), element("dd", about, class_="note"), *more
    )


def _bar(status: RolloutStatus) -> Markup:
    bar = element(
        "progress", max=max(status.rows, 1), value=min(status.encoded, status.rows), aria_label="rows encoded"
    )
    return element("dd", bar)


def _shadow(status: RolloutStatus | None) -> Markup:
    if status is None or not status.shadow:
        return _nothing("No query was asked both ways yet.", "embridge shadow rollout.yaml")
    return joined(
        joined([element("h3", one.title.capitalize()), _table(one.title, (), one.rows())]) for one in status.shadow
    )


def _curve(required: Required) -> Markup:
    summary = required.summary
    asked = () if summary is None else summary.asked
    drawn = [(one.title, curve_figure(summary, one)) for one in asked if summary is not None]
    drawn = [(title, figure) for title, figure in drawn if figure]
    if drawn:
        return joined(joined([element("h3", title.capitalize()), figure]) for title, figure in drawn)
    return _nothing("No report with a backfill curve is named in the rollout’s settings.", "report: report.json")


def _gates(required: Required) -> Markup:
    if required.problem:
        return element("p", element("strong", "They cannot be checked: ", class_="bad"), required.problem)
    if not required.named:
        return _nothing("The server’s settings name no rollout, whose gates could be shown.", "rollout: rollout.yaml")
    if not required.gates:
        return _nothing("The rollout’s settings require nothing.", "gates: [shadow_overlap >= 0.6]")
    return gate_table(
        [
            GateResult(one.gate, one.where, np.nan if one.value is None else one.value, one.bound, one.passed)
            for one in required.gates
        ]
    )


def _times(times: Sequence[RouteTimes], searches: Mapping[str, int]) -> Markup:
    if not times:
        return _nothing("No request was answered yet.")
    rows = [
        [
            one.route,
            f"{one.requests:,}",
            f"{one.failed:,}",
            _time(one.median_seconds),
            _time(one.p95_seconds),
        ]
        for one in times
    ]
    answered = ", ".join(f"{count:,} {way}" for way, count in sorted(searches.items()))
    note = [element("p", f"Searches by what answered them: {answered}.", class_="note")] if answered else []
    return joined(
        [_table("Latency", ("route", "requests", "failed", "median", "p95"), rows, figures=range(1, 5)), *note]
    )


def _failures(status: RolloutStatus | None) -> Markup:
    if status is None or not status.failures:
        return _nothing("Every item could be had.")
    rows = [[name, reason] for name, reason in list(status.reasons.items())[:_REASONS]]
    more = status.failures - len(rows)
    note = [element("p", f"and {more:,} more", class_="note")] if more else []
    return joined([_table("Failures", ("item", "reason"), rows), *note])


def _journal(status: RolloutStatus | None) -> Markup:
    if status is None or not status.journal:
        return _nothing("No move was made yet.")
    rows = []
    for entry in reversed(status.journal):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.at_seconds))
        rows.append([entry.move, entry.by, f"{at} UTC"])
    return _table("Journal", ("move", "by", "when"), rows)


def _models(models: Mapping[str, ServedModel]) -> Markup:
    rows = [
        [name, str(model.space.dim), ", ".join(sorted(model.modalities)), model.description]
        for name, model in models.items()
        if model.role is None
    ]
    return _table("Models", ("name", "dims", "takes", "what it is"), rows, figures=(1,))


def _answered(found: Answered) -> Markup:
    items = [_item(found, item) for item in found.items]
    return element(
        "section",
        element("h3", found.title),
        element("p", found.note, class_="note"),
        element("ol", *items) if items else Markup(""),
        class_="answer",
    )


def _item(found: Answered, item: Item) -> Markup:
    values = [(name, str(value)) for name, value in item.payload.items() if value is not None]
    shown = [element("span", _short(f"{name}: {value}"), dir="auto") for name, value in values if value != item.id]
    picture = [] if item.picture is None else [element("img", src=item.picture.uri, alt="")]
    place = [] if found.way == "old" else [element("small", _place(item.old_rank), class_="place")]
    words = element(
        "div",
        element("b", _short(item.id), dir="auto"),
        *shown[:_COLUMNS],
        element("small", f"{item.score:.4f}".replace("-", "−"), *place),
        class_="what",
    )
    return element("li", *picture, words)


def _place(old_rank: int | None) -> str:
    return "new here" if old_rank is None else f"old rank {old_rank}"


def _short(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"


def _table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, figures: Container[int] = ()) -> Markup:
    """A table whose columns hold words, but for those of the given numbers."""

    def kind(column: int) -> str | None:
        return None if column in figures else "words"

    body = [
        element(
            "tr",
            element("th", element("span", row[0], dir="auto"), scope="row"),
            *(element("td", value, class_=kind(i)) for i, value in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    columns = [element("th", title, scope="col", class_=kind(i)) for i, title in enumerate(head)]
    top = [element("thead", element("tr", *columns))] if columns else []
    return wide(element("table", *top, element("tbody", *body)), name)


def _nothing(sentence: str, command: str = "") -> Markup:
    return element("p", sentence, *([" ", element("code", command)] if command else []), class_="note")


def _time(seconds: float) -> str:
    return f"{seconds:,.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"
