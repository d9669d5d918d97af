"""A table of PostgreSQL as data: columns, ids, vectors and the indexes on them; and how names are written in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embridge.space import Metric
from embridge.stores._columns import Kind

__all__ = ["BESIDE", "OWN", "UNSETTLED", "Column", "Engine", "Held", "Relation", "VectorIndex", "quoted", "unescaped"]

OWN = "made by embridge"
"""The comment of a table that this library made: it may add payload columns to it."""
BESIDE = "embridge: vectors beside "
"""The comment of a table that holds vectors of another table's rows begins so, and ends with that table's name."""
UNSETTLED = "embridge: no value yet"
"""The comment of a payload column whose kind its first value will settle."""

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), "text"),
    **dict.fromkeys(("date", "timestamp", "timestamptz", "time", "timetz", "interval", "uuid", "numeric"), "text"),
    **dict.fromkeys(("int2", "int4", "int8"), "whole numbers"),
    **dict.fromkeys(("float4", "float8"), "numbers"),
    "bool": "true or false",
}
_TEXTS = ("text", "varchar", "bpchar", "name")
_IDS = ("text", "varchar", "bpchar", "int2", "int4", "int8", "uuid")


def quoted(*names: str) -> str:
    """Names as SQL has them, also with a percent sign where psycopg looks for its placeholders."""
    return ".".join('"' + name.replace('"', '""').replace("%", "%%") + '"' for name in names)


def unescaped(statement: str) -> str:
    """A statement without parameters, in which psycopg looks for no placeholders."""
    return statement.replace("%%", "%")


@dataclass(frozen=True, slots=True)
class Engine:
    """The extension as this database has it.

    Attributes:
        schema: Where its types and operators are.
        version: Of the extension.
        oids: Of its types and of arrays of them, by name.
        settings: Its settings by name, those of `hnsw` and `ivfflat` alone.
    """

    schema: str
    version: str
    oids: Mapping[str, tuple[int, int]]
    settings: Mapping[str, str]

    def type(self, name: str) -> str:
        """A type of the extension in SQL."""
        return f"{quoted(self.schema)}.{name}"

    def operator(self, sign: str) -> str:
        """An operator of the extension in SQL."""
        return f"OPERATOR({quoted(self.schema)}.{sign})"


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: Its name.
        type: Its type's name, below a domain.
        word: The database's own word for the type.
        dim: Of a vector; None where rows may differ.
        written: Whether a value can be written, rather than generated.
        by_code_point: Whether the database orders its texts by code points.
        exact_text: Whether texts are equal only where all bytes are.
        comment: What someone noted about it.
        is_vector: Whether it is a ``vector`` or ``halfvec`` of the extension.
        is_enum: Whether it holds one of a few words.
    """

    name: str
    type: str
    word: str
    dim: int | None
    written: bool
    by_code_point: bool
    exact_text: bool
    comment: str
    is_vector: bool
    is_enum: bool

    @property
    def kind(self) -> Kind | None:
        """What a payload calls it; None where no payload can hold it, or nothing is in it yet."""
        return None if self.comment == UNSETTLED else "text" if self.is_enum else _KINDS.get(self.type)

    @property
    def is_payload(self) -> bool:
        return not self.is_vector and (self.is_enum or self.type in _KINDS)

    @property
    def may_identify(self) -> bool:
        return self.type in _IDS

    @property
    def is_text(self) -> bool:
        return self.type in _TEXTS

    @property
    def as_text(self) -> str:
        """The column as text in SQL."""
        return quoted(self.name) if self.type in ("text", "varchar") else f"{quoted(self.name)}::text"

    @property
    def ordered(self) -> str:
        """The column of table ``t`` in SQL, in the order of ids: texts by code points, numbers and UUIDs by value."""
        name = f"t.{quoted(self.name)}"  # without the table, it would mean what is selected, which is text
        if not self.is_text:
            return name
        return (name if self.type in ("text", "varchar") else f"{name}::text") + (
            "" if self.by_code_point else ' COLLATE "C"'
        )


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index on vectors.

    Attributes:
        name: Its name.
        kind: The access method, such as ``hnsw``.
        column: The column of vectors.
        cast: The type that the index turns vectors into, as SQL has it without a schema; empty for none.
        metric: What it compares by; None where no space does so.
        remark: Why it does not serve; empty where it does.
        rows: Rows in it, as far as the database knows.
        lists: Of an inverted file.
    """

    name: str
    kind: str
    column: str
    cast: str
    metric: Metric | None
    remark: str
    rows: int | None
    lists: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a view.

    Attributes:
        oid: The database's number of it.
        schema: Its schema.
        name: Its name.
        kind: PostgreSQL's letter: r, p (partitioned), v, m (views), f (foreign).
        own: Whether this library made it.
        columns: By name, in order.
        unique: Columns of which each value is in one row at most, by an index.
        filled: Columns that are never null.
        primary: The column of the primary key where that is one.
        indexes: On vectors.
        beside: By the name of a column of vectors, the table of its own that holds it and ids; see `_postgres_beside`.
        has_heirs: Whether other tables inherit from it, whose rows are read with it.
    """

    oid: int
    schema: str
    name: str
    kind: str
    own: bool
    columns: Mapping[str, Column] = field(default_factory=dict)
    unique: frozenset[str] = frozenset()
    filled: frozenset[str] = frozenset()
    primary: str | None = None
    indexes: tuple[VectorIndex, ...] = ()
    beside: Mapping[str, Relation] = field(default_factory=dict)
    has_heirs: bool = False

    def rows(self, vector: str) -> str:
        """What follows a FROM to read rows with that column of vectors; the table's name is ``t`` there."""
        side = self.beside.get(vector)
        if side is None:
            return f"{self.sql} AS t"
        id = quoted(str(side.primary))
        joined = f"{self.sql} AS t JOIN {side.sql} AS e ON e.{id} = t.{id}"
        return f"(SELECT t.*, e.{quoted(vector)} FROM {joined}) AS t"

    @property
    def sql(self) -> str:
        return quoted(self.schema, self.name)

    @property
    def is_table(self) -> bool:
        return self.kind in "rp"

    @property
    def vectors(self) -> dict[str, Column]:
        return {name: column for name, column in self.columns.items() if column.is_vector}

    @property
    def id(self) -> str | None:
        """The column that identifies a row, where the database says so."""
        if self.primary is not None and self.columns[self.primary].may_identify:
            return self.primary
        keys = [name for name in sorted(self.unique & self.filled) if self.columns[name].may_identify]
        return keys[0] if len(keys) == 1 else None


@dataclass(frozen=True, slots=True)
class Held:
    """Where the vectors of a space stand, as the database says now.

    Attributes:
        relation: The table.
        vector: The column of vectors.
        id: The column of ids.
    """

    relation: Relation
    vector: Column
    id: Column

    @property
    def rows(self) -> str:
        """What follows a FROM to read these rows; the table's name is ``t`` there."""
        return self.relation.rows(self.vector.name)

    @property
    def side(self) -> Relation | None:
        """The table of its own that holds the vectors, if one does."""
        return self.relation.beside.get(self.vector.name)

    @property
    def lacking(self) -> str:
        """The condition that a row of table ``t`` has no vector."""
        name = quoted(self.vector.name)
        if self.side is None:
            return f"{name} IS NULL"
        id = quoted(self.id.name)
        return f"NOT EXISTS (SELECT FROM {self.side.sql} AS e WHERE e.{id} = t.{id} AND e.{name} IS NOT NULL)"
