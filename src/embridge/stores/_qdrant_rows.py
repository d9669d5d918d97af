"""Rows of a Qdrant collection by id and by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embridge.errors import InvalidInput
from embridge.stores._qdrant_engine import ID_KEY, Engine, Point, PointId, Where, matrix, point_ids, row_id, vector_of
from embridge.stores._qdrant_filters import key_path
from embridge.stores.places import RawRows

__all__ = ["Rows"]

_PAGE_ROWS, _PAGE_VALUES = 10_000, 1 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one collection.

    Attributes:
        engine: That answers.
        table: The collection.
        own: Whether this library made it, with ids of text in the payload.
    """

    engine: Engine
    table: str
    own: bool

    def points(self, ids: Sequence[str]) -> list[PointId]:
        """The ids to write under; raises `InvalidInput` for those that someone else's collection cannot hold."""
        found = [point_ids(name, own=self.own)[:1] for name in ids]
        if not all(found):
            bad = ids[found.index([])]
            raise InvalidInput(
                f"ids of {self.table} are whole numbers of 64 bits without a sign, or UUIDs such as "
                f"12345678-1234-5678-1234-567812345678; came {bad!r:.60}"
            )
        return [one for (one,) in found]

    def names(self, limit: int, *, where: Where, after: str | None) -> list[str]:
        """Ids in the order of points."""
        start = None if after is None else self.points([after])[0]
        names: list[str] = []
        skipped = 0 if after is None else 1  # the page begins with the point itself, where it is there
        while len(names) < limit:
            asked = min(limit - len(names) + skipped, _PAGE_ROWS)
            records, following = self.engine.scroll(self.table, asked, where=where, start=start, payload=self._id_key())
            page = [row_id(one, own=self.own) for one in records]
            names += page[1:] if skipped and page and page[0] == after else page
            skipped, start = 0, following
            if following is None:
                break
        return names[:limit]

    def parts(
        self, vector: str, dim: int, rows: int, *, where: Where, keys: Sequence[str] = ()
    ) -> Iterator[tuple[RawRows, list[Mapping[str, Any]]]]:
        """All rows with a vector, in the order of points, and of each these keys of its payload."""
        limit, start = min(rows, max(1, _PAGE_VALUES // dim)), None
        paths = [*self._id_key(), *map(key_path, keys)]
        while True:
            records, start = self.engine.scroll(
                self.table, limit, where=where, start=start, vector=vector, payload=paths
            )
            vectors = [vector_of(one, vector) for one in records]
            held = [row for row, values in enumerate(vectors) if values is not None]
            if held:
                names = tuple(row_id(records[row], own=self.own) for row in held)
                payloads = [records[row].payload or {} for row in held] if keys else []
                yield RawRows(names, matrix([vectors[row] for row in held], dim)), payloads
            if start is None:
                return

    def found(
        self, ids: Sequence[str], *, vector: str | None = None, dim: int = 1, payload: bool | list[str] = False
    ) -> dict[str, Any]:
        """Records by id, of those that are there."""
        keys = payload if payload is True else [*self._id_key(), *(payload or [])]
        wanted = [point for name in dict.fromkeys(ids) for point in point_ids(name, own=self.own)]
        page, records = min(_PAGE_ROWS, max(1, _PAGE_VALUES // dim)), {}
        for start in range(0, len(wanted), page):
            for one in self.engine.retrieve(self.table, wanted[start : start + page], vector=vector, payload=keys):
                records[row_id(one, own=self.own)] = one
        return {name: records[name] for name in dict.fromkeys(ids) if name in records}

    def vectors(self, ids: Sequence[str], vector: str, dim: int) -> tuple[tuple[str, ...], np.ndarray]:
        """Ids and vectors of those that have one."""
        found = self.found(ids, vector=vector, dim=dim)
        held = {name: values for name, one in found.items() if (values := vector_of(one, vector)) is not None}
        return tuple(held), matrix(list(held.values()), dim)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points, whatever they hold."""
        points = [point for name in dict.fromkeys(ids) for point in point_ids(name, own=self.own)]
        for start in range(0, len(points), _PAGE_ROWS):
            self.engine.delete(self.table, points[start : start + _PAGE_ROWS])

    def write(self, vector: str, points: Sequence[Point], columns: Mapping[str, Sequence[Any]], *, whole: bool) -> None:
        """Write points: whole where they hold nothing else; else what rows that are there hold besides stays."""
        if whole:
            self.engine.upsert(self.table, vector, points)
            return
        there = self._there([point.id for point in points])
        old = [row for row, point in enumerate(points) if point.id in there]
        if old:
            ids, vectors = [points[row].id for row in old], np.stack([points[row].vector for row in old])
            self.engine.update_vectors(self.table, vector, ids, vectors)
            if columns:
                changed = {points[row].id: {name: values[row] for name, values in columns.items()} for row in old}
                self.engine.set_payload(self.table, changed)
        new = [point for point in points if point.id not in there]
        if new:
            self.engine.upsert(self.table, vector, new)

    def _there(self, ids: Sequence[PointId]) -> set[PointId]:
        there: set[PointId] = set()
        for start in range(0, len(ids), _PAGE_ROWS):
            records = self.engine.retrieve(self.table, ids[start : start + _PAGE_ROWS])
            there |= {one.id if isinstance(one.id, int) else str(one.id) for one in records}
        return there

    def _id_key(self) -> list[str]:
        return [ID_KEY] if self.own else []
