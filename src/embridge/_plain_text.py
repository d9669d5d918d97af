"""Texts from outside, such as ids and names of models, where they can do nothing: in a terminal, in a line, in Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["markdown_text", "one_line", "spelling_hint", "visible"]

# control characters (escape sequences and links of terminals begin with one), marks that turn the direction of writing, ends of
# lines of other alphabets, and halves of characters
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_ENDS = re.compile(r"[\r\n]+")
_SPECIAL = re.compile(r"[\\`\[\]<|~]|&(?=[\w#])|\*(?=\S)|(?<=\S)\*|(?<![^\W_])_|_(?![^\W_])")


def visible(text: str) -> str:
    r"""The text with what a terminal would obey written out.

    >>> visible("a\x1b[31m b\n")
    'a\\x1b[31m b\\n'
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    r"""The same of a message, whose lines are joined.

    >>> one_line("first\n  second\x07")
    'first second\\x07'
    """
    return visible(" ".join(line for part in _LINE_ENDS.split(text) if (line := part.strip())))


def markdown_text(text: str) -> str:
    r"""The text as Markdown shows it, in a line or a cell: no markup, no HTML, no link.

    >>> markdown_text("<b> new_b [x](y) 2 * 3")
    '\\<b> new_b \\[x\\](y) 2 * 3'
    """
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", one_line(text))


def spelling_hint(missing: Iterable[str], held: Iterable[str]) -> str:
    r"""What to add to a message on ids that are missing, where some are there in another normal form of Unicode.

    >>> spelling_hint(["caf\u00e9", "x"], ["cafe\u0301"])
    "; 'caf\xe9' is there in another normal form of Unicode: write both files in one (unicodedata.normalize)"
    """
    forms = {unicodedata.normalize("NFC", name) for name in held}
    for name in missing:
        if not name.isascii() and unicodedata.normalize("NFC", name) in forms:
            return f"; {name!r} is there in another normal form of Unicode: write both files in one (unicodedata.normalize)"
    return ""
