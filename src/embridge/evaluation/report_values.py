"""Every query's values of a report as Parquet: one row is one query in one cell, with what was found, scores and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from embridge.errors import ArtefactError, InvalidInput, require
from embridge.evaluation.figures import Asked
from embridge.evaluation.report import Cell, Report, Task
from embridge.evaluation.ties import Ties

__all__ = ["read_values", "write_values"]

_SLICE = "slice."
_TASK = ("query", "weight", "group", "relevant", "ideal")
_LISTS = ("ideal", "items", "scores", "gains")
_TIES = tuple(field.name for field in fields(Ties) if field.name != "queries")
_TIE = "tie_"
_GROUP_VALUES = 1 << 20


def write_values(report: Report, path: Path) -> None:
    """Write every query's values, in row groups of one cell each.

    A group holds few enough queries for the 32-bit offsets of Arrow's lists and texts. Columns of ties are there where some
    hits are equal, and empty for a query without. Needs the extra ``parquet``.

    Args:
        report: The report.
        path: The file.

    Examples:
        >>> gains, rows = np.ones((1, 1), np.float32), np.zeros((1, 1), np.int64)
        >>> task = Task("", ("q",), ("g", "h"), 2, np.array([1]), gains)
        >>> write_values(Report((task,), (Cell("", "old/old", rows, gains, gains),), ("recall_at_1",)), Path("v.parquet"))
    """
    pa, pq = require("pyarrow", extra="parquet"), require("pyarrow.parquet", extra="parquet")
    columns = list(dict.fromkeys(column for task in report.tasks for column in task.slices))
    schema = pa.schema(
        [("direction", pa.string()), ("cell", pa.string()), ("query", pa.string()), ("weight", pa.float64())]
        + [("group", pa.int64())]
        + [("relevant", pa.int64()), ("average_precision", pa.float64())]
        + [(name, pa.list_(pa.string() if name == "items" else pa.float32())) for name in _LISTS]
        + [(_SLICE + column, pa.string()) for column in columns]
        + (_tie_fields(pa) if any(cell.ties is not None for cell in report.cells) else [])
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for task in report.tasks:
            ids = pa.array(task.gallery_ids, pa.string())
            for cell in (c for c in report.cells if c.direction == task.direction):
                step = max(1, _GROUP_VALUES // max(1, cell.rows.shape[1], task.ideal.shape[1]))
                for start in range(0, len(task.query_ids), step):
                    part = slice(start, start + step)
                    made = _task_columns(pa, task, part, columns) | _cell_columns(pa, cell, part, ids)
                    ties = _tie_columns(pa, cell, part) if _TIE + _TIES[0] in schema.names else {}
                    writer.write_table(pa.table(made | ties, schema=schema))


def _task_columns(pa: Any, task: Task, part: slice, columns: Sequence[str]) -> dict[str, Any]:
    queries, ideal = task.query_ids[part], task.ideal[part]
    none = ("",) * len(task.query_ids)
    return {
        "direction": pa.repeat(task.direction, len(queries)),
        "query": pa.array(queries, pa.string()),
        "weight": pa.nulls(len(queries), pa.float64()) if task.weights is None else pa.array(task.weights[part]),
        "group": pa.nulls(len(queries), pa.int64()) if task.groups is None else pa.array(task.groups[part]),
        "relevant": pa.array(task.relevant[part]),
        "ideal": _lists(pa, ideal.shape, pa.array(ideal.ravel())),
    } | {_SLICE + name: pa.array(task.slices.get(name, none)[part], pa.string()) for name in columns}


def _cell_columns(pa: Any, cell: Cell, part: slice, ids: Any) -> dict[str, Any]:
    rows, scores, gains = cell.rows[part], cell.scores[part], cell.gains[part]
    items = pa.DictionaryArray.from_arrays(rows.ravel(), ids)
    return {
        "cell": pa.repeat(cell.name, len(rows)),
        "average_precision": pa.nulls(len(rows), pa.float64()) if cell.full is None else pa.array(cell.full[part]),
        "items": _lists(pa, rows.shape, items.dictionary_decode()),
        "scores": _lists(pa, rows.shape, pa.array(scores.ravel())),
        "gains": _lists(pa, rows.shape, pa.array(gains.ravel())),
    }


def _tie_fields(pa: Any) -> list[tuple[str, Any]]:
    return [(_TIE + n, pa.list_(pa.float64() if n in ("gain", "power") else pa.int64())) for n in _TIES]


def _tie_columns(pa: Any, cell: Cell, part: slice) -> dict[str, Any]:
    """Lists for the queries with equal hits, and nulls for the others."""
    count = len(cell.rows[part])
    if cell.ties is None:
        return {name: pa.nulls(count, kind) for name, kind in _tie_fields(pa)}
    here = (cell.ties.queries >= part.start) & (cell.ties.queries < part.start + count)
    tied = np.zeros(count, bool)
    tied[cell.ties.queries[here] - part.start] = True
    offsets = np.concatenate([[0], np.cumsum(tied * cell.rows.shape[1])]).astype(np.int32)
    arrays = zip(_TIES, cell.ties.arrays(), strict=True)
    return {
        _TIE + name: pa.ListArray.from_arrays(offsets, pa.array(a[here].ravel()), mask=pa.array(~tied))
        for name, a in arrays
    }


def _lists(pa: Any, shape: tuple[int, ...], flat: Any) -> Any:
    return pa.ListArray.from_arrays(np.arange(shape[0] + 1, dtype=np.int32) * shape[1], flat)


def read_values(path: Path, asked: Sequence[Asked]) -> tuple[tuple[Task, ...], tuple[Cell, ...]]:
    """Read what `write_values` wrote, row group by row group: a whole column of texts would take many times the report's memory.

    Needs the extra ``parquet``.

    Args:
        path: The file.
        asked: What was asked, one a direction.

    Returns:
        The tasks and their cells.

    Raises:
        ArtefactError: The file is no Parquet.
        InvalidInput: It holds other queries, or rankings of several lengths.

    Examples:
        >>> from embridge.evaluation.figures import Asked
        >>> gains, rows = np.ones((1, 1), np.float32), np.zeros((1, 1), np.int64)
        >>> task = Task("", ("q",), ("g", "h"), 2, np.array([1]), gains)
        >>> write_values(Report((task,), (Cell("", "old/old", rows, gains, gains),), ("recall_at_1",)), Path("v.parquet"))
        >>> tasks, cells = read_values(Path("v.parquet"), [Asked("", "search", 1, 2, "judged pairs", ("old/old",))])
        >>> tasks[0].query_ids, cells[0].name
        (('q',), 'old/old')
    """
    pa, pq = require("pyarrow", extra="parquet"), require("pyarrow.parquet", extra="parquet")
    try:
        with pq.ParquetFile(path) as file:
            groups: dict[str, dict[str, list[int]]] = {task.direction: {} for task in asked}
            for i in range(file.num_row_groups):
                held = file.read_row_group(i, columns=["direction", "cell"])
                direction, cell = (_only(held[name]) for name in ("direction", "cell"))
                groups[direction].setdefault(cell, []).append(i)
            read = [_read_task(file, groups[task.direction], task) for task in asked]
    except (OSError, pa.ArrowException) as error:
        raise ArtefactError(f"{path} cannot be read as parquet: {error}") from error
    return tuple(task for task, _ in read), tuple(cell for _, cells in read for cell in cells)


def _only(column: Any) -> str:
    found = column.unique().to_pylist()
    if len(found) != 1 or not isinstance(found[0], str):
        raise InvalidInput(f"expected row groups of one cell, came one of {found}")
    return found[0]


def _read_task(file: Any, groups: Mapping[str, list[int]], asked: Asked) -> tuple[Task, list[Cell]]:
    if not groups:
        raise InvalidInput(f"{asked.title}: no cells")
    row_of: dict[str, int] = {}
    cells = [_read_cell(file, places, name=name, asked=asked, row_of=row_of) for name, places in groups.items()]
    slices = [name for name in file.schema_arrow.names if name.startswith(_SLICE)]
    table = file.read_row_groups(next(iter(groups.values())), columns=[*_TASK, *slices])
    task = Task(
        asked.direction,
        tuple(table["query"].to_pylist()),
        tuple(row_of),
        asked.gallery,
        table["relevant"].to_numpy(),
        _matrix(table["ideal"]).to_numpy(zero_copy_only=False).reshape(len(table), -1),
        None if table["weight"].null_count else table["weight"].to_numpy(),
        {name.removeprefix(_SLICE): tuple(table[name].to_pylist()) for name in slices},
        asked.source,
        None if table["group"].null_count else table["group"].to_numpy(),
        asked.skipped,
        asked.notes,
    )
    return task, cells


def _read_cell(file: Any, places: Sequence[int], *, name: str, asked: Asked, row_of: dict[str, int]) -> Cell:
    """From the row groups at those places; row_of: the items met so far, to which those of this cell are added."""
    parts: dict[str, list[np.ndarray]] = {"items": [], "scores": [], "gains": [], "average_precision": []}
    ties: list[Ties] = []
    for i in places:
        ties += _read_ties(file, i, first=sum(map(len, parts["items"])))
        table = file.read_row_group(i, columns=list(parts))
        parts["average_precision"].append(table["average_precision"].to_numpy())
        for column in ("scores", "gains"):
            flat = _matrix(table[column]).to_numpy(zero_copy_only=False)
            parts[column].append(flat.reshape(len(table), -1))
        items = _matrix(table["items"]).dictionary_encode()
        rows = np.array([row_of.setdefault(item, len(row_of)) for item in items.dictionary.to_pylist()], np.int64)
        parts["items"].append(rows[items.indices.to_numpy(zero_copy_only=False)].reshape(len(table), -1))
    rows, scores, gains, full = (np.concatenate(found) for found in parts.values())
    if len(rows) != asked.queries:
        raise InvalidInput(f"{asked.title}: {len(rows)} rows of {name} for {asked.queries} queries")
    whole = None if np.isnan(full).any() else full
    return Cell(asked.direction, name, rows, scores, gains, whole, _joined(ties))


def _read_ties(file: Any, place: int, *, first: int) -> list[Ties]:
    """Of a row group, whose first query has the number ``first``; none where nothing is equal."""
    names = [_TIE + name for name in _TIES]
    if names[0] not in file.schema_arrow.names:
        return []
    table = file.read_row_group(place, columns=names)
    queries = np.flatnonzero(table[names[0]].is_valid().to_numpy(zero_copy_only=False))
    columns = (_matrix(table[name].drop_null()).to_numpy(zero_copy_only=False) for name in names)
    return [Ties(queries + first, *(flat.reshape(len(queries), -1) for flat in columns))] if len(queries) else []


def _joined(parts: list[Ties]) -> Ties | None:
    if not parts:
        return None
    queries = np.concatenate([part.queries for part in parts])
    return Ties(queries, *map(np.concatenate, zip(*(part.arrays() for part in parts), strict=True)))


def _matrix(column: Any) -> Any:
    """The values of a column of lists, one after the other; all of one length, and none missing."""
    lists = column.combine_chunks()
    flat = lists.flatten()
    if lists.null_count or flat.null_count or len(lists.value_lengths().unique()) > 1:
        raise InvalidInput("expected rankings of one length, without blanks")
    return flat
