"""Sentences of a Markdown page: its paragraphs and list items, without code, tables, headings, formulas and comments."""

import re

_LEFT_OUT = re.compile(r"^```.*?^```$|<!--.*?-->|<figure.*?</figure>|^!\[.*?$", re.MULTILINE | re.DOTALL)
_NOT_PROSE = re.compile(r"^(#|\||:::|---|!!!|<)")
_ITEM = re.compile(r"^\s*([-*]|\d+\.)\s+")
_LINK = re.compile(r"\[([^\]]+)\](\([^)]*\)|\[[^\]]*\])")
_ABBREVIATION = re.compile(r"\b(al|e\.g|i\.e|cf|vs|No|Eq|Sec)\.")
_END = re.compile(r"""(?<=[.!?])(?:["')*`]*)\s+(?=["'(*`\[]*[A-Z0-9`α-ωτψ])""")


def paragraphs(text):
    """Paragraphs and list items, each in one line."""
    found, current = [], []
    for line in [*_LEFT_OUT.sub("\n", text).splitlines(), ""]:
        if not line.strip() or _NOT_PROSE.match(line.strip()) or _ITEM.match(line):
            found.append(" ".join(current))
            current = []
        if line.strip() and not _NOT_PROSE.match(line.strip()):
            current.append(_ITEM.sub("", line).strip())
    return [paragraph for paragraph in found if paragraph]


def sentences(text):
    """Sentences of the prose of a page, links shown as their text."""
    found = []
    for paragraph in paragraphs(text):
        shown = _ABBREVIATION.sub(r"\1", _LINK.sub(r"\1", paragraph))
        found += [part for part in _END.split(shown) if re.search(r"\w", part)]
    return found


def mean_length(text):
    """Words a sentence, on average; 0 where there is no prose."""
    lengths = [len(sentence.split()) for sentence in sentences(text)]
    return sum(lengths) / len(lengths) if lengths else 0.0
