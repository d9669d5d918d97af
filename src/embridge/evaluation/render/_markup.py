"""Markup that cannot be broken by what it holds: text is escaped where an element is made, once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

__all__ = ["Markup", "element", "joined", "style_sheet"]

_VOID = frozenset({"br", "col", "img", "input", "link", "meta"})
# control characters, lone surrogates and non-characters are in no XML document; marks that turn the direction of writing would
# make a page show another text than it holds. Ids may hold all of them
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is markup already. Every other string is plain text, and escaped."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """An element, well-formed as HTML and as XML. ``class_`` is class, ``stroke_width`` stroke-width; None is left out.

    >>> element("p", "a < b", element("br"), class_="note")
    '<p class="note">a &lt; b<br/></p>'
    """
    named = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    if tag in _VOID:
        return Markup(f"<{tag}{named}/>")
    return Markup(f"<{tag}{named}>{joined(children)}</{tag}>")


def joined(parts: Iterable[str]) -> Markup:
    """The parts one after another, escaped where they are plain text."""
    return Markup("".join(part if isinstance(part, Markup) else _escaped(part) for part in parts))


def style_sheet(css: str) -> Markup:
    """A style element of our own CSS, which nothing from outside ever enters."""
    return Markup(f"<style>{css}</style>")


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return _escaped(value) if isinstance(value, str) else f"{round(value, 2):.10g}"


def _escaped(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text), quote=True)
