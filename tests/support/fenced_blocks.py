"""Pages of the documentation and the fenced blocks in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    """The blocks of a page in one language, in order."""
    return [text for named, text in _FENCE.findall(page.read_text()) if named == language]


def all_blocks(page):
    """(Language, text) of every block of a page, in order."""
    return _FENCE.findall(page.read_text())


def pages_with(language):
    """Pages that have such blocks."""
    return [page for page in PAGES if blocks(page, language)]


def prose(page):
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def label(page):
    """The page's name for pytest."""
    return page.relative_to(ROOT).as_posix()


def run(page):
    """Execute the page's python blocks in one namespace, in order, and return it."""
    names = {"__name__": "__page__"}
    for number, text in enumerate(blocks(page, "python")):
        exec(compile(text, f"{label(page)}, block {number}", "exec"), names)
    return names
