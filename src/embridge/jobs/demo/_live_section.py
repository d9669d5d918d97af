"""The part of the demo's page on the live index: what it answered at each step, and the curve."""

from __future__ import annotations

from embridge.evaluation.render._charts import curve_chart
from embridge.evaluation.render._markup import Markup, element, joined
from embridge.evaluation.render._tables import wide
from embridge.jobs.demo._live import ANSWERED_BY, SETTINGS, Live, Step

__all__ = ["live_section"]


def live_section(live: Live) -> Markup:
    """The section."""
    return element(
        "div",
        element("h2", "The same upgrade on a live index, and back"),
        element(
            "p",
            f"An index of {live.rows:,} pictures, one a held-out character, was asked for {live.queries} names at every step: "
            "before the upgrade, through the bridge, while pictures were encoded again in random order, and after the "
            "rollback. ",
            element("strong", _unchanged(live)),
        ),
        element("div", _chart(live), _table(live), class_="live"),
        element(
            "p",
            "The index stayed beside this page. To take it to the end, run ",
            element("code", f"embridge plan {SETTINGS}"),
            " and ",
            element("code", "embridge apply plan.json"),
            " in this folder.",
            class_="note",
        ),
    )


def _unchanged(live: Live) -> str:
    if live.old_rows_changed:
        return f"Of the old vectors, {live.old_rows_changed:,} are others than before."
    return "Every old vector is the same as before, bit by bit."


def _chart(live: Live) -> Markup:
    old = live.steps[0].recall.value
    title = "Recall at 10 against the share of pictures that are encoded again"
    chart = curve_chart([live.curve], "R@10", title=title, old=old, new=live.whole.value)
    words = (
        "Recall at 10 by the share encoded again, with its 95 % interval; a full backfill is at the upper level line."
    )
    return element("figure", chart, element("figcaption", words))


def _table(live: Live) -> Markup:
    head = element("tr", *(element("th", name) for name in ("state", "answers", "encoded", "R@10")))
    rows = [_row(step, live) for step in live.steps]
    return wide(element("table", element("thead", head), element("tbody", *rows)), "steps of the live index")


def _row(step: Step, live: Live) -> Markup:
    recall = joined([f"{step.recall.value:.3f} ", element("span", f"±{step.recall.half:.3f}", class_="half")])
    return element(
        "tr",
        element("th", step.state),
        element("td", ANSWERED_BY[step.served], class_="words"),
        element("td", f"{step.encoded / live.rows:.0%}"),
        element("td", recall),
    )
