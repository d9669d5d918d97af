"""Stores that can give new vectors the name under which applications read the old ones."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from embridge.progress import Progress
from embridge.space import Space

__all__ = ["NameTakeOver", "TakesOverNames"]


class NameTakeOver(Protocol):
    """A new space takes the place of an old one, whose vectors go. Each step may be done again after a kill."""

    @property
    def place(self) -> str:
        """What is taken over, in words."""
        ...

    @property
    def fault(self) -> str:
        """Why it cannot be done; empty where it can."""
        ...

    def prepare(self, progress: Progress) -> None:
        """Bring the new vectors to where the old ones are; readers of both go on as before."""
        ...

    def begin(self) -> None:
        """Say that the old space ends: nobody who asks this library reads or writes its vectors from a second later on."""
        ...

    def swap(self) -> None:
        """Give the new vectors the old ones' name, which are deleted, in one short transaction."""
        ...

    def clean(self) -> None:
        """Delete what was there for the new vectors before."""
        ...


@runtime_checkable
class TakesOverNames(Protocol):
    """A store that does this."""

    def take_over(self, old: Space, new: Space) -> NameTakeOver:
        """The way of a new space to the old one's name."""
        ...
