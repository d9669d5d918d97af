"""Store: rows (id, vector, payload) by space, in a vector database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.nearest import Hits
from embridge.space import Space

__all__ = ["Capabilities", "Condition", "Filter", "Payload", "Store", "require_held", "require_payload", "scan_parts"]

Payload = Mapping[str, Sequence[Any]]
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in"]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the payload: ``column operator value``.

    Attributes:
        column: A payload column.
        operator: ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` or ``in``.
        value: What to compare with; a tuple of values for ``in``.

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


Filter = tuple[Condition, ...]
"""All conditions must hold."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do, as data: contract checks skip visibly what it cannot.

    Attributes:
        exact: Search finds the nearest rows, always.
        filter: Search takes conditions on the payload.
        persistent: What was written is there after the process ends.

    Examples:
        >>> Capabilities(exact=True, filter=True, persistent=False).exact
        True
    """

    exact: bool
    filter: bool
    persistent: bool


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

        payload: columns of one value a row. All rows of a space carry the same columns. Whole or not at all.
        """
        ...

    def scan(self, space: Space, *, after: str | None = None, limit: int) -> Embeddings | None:
        """Up to ``limit`` rows in order of id, those after ``after``; None where there are no more."""
        ...

    def search(self, queries: Embeddings, k: int, *, filter: Filter = ()) -> Hits:
        """The k nearest rows of every query, among those that meet the filter; fewer where fewer do."""
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
    """Payload columns as lists, each as long as the rows.

    Args:
        payload: Columns by name, or None.
        rows: How many rows there are.

    Returns:
        The columns.

    Raises:
        InvalidInput: A column is of another length, or its name cannot be used.

    Examples:
        >>> require_payload({"kind": ("shoe", "hat")}, 2)
        {'kind': ['shoe', 'hat']}
    """
    columns = {name: list(values) for name, values in (payload or {}).items()}
    for name, values in columns.items():
        if not name.isidentifier() or name.startswith("_") or name in ("id", "vector"):
            raise InvalidInput(f"payload column {name!r}: use a plain name, not id, vector or one that begins with _")
        if len(values) != rows:
            raise InvalidInput(f"payload column {name!r} has {len(values)} values for {rows} rows")
    return columns
