"""PostgreSQL's binary format: values as fields with their length before them, rows of COPY, arrays, vectors."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np

from embridge.errors import InvalidInput
from embridge.shapes import Float32
from embridge.stores._columns import Kind
from embridge.stores.places import RawRows

__all__ = [
    "ARRAY_ITEMS",
    "array",
    "columns_of",
    "copy_end",
    "copy_rows",
    "copy_start",
    "dim_of",
    "fields",
    "raw_rows",
    "received",
    "split_rows",
    "vector",
    "vector_fields",
    "wire_types",
]

ARRAY_ITEMS: dict[str, int] = {
    "bool": 16, "int8": 20, "int2": 21, "int4": 23, "text": 25, "float4": 700, "float8": 701, "varchar": 1043, "uuid": 2950,
}  # fmt: skip
"""Types that are written in binary, and PostgreSQL's number of each."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_DTYPES = {"vector": ">f4", "halfvec": ">f2"}


def _fixed(code: str) -> Callable[[Any], bytes]:
    packed = struct.Struct(">i" + code)
    size = packed.size - 4
    return lambda value: packed.pack(size, value)


def _text(value: str) -> bytes:
    content = value.encode()
    return len(content).to_bytes(4, "big") + content


_WRITE: dict[str, Callable[[Any], bytes]] = {
    "text": _text,
    "varchar": _text,
    "bool": _fixed("?"),
    "int2": _fixed("h"),
    "int4": _fixed("i"),
    "int8": _fixed("q"),
    "float4": _fixed("f"),
    "float8": _fixed("d"),
    "uuid": lambda value: b"\0\0\0\x10" + UUID(value).bytes,
}

_READ: dict[Kind | None, Callable[[bytes], Any]] = {
    "text": bytes.decode,
    "true or false": lambda content: content != b"\0",
    "whole numbers": lambda content: int.from_bytes(content, "big", signed=True),
    "numbers": lambda content: struct.unpack(">d", content)[0],
    None: bytes.decode,
}


def fields(type_name: str, values: Iterable[Any], *, what: str) -> list[bytes]:
    """Values of a type of `ARRAY_ITEMS` as fields; raises `InvalidInput` for a number that it cannot hold."""
    write = _WRITE[type_name]
    try:
        return [_NULL if value is None else write(value) for value in values]
    except (struct.error, OverflowError) as error:
        raise InvalidInput(f"{what}: a value does not fit the column, which holds {type_name} ({error})") from error


def vector_fields(vectors: Float32[np.ndarray, "n d"], type_name: str) -> list[bytes]:
    """Vectors as fields."""
    count, dim = vectors.shape
    numbers = np.ascontiguousarray(vectors, _DTYPES[type_name])
    size = numbers.itemsize * dim + 4
    rows = np.empty((count, size + 4), np.uint8)
    rows[:, :8] = np.frombuffer(struct.pack(">iHH", size, dim, 0), np.uint8)
    rows[:, 8:] = numbers.view(np.uint8).reshape(count, -1)
    content, step = rows.tobytes(), size + 4
    return [content[start : start + step] for start in range(0, len(content), step)]


def copy_start() -> bytes:
    """What stands before the rows of a COPY."""
    return _HEADER


def copy_end() -> bytes:
    """What stands behind them."""
    return _TRAILER


def copy_rows(columns: Sequence[list[bytes]]) -> bytes:
    """Rows of a COPY, of fields by column."""
    head = [len(columns).to_bytes(2, "big")] * len(columns[0])
    return b"".join([field for row in zip(head, *columns, strict=True) for field in row])


def array(items: list[bytes], oid: int) -> bytes:
    """Fields as a one-dimensional array of items of that type."""
    if not items:
        return struct.pack(">iiI", 0, 0, oid)
    return struct.pack(">iiIii", 1, 1, oid, len(items), 1) + b"".join(items)


def vector(values: Float32[np.ndarray, " d"], type_name: str) -> bytes:
    """One vector, without a length before it."""
    return struct.pack(">HH", len(values), 0) + values.astype(_DTYPES[type_name]).tobytes()


def wire_types(psycopg: Any) -> tuple[type, type]:
    """A class of bytes that go to the server in binary as they are, of the type that the statement says; its dumper."""

    class Wire(bytes):
        pass

    class WireDumper(psycopg.adapt.Dumper):  # type: ignore[misc]
        format = psycopg.pq.Format.BINARY
        oid = 0

        def dump(self, obj: bytes) -> bytes:
            return bytes(obj)

    return Wire, WireDumper


