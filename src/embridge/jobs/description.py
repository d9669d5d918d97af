"""What a file or folder of embridge is, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Description", "Kind"]

Kind = Literal[
    "upgrade",
    "report",
    "trained model",
    "model",
    "LoRA",
    "caption cache",
    "checkpoints",
    "settings",
    "folder",
]
"""What embridge writes or reads, besides vectors and stores."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a file or folder is, and what can be done with it.

    Attributes:
        where: The file or folder.
        kind: What it is.
        facts: What it holds, by name, as plain JSON.
        next_steps: Commands and lines of settings that take it.
        problems: What makes it unusable as it is.

    Examples:
        >>> Description("upgrade", "upgrade", {"method": "xbt"}).table()[1]
        [['this is', 'an upgrade'], ['method', 'xbt']]
    """

    where: str
    kind: Kind
    facts: Mapping[str, Any] = field(default_factory=dict)
    next_steps: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def named_kind(self) -> str:
        """Its kind with an article."""
        if self.kind in ("settings", "checkpoints"):
            return self.kind
        return f"{'an' if self.kind == 'upgrade' else 'a'} {self.kind}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind,
            "where": self.where,
            "facts": dict(self.facts),
            "next_steps": list(self.next_steps),
            "problems": list(self.problems),
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a table."""
        rows = [["this is", self.named_kind]]
        for name, value in self.facts.items():
            rows += _named(name, _lines(value))
        return ["", ""], [*rows, *_named("problem", self.problems), *_named("next", self.next_steps)]


def _named(name: str, lines: Sequence[str]) -> list[list[str]]:
    """A row for each line, the first with the name."""
    return [[name if place == 0 else "", line] for place, line in enumerate(lines)]


def _lines(value: Any) -> list[str]:
    """A fact for people: a list is a line each, a mapping a line of pairs, and what is not there no line."""
    if value is None or value == {} or value == []:
        return []
    if isinstance(value, list):
        return [line for entry in value for line in _lines(entry)]
    if isinstance(value, Mapping):
        return [", ".join(f"{name} {_shown(entry)}" for name, entry in value.items())]
    return [_shown(value)]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
