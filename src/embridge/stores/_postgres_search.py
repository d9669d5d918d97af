"""The nearest rows by pgvector: exhaustively, or through an index of the space's metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.nearest import Hits
from embridge.query.arrays import hits_of
from embridge.space import Metric
from embridge.stores._postgres_binary import vector
from embridge.stores._postgres_catalog import Engine, Held, Relation, VectorIndex, quoted
from embridge.stores._postgres_sessions import Sessions

__all__ = ["Search", "nearest", "usable_index"]

_SIGNS: dict[Metric, str] = {"cosine": "<=>", "dot": "<#>", "l2": "<->"}
_MOST_EF = 1_000
_BATCH = 64
_SPARE = 8  # rows that others may have deleted since, where vectors stand beside the table
_DISTANCE = "embridge_distance"
_Row = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Search:
    """What all queries of a search share.

    Attributes:
        held: Where the vectors stand.
        metric: The space's.
        dim: The space's.
        k: How many rows.
        where: What rows must meet besides, in SQL, beginning with AND; empty for nothing.
        values: Those of the conditions.
        joined: Whether vectors that stand beside the table are joined to it first, as they are for conditions. Otherwise
            the nearest of them are looked up in it, which costs less.
    """

    held: Held
    metric: Metric
    dim: int
    k: int
    where: str
    values: Sequence[Any]
    joined: bool

    @property
    def rows(self) -> str:
        return self.held.rows if self.joined or self.held.side is None else f"{self.held.side.sql} AS t"


def usable_index(relation: Relation, column: str, metric: Metric) -> VectorIndex | None:
    """An index that a search by that metric goes through."""
    for index in relation.indexes:
        if index.column == column and index.metric == metric and not index.remark:
            return index
    return None


def nearest(sessions: Sessions, engine: Engine, search: Search, queries: Embeddings) -> Hits:
    """The hits of all queries, best first, rows of one score in order of id."""
    vectors = queries.vectors
    if search.metric == "cosine":
        vectors, asked = _units(vectors)
    else:
        asked = np.arange(len(vectors))
    found: list[list[_Row]] = [[] for _ in range(len(vectors))]
    index = usable_index(search.held.relation, search.held.vector.name, search.metric)
    for start in range(0, len(asked), _BATCH):
        rows = asked[start : start + _BATCH].tolist()
        answers = sessions.run(partial(_answers, sessions, (engine, search, index), vectors[rows]), what="search")
        for row, answer in zip(rows, answers, strict=True):
            found[row] = answer
    return _hits(found, search)


def _answers(
    sessions: Sessions, how: tuple[Engine, Search, VectorIndex | None], vectors: np.ndarray, connection: Any
) -> list[list[_Row]]:
    engine, search, index = how
    if index is None:
        parameters = [_values(sessions, search, one) for one in vectors]
        answers = _asked(connection, _exhaustive(engine, search), parameters)
        if not search.joined and (few := _short(answers, range(len(vectors)), search)):
            statement = _exhaustive(engine, replace(search, joined=True))
            _replace(answers, few, _asked(connection, statement, [parameters[row] for row in few]))
        return answers
    statement, type_name = _through(engine, search, index)
    parameters = [_values(sessions, search, one, type_name) for one in vectors]
    answers = [[]] * len(vectors)
    few, settings = list(range(len(vectors))), _settings(engine, search, index)
    if not settings.needed:
        answers = _asked(connection, statement, parameters)
        few = _short(answers, few, search)
    if few and settings.text:
        with connection.transaction():
            connection.execute(settings.text)
            _replace(answers, few, _asked(connection, statement, [parameters[row] for row in few]))
        few = _short(answers, few, search)
    if few:  # after many deletions, or behind a filter that few rows meet
        parameters = [_values(sessions, search, vectors[row]) for row in few]
        _replace(answers, few, _asked(connection, _exhaustive(engine, replace(search, joined=True)), parameters))
    return answers


def _short(answers: list[list[_Row]], rows: Sequence[int], search: Search) -> list[int]:
    """Those with fewer rows than were asked for: an index may know no more of them, or there may be none."""
    return [row for row in rows if len(_ranked(answers[row])) < search.k]


def _replace(answers: list[list[_Row]], rows: Sequence[int], new: list[list[_Row]]) -> None:
    for row, answer in zip(rows, new, strict=True):
        answers[row] = answer


def _asked(connection: Any, statement: str, parameters: list[list[Any]]) -> list[list[_Row]]:
    if len(parameters) == 1:
        return [connection.execute(statement, parameters[0], binary=True).fetchall()]
    with connection.pipeline():
        cursors = [connection.execute(statement, each, binary=True) for each in parameters]
        return [cursor.fetchall() for cursor in cursors]


def _values(sessions: Sessions, search: Search, query: np.ndarray, type_name: str | None = None) -> list[Any]:
    values = [sessions.wire(vector(query, "vector")), *search.values]
    if type_name is not None:
        values.append(sessions.wire(vector(query, type_name)))
    return values


def _exhaustive(engine: Engine, search: Search) -> str:
    """Adding nothing to a distance keeps an index from being used, whose answer would be approximate."""
    return _of_the_table(
        search, f"({_distance(engine, search)}) + 0", _condition(engine, search), f"2, {search.held.id.ordered}"
    )


def _through(engine: Engine, search: Search, index: VectorIndex) -> tuple[str, str]:
    """Scored by what the table has, whatever the index has; and the type of its vectors."""
    type_name = (index.cast or search.held.vector.type).partition("(")[0]
    name = quoted(search.held.vector.name)
    indexed = f"{name}::{engine.type(index.cast)}" if index.cast else name
    order = f"({indexed}) {engine.operator(_SIGNS[search.metric])} %s::{engine.type(type_name)}"
    return _of_the_table(search, _distance(engine, search), _condition(engine, search), order), type_name


def _of_the_table(search: Search, distance: str, condition: str, order: str) -> str:
    """The nearest rows; of vectors beside the table, those that have a row in it."""
    id = search.held.id
    if search.joined:
        return f"SELECT {id.as_text}, {distance} FROM {search.rows} WHERE {condition} ORDER BY {order} LIMIT {search.k}"
    name = quoted(id.name)
    nearest = (
        f"SELECT t.{name}, {distance} AS {_DISTANCE} FROM {search.rows} WHERE {condition} ORDER BY {order} "
        f"LIMIT {search.k + _SPARE}"
    )
    there = f"EXISTS (SELECT FROM {search.held.relation.sql} AS r WHERE r.{name} = t.{name})"
    return f"SELECT {id.as_text}, {_DISTANCE} FROM ({nearest}) AS t WHERE {there} ORDER BY 2, {id.ordered} LIMIT {search.k}"


def _distance(engine: Engine, search: Search) -> str:
    name = quoted(search.held.vector.name)
    stored = name if search.held.vector.type == "vector" else f"{name}::{engine.type('vector')}"
    return f"{stored} {engine.operator(_SIGNS[search.metric])} %s::{engine.type('vector')}"


def _condition(engine: Engine, search: Search) -> str:
    name = quoted(search.held.vector.name)
    if search.held.vector.dim is None:  # rows of other lengths stand in between, which no operator takes
        return f"{quoted(engine.schema)}.vector_dims({name}) = {search.dim}{search.where}"
    return f"{name} IS NOT NULL{search.where}"


@dataclass(frozen=True, slots=True)
class _Settings:
    """What lets an index find enough, for one transaction alone; never less than the user's own settings.

    Attributes:
        text: In SQL.
        needed: Whether the user's own settings are surely too few.
    """

    text: str
    needed: bool


def _settings(engine: Engine, search: Search, index: VectorIndex) -> _Settings:
    name, enough = {
        "hnsw": ("hnsw.ef_search", min(_MOST_EF, 2 * search.k)),
        "ivfflat": ("ivfflat.probes", math.isqrt(index.lists - 1) + 1),
    }.get(index.kind, ("", 0))
    own = int(engine.settings.get(name, 0))
    statements = [f"SET LOCAL {name} = {max(own, enough)}"] if name in engine.settings else []
    if f"{index.kind}.iterative_scan" in engine.settings:
        statements.append(f"SET LOCAL {index.kind}.iterative_scan = relaxed_order")
    return _Settings("; ".join(statements), bool(statements) and (enough > own or bool(search.where)))


def _ranked(rows: list[_Row]) -> list[_Row]:
    """Those that the metric ranks: cosine knows no direction of zeros."""
    return [row for row in rows if not math.isnan(row[1])]


def _units(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions, so that no length leaves float32 when squared; and which rows have one."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("qd,qd->q", wide, wide))
    asked = np.flatnonzero(lengths)
    units = np.zeros_like(vectors)
    units[asked] = (wide[asked] / lengths[asked, None]).astype(np.float32)
    return units, asked


def _hits(found: list[list[_Row]], search: Search) -> Hits:
    order = int if search.held.id.type.startswith("int") else str
    ranked = []
    for rows in found:
        names, distances = [name for name, _ in rows], np.array([distance for _, distance in rows])
        scored = zip(names, _scores(distances, search.metric).tolist(), strict=True)
        ranked.append(sorted(_ranked(list(scored)), key=lambda row: (-row[1], order(row[0]))))
    return hits_of([tuple(name for name, _ in one) for one in ranked], [[score for _, score in one] for one in ranked])


def _scores(distances: np.ndarray, metric: Metric) -> np.ndarray:
    """In the precision in which they are given, so that those alike there come in order of id."""
    scores = 1 - distances if metric == "cosine" else -distances if metric == "dot" else -distances * distances
    return scores.astype(np.float32)
