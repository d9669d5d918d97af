"""What applications that know nothing of this library write meanwhile, noted by the database itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from embridge.embeddings import Embeddings
from embridge.space import Space

__all__ = ["ChangeQueue", "NotesChanges"]


@runtime_checkable
class ChangeQueue(Protocol):
    """Rows that lack a vector of a new space since someone wrote them.

    Whoever changes a row's content, or its old vector, and not its new vector in the same statement, thereby takes the new
    one away: no row ever has a new vector of a former content. The row is in the queue from then on, and new rows are too.
    """

    @property
    def statements(self) -> tuple[str, ...]:
        """What `begin` has the database do."""
        ...

    def begin(self) -> None:
        """Have the database note changes from now on; nothing happens if it does so already."""
        ...

    def read(self, *, limit: int) -> list[tuple[int, str]]:
        """Up to so many changes, the first ones first: a number and the row's id."""
        ...

    def forget(self, numbers: Sequence[int]) -> None:
        """Take changes out of the queue that were seen to."""
        ...

    def end(self) -> None:
        """Have the database note changes no longer, and drop the queue; nothing happens if there is none."""
        ...


@runtime_checkable
class NotesChanges(Protocol):
    """A store whose database can note changes; whether its user may ask for that, ``capabilities.foreign_writes`` says."""

    def changes(self, old: Space, new: Space, columns: Sequence[str] = ()) -> ChangeQueue:
        """The queue of a new space's rows that are of those of an old space; columns: of the items' contents."""
        ...

    def fill(self, rows: Embeddings) -> Sequence[str]:
        """Write vectors of those rows that are there; unlike `upsert`, it adds none.

        The others had no vector, and none of their items changed since the queue began: gives the ids of those that are to be
        looked at again, since someone may have changed or deleted them.
        """
        ...
