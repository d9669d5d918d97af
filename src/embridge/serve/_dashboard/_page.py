"""The page around the parts: what stands still while they are refreshed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embridge import __version__
from embridge.evaluation.render._markup import Markup, element, joined

__all__ = ["dashboard_page"]

_BUTTONS = (("pause", "Pause"), ("resume", "Resume"), ("canary", "Canary…"), ("rollback", "Roll back…"))
_COLUMNS = (
    (
        ("shadow", "Shadow", "How far the old model and the bridge agree"),
        ("curve", "Backfill curve", "What each further part of a backfill brings, as the report measured it"),
        ("failures", "Failures", "Items that could not be had; their old rows stay and are found through the bridge"),
    ),
    (
        ("gates", "Gates", "What has to hold before the new model answers"),
        ("journal", "Journal", "The last moves"),
        ("times", "Latency", "Of this server’s requests since it began"),
        ("models", "Models", "What /v1/embeddings answers with"),
    ),
)
_EVERYWHERE = ("times", "models")


def dashboard_page(
    data: Mapping[str, Any] | None, *, keyed: bool, operated: bool, followed: bool, pictures: bool
) -> str:
    """The whole page.

    Args:
        data: What ``/dashboard.json`` gives, to begin with; None where the page has to ask for it.
        keyed: Whether a key has to be given first.
        operated: Whether there are operators, so that buttons can work.
        followed: Whether a store is served, in which a rollout can be followed and items searched.
        pictures: Whether a picture can be searched for.
    """
    parts: Mapping[str, Markup] = {} if data is None else data["parts"]
    title = "" if data is None else data["title"]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "Embridge"),
        element("link", rel="stylesheet", href="assets/dashboard.css"),
        element("link", rel="icon", href="data:,"),
        element("script", src="assets/dashboard.js", defer="defer"),
    )
    body = element(
        "body",
        element("main", _header(parts), _key_form(), _content(title, parts, operated, followed, pictures)),
        *([_dialog()] if followed else []),
        data_keys="required" if keyed else "none",
        data_operators="yes" if operated else "no",
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(parts: Mapping[str, Markup]) -> Markup:
    return element(
        "header",
        element("p", element("b", "Embridge"), element("span", __version__, class_="note"), class_="brand"),
        element("p", _part("span", "store", parts), class_="store"),
        element("p", element("span", "", id="fresh"), element("a", "API", href="docs"), class_="links"),
        element("p", "", id="live", role="status", class_="unseen"),
    )


def _key_form() -> Markup:
    field = element("input", id="key", type="password", autocomplete="current-password", required="required")
    return element(
        "form",
        element("h2", "This server wants a key"),
        element("p", "It is kept in this tab, and sent to this server alone.", class_="note"),
        _hidden_name("client"),
        element("label", "Key", for_="key"),
        element("div", field, element("button", "Open", type="submit", class_="first"), class_="fields"),
        element("p", "", id="key-error", role="alert", class_="error"),
        id="unlock",
        class_="card",
        hidden="hidden",
    )


def _content(title: str, parts: Mapping[str, Markup], operated: bool, followed: bool, pictures: bool) -> Markup:
    top = [
        element("h1", title, id="title"),
        _part("div", "advice", parts),
        *([_part("div", "journey", parts), _controls(operated)] if followed else []),
    ]
    columns = [
        element("div", *(_card(*card, parts) for card in column if followed or card[0] in _EVERYWHERE))
        for column in _COLUMNS
    ]
    middle = [_part("div", "figures", parts), _search(pictures)] if followed else []
    return element(
        "div",
        element("section", *top, class_="card top"),
        *middle,
        element("div", *columns, class_="cards"),
        id="content",
    )


def _card(part: str, name: str, about: str, parts: Mapping[str, Markup]) -> Markup:
    return element(
        "section", element("h2", name), element("p", about, class_="note"), _part("div", part, parts), class_="card"
    )


def _controls(operated: bool) -> Markup:
    buttons = [
        element(
            "button",
            name,
            type="button",
            data_move=move,
            disabled="disabled",
            class_="danger" if move == "rollback" else None,
        )
        for move, name in _BUTTONS
    ]
    hint = "Buttons need operator_keys and rollout in the server’s settings."
    return element(
        "div",
        *buttons,
        *([] if operated else [element("span", hint, class_="note")]),
        class_="controls",
        role="group",
        aria_label="Move the rollout",
    )


def _search(pictures: bool) -> Markup:
    text = element(
        "input", id="query", type="search", autocomplete="off", maxlength="1000", placeholder="what people look for"
    )
    picture = [
        element("label", "or a picture", for_="picture"),
        element("input", id="picture", type="file", accept="image/png,image/jpeg,image/webp,image/gif,image/bmp"),
    ]
    form = element(
        "form",
        element("label", "Search all three ways", for_="query", class_="unseen"),
        element("div", text, element("button", "Search", type="submit", class_="first"), class_="fields"),
        *([element("div", *picture, class_="fields")] if pictures else []),
        id="search",
        role="search",
    )
    return element(
        "section",
        element("h2", "Side by side"),
        element(
            "p",
            "One query by the old model, through the bridge, and by the new model on what is encoded.",
            class_="note",
        ),
        form,
        element("p", "", id="found", role="status", class_="note"),
        element("div", "", id="answers", class_="answers"),
        class_="card",
    )


def _dialog() -> Markup:
    share = element("input", id="share", type="number", min="0.1", max="100", step="any", inputmode="decimal")
    key = element("input", id="operator", type="password", autocomplete="current-password", required="required")
    buttons = [
        element("button", "Cancel", type="button", id="cancel"),
        element("button", "Confirm", type="submit", id="confirm", class_="first"),
    ]
    form = element(
        "form",
        element("h2", "", id="move-title"),
        element("p", "", id="move-about"),
        element("div", element("label", "Per cent of new clients’ queries", for_="share"), share, id="share-field"),
        _hidden_name("operator"),
        element("div", element("label", "Operator key", for_="operator"), key),
        element("p", "", id="move-error", role="alert", class_="error"),
        element("div", *buttons, class_="controls"),
        id="move-form",
    )
    return element("dialog", form, id="move", aria_labelledby="move-title", aria_describedby="move-about")


def _hidden_name(name: str) -> Markup:
    """For password managers, which tell keys apart by it."""
    return element("input", type="text", autocomplete="username", value=name, hidden="hidden", readonly="readonly")


def _part(tag: str, name: str, parts: Mapping[str, Markup]) -> Markup:
    return element(tag, joined([parts.get(name, "")]), data_part=name)
