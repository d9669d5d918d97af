"""Store: rows (id, vector, payload) by space, in a vector database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.nearest import Hits
from embridge.space import Space
from embridge.stores._columns import plain, plain_column, require_text

__all__ = [
    "Capabilities",
    "Condition",
    "Filter",
    "Payload",
    "Store",
    "require_held",
    "require_ids",
    "require_payload",
    "scan_parts",
]

Payload = Mapping[str, Sequence[Any]]
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in"]
_FAMILIES: dict[type, type] = {int: float}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the payload: ``column operator value``.

    A row without a value meets no condition, ``!=`` included. Text compares with text, by code points; numbers with numbers,
    exactly, whole or not; true and false with these two. Another kind than the column's is refused.

    Attributes:
        column: A payload column.
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
        if self.operator not in get_args(Operator) or not self.column.isidentifier():
            raise InvalidInput(f"a condition is a column name, one of {get_args(Operator)} and a value; came {self}")
        several = isinstance(self.value, tuple)
        if (self.operator == "in") != several or (several and not self.value):
            raise InvalidInput(f"'in' takes a tuple with at least one value and nothing else does; came {self}")
        values = tuple(map(self._comparable, self.value if several else (self.value,)))
        if len({_FAMILIES.get(type(value), type(value)) for value in values}) > 1:
            raise InvalidInput(f"filter: 'in' takes values of one kind; came {self}")
        object.__setattr__(self, "value", values if several else values[0])

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


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do, as data: contract checks skip visibly what it cannot.

    Attributes:
        exact: Search finds the nearest rows, always.
        filter: Search takes conditions on the payload.
        persistent: What was written is there after the process ends.
        exact_scores: The score of a hit is what the space's metric says, to rounding, whatever an index stores.

    Examples:
        >>> Capabilities(exact=True, filter=True, persistent=False).exact
        True
    """

    exact: bool
    filter: bool
    persistent: bool
    exact_scores: bool = True


@runtime_checkable
class Store(Protocol):
    """A vector database as this library uses it. See `embridge.testing.check_store`.

    A store holds vectors of the spaces that were added to it and of no other: a row or a query of another space is
    refused with `SpaceMismatch`, also at the same dimension.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        ...

    def spaces(self) -> list[Space]:
        """The spaces held."""
        ...

    def add_space(self, space: Space) -> None:
        """Make room for vectors of a space; nothing happens if it is there."""
        ...

    def count(self, space: Space) -> int:
        """How many rows have a vector of that space."""
        ...

    def upsert(self, rows: Embeddings, payload: Payload | None = None) -> None:
        """Write rows, replacing those of the same id: doing it twice is doing it once.

        payload: columns of one value a row: text, true or false, whole numbers of 64 bits, finite numbers, or None where
        there is no value. All rows of a space carry the same columns. A column takes the kind of its first values, and
        keeps it; whole numbers may join numbers. Whole or not at all. See `require_payload`.
        """
        ...

    def scan(self, space: Space, *, after: str | None = None, limit: int) -> Embeddings | None:
        """Up to ``limit`` rows in order of id, those after ``after``; None where there are no more."""
        ...

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        """The k nearest rows of every query, among those that meet the filter; fewer where fewer do.

        A score is what the space's metric says, and rows of one score come in order of id. Cosine knows no direction of
        zeros: such a row is not found, and such a query finds nothing.
        """
        ...

    def payload(self, space: Space, ids: Sequence[str]) -> dict[str, list[Any]]:
        """The payload columns of those rows, in that order; raises `InvalidInput` for an id that is not there."""
        ...


def scan_parts(store: Store, space: Space, *, rows: int) -> Iterator[Embeddings]:
    """Read all rows of a space in order of id, in parts.

    Args:
        store: The store.
        space: The space of the rows.
        rows: How many rows a part has at most.

    Yields:
        The parts.

    Examples:
        >>> import numpy as np
        >>> from embridge.stores import MemoryStore
        >>> store = MemoryStore(Space("toy", "1", 3))
        >>> store.upsert(Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3), ["c", "a", "b"]))
        >>> [part.ids for part in scan_parts(store, Space("toy", "1", 3), rows=2)]
        [('a', 'b'), ('c',)]
    """
    after = None
    while (part := store.scan(space, after=after, limit=rows)) is not None:
        yield part
        after = part.ids[-1]


def require_held(spaces: Sequence[Space], space: Space, *, what: str) -> None:
    """Refuse vectors of a space that a store does not hold.

    Args:
        spaces: What the store holds.
        space: The space of the vectors.
        what: What the message calls the call.

    Raises:
        SpaceMismatch: The store does not hold the space.

    Examples:
        >>> require_held([Space("toy", "1", 3)], Space("toy", "1", 3), what="search")
    """
    if space in spaces:
        return
    names = "; ".join(map(str, spaces)) or "none yet"
    same_dim = [s for s in spaces if s.dim == space.dim]
    warning = " Equal dimensions do not make vectors comparable." if same_dim else ""
    raise SpaceMismatch(
        f"{what}: came vectors of {space}; this store holds: {names}.{warning} Map them with an upgrade into a space "
        "it holds, or add the new space beside the old with add_space"
    )


def require_payload(payload: Payload | None, rows: int) -> dict[str, list[Any]]:
    """Payload columns as lists of Python's own values, each as long as the rows.

    Args:
        payload: Columns by name, or None.
        rows: How many rows there are.

    Returns:
        The columns.

    Raises:
        InvalidInput: A column is of another length, its name cannot be used, or a value is no text, number or truth; the
            message names the row, counted from 0.

    Examples:
        >>> require_payload({"kind": ("shoe", None)}, 2)
        {'kind': ['shoe', None]}
    """
    columns = {name: list(values) for name, values in (payload or {}).items()}
    for name, values in columns.items():
        if not name.isidentifier() or name.startswith("_") or name in ("id", "vector"):
            raise InvalidInput(f"payload column {name!r}: use a plain name, not id, vector or one that begins with _")
        if len(values) != rows:
            raise InvalidInput(f"payload column {name!r} has {len(values)} values for {rows} rows")
    return {name: plain_column(name, values) for name, values in columns.items()}


def require_ids(ids: Sequence[str]) -> None:
    """Refuse ids that no database can hold: those with half of a surrogate pair.

    Args:
        ids: Non-empty texts, as `Embeddings` has them.

    Raises:
        InvalidInput: There is such an id.

    Examples:
        >>> require_ids(["it's 17", "größe"])
    """
    try:
        require_text("".join(ids))
    except ValueError as error:
        bad = next(name for name in ids if any("\ud800" <= letter <= "\udfff" for letter in name))
        raise InvalidInput(f"ids: {bad!r:.60} holds half of a surrogate pair; write it as valid text") from error
