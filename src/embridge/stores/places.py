"""Where vectors stand in a database: tables, places in them, and rows as they are, right or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError
from embridge.shapes import Float32
from embridge.space import Metric, Space

__all__ = ["Declaration", "IndexState", "Place", "RawRows", "Table", "VectorColumn", "checked_parts", "checked_records"]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where the vectors of one model stand.

    Attributes:
        table: A table, or a collection, or a file, in the database's own words.
        vector: The column of the vectors, or the name of a named vector; empty where a table has one and no name for it.
        id: The column of the ids; empty where the database has its own.

    Examples:
        >>> Place("items", "embedding", "sku").vector
        'embedding'
    """

    table: str
    vector: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class VectorColumn:
    """A column of vectors, or a named vector, as a database describes it.

    Attributes:
        dim: Numbers in a vector; None where rows may differ.
        metric: What the database compares them by; None where a search says so.

    Examples:
        >>> VectorColumn(384, "cosine").dim
        384
    """

    dim: int | None
    metric: Metric | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """What a database says of a table, before anyone has declared of which model its vectors are.

    Attributes:
        name: The table, or collection, or file.
        rows: How many rows.
        vectors: Its columns of vectors by name; the name is empty where there is one and no name for it.
        columns: The others by name, and what each holds: text, true or false, whole numbers, numbers, or the database's word.
        id: The column that identifies a row, where the database says so; empty where ids are the database's own.

    Examples:
        >>> Table("items", 2, {"embedding": VectorColumn(3)}, {"sku": "text"}, id="sku").vectors["embedding"].dim
        3
    """

    name: str
    rows: int
    vectors: Mapping[str, VectorColumn]
    columns: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index on vectors, and whether it serves.

    Attributes:
        name: The index.
        kind: Such as ``hnsw`` or ``IVF_PQ``.
        metric: What it compares by, in the words of `Space`; None where the database does not say.
        rows: Rows in it; None where the database does not say.
        rows_outside: Rows that are not in it yet; None where the database does not say.
        remark: What wants a look, such as an index that was not built to its end; empty where nothing does.

    Examples:
        >>> IndexState("by_vector", "hnsw", "cosine", rows=90, rows_outside=10).rows_outside
        10
    """

    name: str
    kind: str
    metric: Metric | None = None
    rows: int | None = None
    rows_outside: int | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Declaration:
    """Of which space the vectors in a place are, as someone declared or this library wrote them.

    Attributes:
        space: The space.
        place: Where they stand.
        encoder: The model's name for `embridge.encoders.load`, as it was given; None where nobody said.
        items: Where the text or the image of a row comes from, as `embridge.items.ItemSource` writes itself; empty where
            nobody said.
        adopted: Whether the place was there before: its rows are someone else's.
        options: Of the encoder, as `embridge.encoders.load` takes them, such as ``document_prompt``; never a secret.

    Examples:
        >>> declared = Declaration(Space("toy", "1", 2), Place("items", "embedding", "sku"), encoder="clip:models/old")
        >>> Declaration.from_dict(declared.to_dict()) == declared
        True
    """

    space: Space
    place: Place
    encoder: str | None = None
    items: Mapping[str, str] = field(default_factory=dict)
    adopted: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        place = {"table": self.place.table, "vector": self.place.vector, "id": self.place.id}
        return {
            "space": self.space.to_dict(),
            "place": place,
            "encoder": self.encoder,
            "items": dict(self.items),
            "adopted": self.adopted,
            "options": dict(self.options),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Declaration:
        """The inverse of `to_dict`; raises `InvalidInput` for anything else."""
        try:
            space, place = Space.from_dict(fields["space"]), Place(**fields["place"])
            items, options = dict(fields["items"]), dict(fields.get("options", {}))
            return Declaration(space, place, fields["encoder"], items, bool(fields["adopted"]), options)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"a declaration of vectors cannot be read ({error}); came {fields!r:.200}") from error


@dataclass(frozen=True, slots=True, eq=False)
class RawRows:
    """Rows as a database has them: nothing about the values is promised.

    Attributes:
        ids: Of the vectors, as text.
        vectors: Float32 [n, d]; NaN and infinity may be among them.
        odd: Rows that have no place in the array, id and reason: no vector, or one of another length.

    Examples:
        >>> RawRows(("a",), np.ones((1, 2), np.float32), (("b", "3 dimensions"),)).odd
        (('b', '3 dimensions'),)
    """

    ids: tuple[str, ...]
    vectors: Float32[np.ndarray, "n d"]
    odd: tuple[tuple[str, str], ...] = ()


def checked_parts(parts: Iterable[RawRows], space: Space, *, what: str) -> Iterator[Embeddings]:
    """Rows as embeddings; refuses the first part with a vector that cannot be used.

    Args:
        parts: Rows as they are. Rows without a vector are no rows of the space, and may be left out or be odd.
        space: Of the vectors.
        what: What the message calls the store.

    Yields:
        Embeddings, none of them empty.

    Raises:
        StoreError: A vector is of another length, or holds NaN or infinity; the message names its id.

    Examples:
        >>> rows = RawRows(("a",), np.ones((1, 2), np.float32))
        >>> [part.ids for part in checked_parts([rows], Space("toy", "1", 2), what="shop")]
        [('a',)]
    """
    for part in parts:
        if part.odd:
            (name, reason), more = part.odd[0], len(part.odd) - 1
            others = f" and {more} more" if more else ""
            raise StoreError(
                f"{what}: row {name!r}{others} of {space} cannot be used: {reason}; look at all of them with "
                "embridge inspect, and encode them again or delete them"
            )
        if not len(part.ids):
            continue
        try:
            yield Embeddings(part.ids, part.vectors, space)
        except InvalidInput as error:
            finite = np.isfinite(part.vectors).all(axis=1)
            bad = [name for name, good in zip(part.ids, finite.tolist(), strict=True) if not good]
            names = f" (ids {', '.join(map(repr, bad[:_SHOWN]))})" if bad else ""
            raise StoreError(f"{what}: {error}{names}; look at all of them with embridge inspect") from error


def checked_records(
    parts: Iterable[tuple[RawRows, dict[str, list[Any]]]], space: Space, *, what: str
) -> Iterator[tuple[Embeddings, dict[str, list[Any]]]]:
    """The same of rows with their payload.

    Args:
        parts: Rows as they are, and columns of a value a row, in the order of the rows that are not odd.
        space: Of the vectors.
        what: What the message calls the store.

    Yields:
        Embeddings, none of them empty, and their columns.

    Raises:
        StoreError: As for `checked_parts`.

    Examples:
        >>> rows = RawRows(("a",), np.ones((1, 2), np.float32))
        >>> [payload for _, payload in checked_records([(rows, {"n": [1]})], Space("toy", "1", 2), what="shop")]
        [{'n': [1]}]
    """
    for part, payload in parts:
        for rows in checked_parts([part], space, what=what):
            yield rows, payload
