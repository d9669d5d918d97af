"""Filling a space that stands beside the rows of others, many rows at once, as its database reads and writes them fastest."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from embridge.embeddings import Embeddings
from embridge.space import Space
from embridge.stores.base import Payload

__all__ = ["Bulk", "FillsInBulk", "LackingRows"]


@dataclass(frozen=True, slots=True, eq=False)
class LackingRows:
    """Rows without a vector of a new space, as they were read.

    Attributes:
        ids: Of the rows.
        values: Of one column, in that order.
        payload: Their payload columns.
        kept: What the store needs to see later whether they are as they were.

    Examples:
        >>> LackingRows(("a",), ["red"], {"title": ["red"]}).ids
        ('a',)
    """

    ids: tuple[str, ...]
    values: Sequence[Any]
    payload: Mapping[str, list[Any]]
    kept: Any = field(default=None, repr=False)


class Bulk(Protocol):
    """One pass over the rows without a vector of a new space."""

    @property
    def settled(self) -> bool:
        """Whether nobody else wrote anything since the pass began, so that another one would find what is left by this one."""
        ...

    def rows(self, size: Callable[[], int], without: Container[str]) -> Iterator[LackingRows]:
        """Those rows in parts of at most ``size()`` rows, until that is 0 or none is left; write each before the next."""
        ...

    def write(self, rows: Embeddings, payload: Payload, lacking: LackingRows) -> Sequence[str]:
        """Write vectors of such rows where none has been written since; no id comes twice.

        Gives the ids of the rows that are not as they were read any more, or may not be: they are to be looked at again.
        """
        ...


@runtime_checkable
class FillsInBulk(Protocol):
    """A store that does this."""

    def bulk(self, new: Space, old: Space, column: str) -> Bulk | None:
        """A pass over the rows of ``old`` without a vector of ``new``, with one of their columns; None where it cannot be had."""
        ...
