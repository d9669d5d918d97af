"""Tables of what the methods and the objectives can do, made of the record that stands beside each name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks.rendering.markdown import table
from embridge.methods import METHODS
from embridge.training.objectives import OBJECTIVES

__all__ = ["TABLES"]

_LENGTHS = {
    "old": "as long as the old one",
    "old + extra": "`extra` dims behind the old ones",
    "paragon + extra": "the paragon's dim and `extra` more",
    "any": "`dim`",
}
_BRIDGES = {
    "identity": "none needed",
    "prefix": "its front",
    "backward map": "a learnt matrix",
    "none": "not comparable",
}
_ASKED = {
    "old model": "class means",
    "old embeddings": "the old vector of each image",
    "old classifier": "the weights of the old classifier",
    "paragon": "a paragon",
}
_REFRESHED = {"step": "", "refresh": "a pass over some images"}


def methods() -> str:
    """One line a map: how it is fitted, which way it goes, on what, and what can be done with it."""
    lines = [
        [
            f"`{name}`",
            "in " + record.cost if record.cost == "closed form" else "by training",
            " or ".join(record.directions),
            _listed(sorted(record.fitted_on)),
            _listed(sorted(record.needs - {"pairs"})),
            _listed(sorted(record.uses)),
            _yes(record.linear),
            _yes(record.finetunable),
        ]
        for name, record in METHODS.items()
        if name != "choose"
    ]
    head = ["name", "fitted", "bridge", "pairs of", "needs", "uses", "can be folded", "can be finetuned"]
    return table(head, lines, words=range(len(head)))


def objectives() -> str:
    """One line an objective: how long its embedding is, what makes it comparable, what it asks for."""
    lines = [
        [
            f"`{name}`",
            _LENGTHS[record.length],
            _BRIDGES[record.bridge],
            _listed(_ASKED[need] for need in _ASKED if need in record.needs) or "nothing",
            _listed(_ASKED[need] for need in _ASKED if need in record.uses),
            _REFRESHED[record.cost],
        ]
        for name, record in OBJECTIVES.items()
    ]
    head = ["name", "embedding", "bridge", "asks for", "takes under some settings", "before epochs"]
    return table(head, lines, words=range(len(head)))


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


TABLES: dict[str, Callable[[], str]] = {"methods": methods, "objectives": objectives}
