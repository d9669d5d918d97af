"""The dashboard in a real browser: at three widths, by day and by night, by keyboard, and alone with its server."""

import numpy as np
import pytest
from browsers import CONTRASTS, started_browser
from dashboards import OPERATORS, begun, operated
from served import NEW, listening

from embridge import Embeddings
from embridge.rollout.failures import record_failures
from embridge.rollout.journal import current_state, entries
from embridge.rollout.shadow_log import ShadowLog, ShadowSample, add_to_log
from embridge.serve.app import create_app

pytestmark = pytest.mark.slow
LONG = "https://shop.example/" + "verylong" * 30
CLIENT = "client-key-number-1"


def busy_store():
    """A rollout with something in every part of the page."""
    store = begun("backfilling", canary=0.25)
    store.upsert(Embeddings.of(np.eye(2, 4, 1, dtype=np.float32), NEW, ["a", "b"]))
    record_failures(store.documents, {LONG: f"{LONG} is gone", "c/../d": "<b>it cannot be read"})
    sample = ShadowSample(0.5, 1.0, 0.7, 0.9, 0.8, 0.01, 0.02)
    add_to_log(store.documents, ShadowLog("a1b2", (sample,) * 30, 30))
    return store


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


@pytest.fixture
def served(tmp_path, request):
    """A server with a busy store, and its address."""
    store = busy_store()
    gates = "gates: [shadow_overlap >= 0.3, shadow_queries >= 20]\n"
    with listening(create_app(operated(store, tmp_path, rollout=gates, **getattr(request, "param", {})))) as address:
        yield store, address


@pytest.fixture
def opened(browser):
    """Open a page; whatever it says, and whatever it asks of others, is kept."""
    pages = []

    def open_page(address, width=1280, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        pages.append(page)
        heard = []
        page.on("request", lambda r: None if r.url.startswith((address, "data:")) else heard.append(r.url))
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.goto(address)
        return page, heard

    yield open_page
    for page in pages:
        page.close()


def refreshed(page):
    """Wait for data that the page asked for after it was loaded."""
    with page.expect_response("**/dashboard.json") as answer:
        pass
    answer.value.finished()


def searched(page, text):
    page.fill("#query", text)
    page.keyboard.press("Enter")
    page.locator(".answer").nth(2).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_it_fits_every_screen_and_can_be_read(served, opened, width, scheme):
    page, heard = opened(served[1], width, scheme)
    searched(page, "1 0 0 5")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert page.locator("h1").text_content() == "Backfilling"
    page.click("[data-move=canary]")
    poor = [(text, tag, round(ratio, 2)) for text, tag, ratio in page.evaluate(CONTRASTS) if ratio < 4.5]
    assert poor == []
    assert heard == []
    tables = page.evaluate(
        "[...document.querySelectorAll('.wide')].map(box => [box.tabIndex, getComputedStyle(box).overflowX])"
    )
    assert tables
    assert all(one == [0, "auto"] for one in tables)


def test_a_search_and_a_pause_by_keyboard(served, opened):
    store, address = served
    page, heard = opened(address)
    refreshed(page)
    page.keyboard.press("Tab")
    reached = []
    while (name := page.evaluate("document.activeElement.id || document.activeElement.dataset.move || ''")) != "query":
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        reached.append((name, outline))
        assert len(reached) < 9
        page.keyboard.press("Tab")
    assert reached[1:] == [("pause", "solid"), ("canary", "solid"), ("rollback", "solid")]
    page.keyboard.type("1 0 0 5")
    page.keyboard.press("Enter")
    page.locator(".answer").nth(2).wait_for()
    assert page.locator(".answer b").first.text_content() == "a"
    assert page.locator("#found").text_content().startswith("3 hits by the old model, 3 through the bridge, 2 by")
    page.locator("[data-move=pause]").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "operator"
    page.keyboard.press("Escape")
    assert not page.locator("#move").is_visible()
    assert page.evaluate("document.activeElement.dataset.move") == "pause"
    page.keyboard.press("Enter")
    page.keyboard.type(OPERATORS[1])
    page.keyboard.press("Enter")
    page.locator("h1", has_text="Backfilling, paused").wait_for()
    assert page.locator("#live").text_content() == "The rollout is now: Backfilling, paused"
    assert current_state(store.documents).paused
    assert list(entries(store.documents))[-1].by.startswith("operator key 2 at ")
    assert page.locator("[data-move=pause]").is_disabled()
    assert page.locator("[data-move=resume]").is_enabled()
    assert page.locator("#operator").input_value() == ""
    assert heard == []


def test_a_wrong_key_is_said_and_moves_nothing(served, opened):
    store, address = served
    page, _ = opened(address)
    refreshed(page)
    page.click("[data-move=rollback]")
    page.keyboard.type("no such operator")
    page.click("#confirm")
    page.locator("#move-error", has_text="this wants an operator's key").wait_for()
    assert current_state(store.documents).version == 1


def test_a_refresh_moves_nothing_on_the_page(served, opened, monkeypatch):
    monkeypatch.setattr("embridge.serve._dashboard._looks._FRESH_SECONDS", 0.0)
    store, address = served
    page, _ = opened(address, 390)
    searched(page, "1 0 0 5")
    box = page.locator(".wide").first
    box.focus()
    places = "[...document.querySelectorAll('h2, .card, .tiles > div')].map(e => e.getBoundingClientRect().toJSON())"
    before = page.evaluate(places)
    store.upsert(Embeddings.of(np.eye(1, 4, dtype=np.float32), NEW, ["c/../d"]))
    page.locator("dd", has_text="3 of 3 rows").wait_for(timeout=15_000)
    assert page.evaluate(places) == before
    assert page.evaluate("document.activeElement.className") == "wide"


@pytest.mark.parametrize("served", [{"keys": [CLIENT]}], indirect=True)
def test_it_asks_for_a_key_first_and_keeps_it_in_the_tab(served, opened):
    page, heard = opened(served[1], 390)
    assert page.locator("#unlock").is_visible()
    assert not page.locator("h1").is_visible()
    assert heard == []
    page.keyboard.type("a wrong key, which is long")
    page.keyboard.press("Enter")
    page.locator("#key-error", has_text="The server does not know this key").wait_for()
    page.keyboard.type(CLIENT)
    page.keyboard.press("Enter")
    page.locator("h1", has_text="Backfilling").wait_for()
    searched(page, "1 0 0 5")
    page.reload()
    page.locator("h1", has_text="Backfilling").wait_for()
    assert CLIENT not in page.url
