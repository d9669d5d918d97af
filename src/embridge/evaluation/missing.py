"""What is judged and was not seen, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Missing"]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Missing:
    """What is judged and was not seen.

    Attributes:
        what: What is missing, and what becomes of it.
        names: Ids.
        of: How many of its kind are judged.

    Examples:
        >>> str(Missing("judged queries have no vector", ["q7", "q8"], 10))
        "2 of 10 judged queries have no vector: 'q7', 'q8'"
    """

    what: str
    names: Sequence[str]
    of: int

    def __str__(self) -> str:
        distinct = list(dict.fromkeys(self.names))
        more = ", …" if len(distinct) > _SHOWN else ""
        most = "most are missing: " if 2 * len(self.names) > self.of else ""
        return f"{most}{len(self.names):,} of {self.of:,} {self.what}: {', '.join(map(repr, distinct[:_SHOWN]))}{more}"