def received(psycopg: Any, copy: Any, rows: int) -> Iterator[list[bytes]]:
    """Rows of a binary COPY from the server, with the length of each field, in parts of at most that many.

    What is at hand is taken from libpq itself, which costs half as much as psycopg's own loop.
    """
    connection, receive = copy.connection.pgconn, copy.connection.pgconn.get_copy_data
    part: list[bytes] = []
    header = True
    while True:
        size, block = receive(1)
        if size == 0:
            block = copy.read()  # which waits
        elif size < 0:  # an error in the place of more rows
            raise psycopg.errors.error_from_result(connection.get_result())
        content = bytes(block)
        if header:
            content, header = content.removeprefix(_HEADER), False
        if content == _TRAILER:
            content = bytes(copy.read())
        if not content:
            break
        part.append(content)
        if len(part) == rows:
            yield part
            part = []
    if part:
        yield part


def raw_rows(blocks: Sequence[bytes], dim: int, type_name: str, *, fixed: bool) -> RawRows:
    """Rows of a COPY of vector and id; those of another dimension, and those without an id, as odd.

    fixed: whether the column holds no vector of another dimension.
    """
    dtype = np.dtype(_DTYPES[type_name])
    size = 4 + dim * dtype.itemsize
    head, end = struct.pack(">hiH", 2, size, dim), 6 + size
    odd: list[tuple[str, str]] = []
    if not fixed:
        odd = [_odd_row(block) for block in blocks if block[:8] != head]
        blocks = [block for block in blocks if block[:8] == head]
    shortest = end + 4
    if min(map(len, blocks), default=0) == shortest:
        odd += [("", "it has no id") for block in blocks if len(block) == shortest]
        blocks = [block for block in blocks if len(block) > shortest]
    ids = tuple([block[shortest:].decode() for block in blocks])
    return RawRows(ids, _matrix(blocks, dtype, dim, offset=10), tuple(odd))


def _matrix(contents: Sequence[bytes], dtype: np.dtype[Any], dim: int, *, offset: int) -> np.ndarray:
    """Numbers that stand in each of some contents; read from there, which costs half as much as joining them first."""
    matrix, read = np.empty((len(contents), dim), np.float32), np.frombuffer
    for row, content in enumerate(contents):
        matrix[row] = read(content, dtype, dim, offset)
    return matrix


def split_rows(blocks: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Rows of a COPY of vector, id and others: each as `raw_rows` takes it, and the fields of the others."""
    heads, others = [], []
    for block in blocks:
        end = 6 + int.from_bytes(block[2:6], "big")  # of the vector
        end += 4 + max(0, int.from_bytes(block[end : end + 4], "big", signed=True))  # of the id
        heads.append(b"\0\x02" + block[2:end])
        others.append(block[end:])
    return heads, others


def columns_of(rows: Sequence[bytes], kinds: Sequence[Kind | None]) -> list[list[Any]]:
    """The fields of rows as columns of values of these kinds, as `value_of` selects them."""
    columns: list[list[Any]] = [[] for _ in kinds]
    takers = [(column.append, _READ[kind]) for column, kind in zip(columns, kinds, strict=True)]
    for row in rows:
        start = 0
        for take, read in takers:
            size = int.from_bytes(row[start : start + 4], "big", signed=True)
            start += 4
            take(None if size < 0 else read(row[start : start + size]))
            start += max(0, size)
    return columns


def dim_of(block: bytes) -> int:
    """Of the vector in a row of a COPY of vector and id."""
    return int.from_bytes(block[6:8], "big")


def _odd_row(block: bytes) -> tuple[str, str]:
    size = int.from_bytes(block[2:6], "big")
    return block[6 + size + 4 :].decode(), f"{dim_of(block)} dimensions"


def as_raw(names: Sequence[str], contents: Sequence[bytes], dim: int, type_name: str) -> RawRows:
    """Vectors as a statement gives them in binary; those of another dimension as odd."""
    dtype, head = np.dtype(_DTYPES[type_name]), dim.to_bytes(2, "big")
    rows = list(zip(names, contents, strict=True))
    odd = [(name, f"{int.from_bytes(content[:2], 'big')} dimensions") for name, content in rows if content[:2] != head]
    right = [(name, content) for name, content in rows if content[:2] == head]
    vectors = _matrix([content for _, content in right], dtype, dim, offset=4)
    return RawRows(tuple(name for name, _ in right), vectors, tuple(odd))
