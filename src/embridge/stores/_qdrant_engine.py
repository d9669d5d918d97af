"""What a store asks of Qdrant, whether a server, the client's local mode or the engine in this process answers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from itertools import chain
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np

from embridge.errors import StoreError
from embridge.space import Metric
from embridge.stores.places import Place

__all__ = [
    "DISTANCES",
    "ID_KEY",
    "Collection",
    "Engine",
    "Point",
    "PointId",
    "VectorInfo",
    "checked_name",
    "matrix",
    "point_ids",
    "row_id",
    "shared_engine",
    "vector_of",
]

PointId = int | str
"""An unsigned whole number of 64 bits, or a UUID as text in its usual form."""

Where = Mapping[str, Any] | None
"""A filter as Qdrant's REST interface writes it."""

DISTANCES: dict[Metric, str] = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid"}
ID_KEY = "embridge_id"
"""The payload key of the ids of collections that this library made."""

_MOST = (1 << 64) - 1
_FORBIDDEN = frozenset('<>:"/\\|?*\0\x1f')


@dataclass(frozen=True, slots=True)
class VectorInfo:
    """A named vector.

    Attributes:
        dim: Numbers in a vector; 0 of a sparse one.
        metric: What Qdrant compares by; None for a distance that no space has.
        exact: Whether Qdrant keeps and compares whole float32 numbers: not quantised, not halves.
        remark: Why no space can be there, such as several vectors a point; empty where one can.
    """

    dim: int
    metric: Metric | None
    exact: bool = True
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """What Qdrant says of a collection.

    Attributes:
        vectors: By name; sparse ones and others of no use too, with a remark.
        indexed: How many vectors its graphs hold.
        points: How many points, about.
        fields: Indexed payload keys, and what they hold.
    """

    vectors: Mapping[str, VectorInfo]
    indexed: int = 0
    points: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """A point to write."""

    id: PointId
    vector: np.ndarray
    payload: Mapping[str, Any]


class Engine(Protocol):
    """One server, or one folder. Records that come back have ``id``, ``payload``, ``vector``, and ``score`` in a search."""

    where: str  # it is, for messages
    remote: bool
    adds_vectors: bool  # to a collection that is there
    atomic: bool  # conditional writes
    rounded: bool  # scores of equal vectors may differ

    def names(self) -> list[str]: ...

    def aliases(self) -> dict[str, str]: ...

    def collection(self, name: str) -> Collection | None: ...

    def create(self, name: str, vector: str, dim: int, metric: Metric) -> None: ...

    def drop(self, name: str) -> None: ...

    def add_vector(self, name: str, vector: str, dim: int, metric: Metric) -> None: ...

    def drop_vector(self, name: str, vector: str) -> None: ...

    def count(self, name: str, where: Where = None) -> int: ...

    def scroll(
        self, name: str, limit: int, *, where: Where = None, start: PointId | None = None, vector: str | None = None,
        payload: bool | list[str] = False,
    ) -> tuple[Sequence[Any], PointId | None]: ...  # fmt: skip

    def retrieve(
        self, name: str, ids: Sequence[PointId], *, vector: str | None = None, payload: bool | list[str] = False
    ) -> Sequence[Any]: ...

    def search(
        self, place: Place, queries: np.ndarray, *, limit: int, where: Where, payload: list[str], with_vectors: bool
    ) -> Sequence[Sequence[Any]]: ...  # fmt: skip

    def upsert(self, name: str, vector: str, points: Sequence[Point]) -> None: ...

    def update_vectors(self, name: str, vector: str, ids: Sequence[PointId], vectors: np.ndarray) -> None: ...

    def set_payload(self, name: str, payloads: Mapping[PointId, Mapping[str, Any]]) -> None: ...

    def delete(self, name: str, ids: Sequence[PointId]) -> None: ...


def point_ids(name: str, *, own: bool) -> list[PointId]:
    """The ids under which a row may stand in Qdrant: of a collection of this library's own, first the one it writes."""
    foreign: list[PointId] = []
    if name.isascii() and name.isdigit() and str(int(name[:20])) == name and int(name) <= _MOST:
        foreign = [int(name)]
    elif len(name) == 36:
        try:
            foreign = [name] if str(uuid.UUID(name)) == name else []
        except ValueError:
            foreign = []
    return [_uuid_of(name), *foreign] if own else foreign


def _uuid_of(name: str) -> str:
    """`uuid.uuid5` as text, four times as quick."""
    digest = bytearray(sha1(uuid.NAMESPACE_OID.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def row_id(record: Any, *, own: bool) -> str:
    """A point's id as the store's text."""
    if own:
        payload = record.payload  # a copy, each time
        name = payload.get(ID_KEY) if payload else None
        if isinstance(name, str) and name:
            return name
    return str(record.id)


def vector_of(record: Any, name: str) -> Any:
    """A point's vector as a list, or None where it has none of that name."""
    vector = record.vector
    return vector.get(name) if isinstance(vector, dict) else vector if vector else None


def matrix(lists: Sequence[Sequence[float]], dim: int) -> np.ndarray:
    """Lists of numbers as float32 [n, d]; twice as quick as numpy's own way."""
    return np.fromiter(chain.from_iterable(lists), np.float32, len(lists) * dim).reshape(len(lists), dim)


def checked_name(name: str) -> str:
    """The name of a collection or vector; raises `StoreError` for one that Qdrant refuses."""
    if not name or _FORBIDDEN & set(name) or len(name.encode()) > 255:
        raise StoreError(
            f'{name!r:.80} is no collection of Qdrant; use a name without < > : " / \\ | ? * of 1 to 255 bytes'
        )
    return name


_OPEN: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
_LOCK = threading.Lock()


def shared_engine(kind: str, folder: Path, make: Callable[[], Any]) -> Any:
    """The engine of a folder, which lets one client of one process in: its stores in this process share that one."""
    key = (kind, str(folder.resolve()))
    with _LOCK:
        engine = _OPEN.get(key)
        if engine is None:
            engine = _OPEN[key] = make()
        return engine
