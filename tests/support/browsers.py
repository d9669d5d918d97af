"""A real browser, and what is measured in it."""

import shutil
from contextlib import contextmanager

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

# every element with text of its own: its colour on all the grounds behind it
CONTRASTS = """() => {
  const numbers = colour => {
    const [r, g, b, a] = colour.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a === undefined ? 1 : a];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = rgb => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = element => {
    const own = numbers(getComputedStyle(element).backgroundColor);
    if (own[3] === 1) return own.slice(0, 3);
    return over(own, element.parentElement ? ground(element.parentElement) : [255, 255, 255]);
  };
  const found = [];
  for (const element of document.querySelectorAll('main *, dialog[open] *')) {
    const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
    if (!text || ['title', 'desc'].includes(element.tagName)) continue;
    const style = getComputedStyle(element), behind = ground(element);
    const ink = over(numbers(element.closest('svg') ? style.fill : style.color), behind);
    const [high, low] = [light(ink), light(behind)].sort((a, b) => b - a);
    found.push([text.slice(0, 40), element.tagName, (high + .05) / (low + .05)]);
  }
  return found;
}"""


@contextmanager
def started_browser():
    """The browser of this machine; skips where there is none."""
    if BROWSER is None:
        pytest.skip("needs chromium, chromium-browser or google-chrome on the path")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
