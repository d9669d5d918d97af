"""Store: rows (id, vector, payload) by space, in a vector database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores._columns import plain
from embridge.stores.capabilities import Capabilities
from embridge.stores.documents import Documents
from embridge.stores.places import Declaration, IndexState, Place, RawRows, Table

__all__ = [
    "Capabilities",
    "Condition",
    "Filter",
    "Payload",
    "Store",
]

SCAN_ROWS = 8_192

Payload = Mapping[str, Sequence[Any]]
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in"]
_FAMILIES: dict[type, type] = {int: float}
_SIGNS = set("=<>!;\0")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the payload: ``column operator value``.

    A row without a value meets no condition, ``!=`` included. Text compares with text, by code points; numbers with numbers,
    exactly, whole or not; true and false with these two. Another kind than the column's is refused.

    Attributes:
        column: A payload column; its name is any text without ``= < > ! ;``.
        operator: ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` or ``in``.
        value: Text, a finite number, true or false; a tuple of values of one kind for ``in``.

    Raises:
        InvalidInput: It is no condition.

    Examples:
        >>> cheap_shoes = (Condition("kind", "in", ("shoe", "boot")), Condition("price", "<", 50))
    """

    column: str
    operator: Operator
    value: Any

    def __post_init__(self) -> None:
        if self.operator not in get_args(Operator) or not self._is_column():
            raise InvalidInput(f"a condition is a column name, one of {get_args(Operator)} and a value; came {self}")
        several = isinstance(self.value, tuple)
        if (self.operator == "in") != several or (several and not self.value):
            raise InvalidInput(f"'in' takes a tuple with at least one value and nothing else does; came {self}")
        values = tuple(map(self._comparable, self.value if several else (self.value,)))
        if len({_FAMILIES.get(type(value), type(value)) for value in values}) > 1:
            raise InvalidInput(f"filter: 'in' takes values of one kind; came {self}")
        object.__setattr__(self, "value", values if several else values[0])

    def _is_column(self) -> bool:
        """Whether it may be a column's name, which has no signs of conditions in it."""
        return isinstance(self.column, str) and bool(self.column) and not set(self.column) & _SIGNS

    def _comparable(self, value: Any) -> Any:
        try:
            compared = plain(value)
        except ValueError as error:
            raise InvalidInput(f"filter: {self.column}: {error}") from error
        if compared is None:
            raise InvalidInput(f"filter: {self.column}: values are text, finite numbers, true or false; came {value!r}")
        return compared


Filter = tuple[Condition, ...]
"""All conditions must hold."""


@runtime_checkable
class Store(Protocol):
    """A vector database as this library uses it. See `embridge.testing.check_store`.

    A store holds vectors of the spaces that were added to it, or adopted, and of no other: a row or a query of another
    space is refused with `SpaceMismatch`, also at the same dimension. What another process adds or adopts is seen.

    Ids are text here. Where the database has whole numbers or UUIDs, they are written as text and found by it. Ids come in
    the database's order: text by code points, whole numbers and UUIDs by value, or as ``capabilities.ids_in_order`` says.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        ...

    @property
    def documents(self) -> Documents:
        """Where declarations and the state of a rollout stand."""
        ...

    def tables(self) -> list[Table]:
        """What the store's URL points at, declared or not; of a database without a named table, all of its tables."""
        ...

    def spaces(self) -> list[Space]:
        """The spaces held."""
        ...

    def declaration(self, space: Space) -> Declaration:
        """Where the vectors of a space stand, and what was said of them."""
        ...

    def adopt(self, declaration: Declaration) -> None:
        """Declare of which space the vectors of a table are that was there before; changes no row.

        Raises `StoreError` for a table or column that is not there, for vectors of another dimension, and for ids that
        repeat. Declaring the same twice is declaring it once; for a place of another space it is refused, until that is
        forgotten.
        """
        ...

    def forget(self, space: Space) -> None:
        """Take an adopted space's declaration back; its vectors stay."""
        ...

    def add_space(self, space: Space) -> None:
        """Make room for vectors of a space; nothing happens if it is there."""
        ...

    def drop_space(self, space: Space) -> None:
        """Delete all vectors of a space, and its room. There is no way back."""
        ...

    def count(self, space: Space) -> int:
        """How many rows have a vector of that space."""
        ...

    def ids(self, space: Space, *, after: str | None = None, limit: int) -> list[str]:
        """Up to ``limit`` ids of the rows that have a vector of that space, in order, those after ``after``."""
        ...

    def missing(self, space: Space, of: Space, *, after: str | None = None, limit: int) -> list[str]:
        """The same of the rows that have a vector of ``of`` and none of ``space``: the work list of a backfill."""
        ...

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        """Write rows, replacing the vectors of those of the same id: doing it twice is doing it once.

        payload: columns of one value a row: text, true or false, whole numbers of 64 bits, finite numbers, or None where
        there is no value. All rows of a space carry the same columns. A column takes the kind of its first values, and
        keeps it; whole numbers may join numbers. Whole or not at all. See `require_payload`. Where rows are shared, some
        columns or none may come for rows that are there: the others keep their values, and are without one in new rows.
        """
        ...

    def delete(self, ids: Sequence[str]) -> None:
        """Delete rows, with their vectors of all spaces; ids that are not there change nothing."""
        ...

    def scan(self, space: Space, *, rows: int = SCAN_ROWS) -> Iterator[Embeddings]:
        """All rows of a space, in parts of at most ``rows``, in whatever order is quick; memory holds a few parts.

        Raises `StoreError`, naming ids, for vectors that cannot be used; `raw` gives those too.
        """
        ...

    def scan_with_payload(
        self, space: Space, columns: Sequence[str], *, rows: int = SCAN_ROWS
    ) -> Iterator[tuple[Embeddings, dict[str, list[Any]]]]:
        """The same rows, each part with the values of these payload columns, row by row, as `payload` gives them.

        Raises `InvalidInput` for a column that is not there.
        """
        ...

    def raw(self, place: Place, *, rows: int = SCAN_ROWS) -> Iterator[RawRows]:
        """The rows of any place, declared or not, with whatever they hold."""
        ...

    def fetch(self, space: Space, ids: Sequence[str]) -> Embeddings:
        """The rows of those ids that have a vector of the space, in that order; the others are left out."""
        ...

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        """The k nearest rows of every query, among those that meet the filter; fewer where fewer do.

        A score is what the space's metric says, and rows of one score come in order of id. Cosine knows no direction of
        zeros: such a row is not found, and such a query finds nothing.
        """
        ...

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        """The payload columns of those rows, in that order; raises `InvalidInput` for an id that is not there.

        In an adopted table these are the columns of text, truths and numbers; dates, times and UUIDs come as text.
        """
        ...

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        """One column of those rows as the database has it, bytes and lists too; None for ids that are not there."""
        ...

    def indexes(self, space: Space) -> list[IndexState]:
        """The indexes on the vectors of a space."""
        ...

    def read_state(self) -> dict[str, Any] | None:
        """The rollout's state, a small document; None where there is none."""
        ...

    def swap_state(self, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        """Replace the state if it is the expected one; of two writers that expect the same, exactly one gets True."""
        ...

    def close(self) -> None:
        """Let go of connections and files; a closed store cannot be used."""
        ...
