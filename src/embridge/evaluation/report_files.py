"""Reports on disk: figures as JSON that the base install reads, and beside it every query's values as Parquet.

One Parquet row is one query in one cell: what was found, with scores and gains; so any figure can be computed again, with
this library or with a line of pandas.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from embridge.errors import ArtefactError, InvalidInput, require
from embridge.evaluation.report import Cell, Report, Task
from embridge.evaluation.summarise import summarise
from embridge.evaluation.summary import Asked, Summary
from embridge.files import atomic_file

__all__ = ["load_report", "load_summary", "save_report", "summary_to_dict"]

_SLICE = "slice."
_LISTS = ("ideal", "items", "scores", "gains")


def summary_to_dict(summary: Summary) -> dict[str, Any]:
    """The figures as plain JSON values."""
    return TypeAdapter(Summary).dump_python(summary, mode="json")


def save_report(report: Report, path: Path | str, **wanted: Sequence[Any]) -> Summary:
    """Write ``NAME.json`` and ``NAME.parquet`` beside it; returns the figures that the JSON holds.

    wanted: gates, precisions and thresholds, as `summarise` takes them.
    The JSON says which Parquet file it was written with, so that two that do not belong together are noticed. Needs the
    extra ``parquet``.
    """
    path = Path(path)
    summary = summarise(report, **wanted)
    values = path.with_suffix(".parquet")
    with atomic_file(values) as temporary:
        _write_values(report, temporary)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    written = summary_to_dict(summary) | {"values": {"file": values.name, "sha256": digest}}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(written, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return summary


def load_summary(path: Path | str) -> Summary:
    """The figures of a report's JSON; raises `ArtefactError` for anything else."""
    return _read(Path(path))[0]


def load_report(path: Path | str) -> Report:
    """A report with every query's values, from its JSON and the Parquet file beside it.

    Raises `ArtefactError` where one of the two is missing, damaged, or not the other's. Needs the extra ``parquet``.
    """
    path = Path(path)
    summary, read = _read(path)
    said = read.get("values")
    if not isinstance(said, dict) or Path(str(said.get("file"))).name != said.get("file"):
        raise ArtefactError(
            f"{path} holds figures only, without the values of every query; use the report evaluate wrote"
        )
    values = path.parent / said["file"]
    if not values.is_file() or hashlib.sha256(values.read_bytes()).hexdigest() != said.get("sha256"):
        raise ArtefactError(f"{values} is missing or is not the file that {path} was written with; evaluate again")
    try:
        tasks, cells = _read_values(values, summary)
        return Report(tasks, cells, summary.metrics, summary.seed, summary.about)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ArtefactError(f"{values} does not hold what {path} says ({error}); evaluate again") from error


def _read(path: Path) -> tuple[Summary, dict[str, Any]]:
    if not path.is_file():
        raise ArtefactError(f"{path} does not exist; expected a report, as embridge evaluate writes it")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not a whole report ({error}); evaluate again") from error
    if not isinstance(read, dict) or read.get("schema") != "embridge.report/2":
        came = read.get("schema") if isinstance(read, dict) else type(read).__name__
        raise ArtefactError(f"{path}: expected schema embridge.report/2, came {came!r}; evaluate again")
    try:
        return TypeAdapter(Summary).validate_python(read), read
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtefactError(f"{path} is not a whole report ({where}: {first['msg']}); evaluate again") from error


def _write_values(report: Report, path: Path) -> None:
    """One row group a cell."""
    pa, pq = require("pyarrow", extra="parquet"), require("pyarrow.parquet", extra="parquet")
    columns = list(dict.fromkeys(column for task in report.tasks for column in task.slices))
    schema = pa.schema(
        [("direction", pa.string()), ("cell", pa.string()), ("query", pa.string()), ("weight", pa.float64())]
        + [("relevant", pa.int64()), ("average_precision", pa.float64())]
        + [(name, pa.list_(pa.string() if name == "items" else pa.float32())) for name in _LISTS]
        + [(_SLICE + column, pa.string()) for column in columns]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for task in report.tasks:
            for cell in (c for c in report.cells if c.direction == task.direction):
                writer.write_table(pa.table(_cell_columns(pa, task, cell, columns), schema=schema))


def _cell_columns(pa: Any, task: Task, cell: Cell, columns: Sequence[str]) -> dict[str, Any]:
    q = len(task.query_ids)
    items = pa.DictionaryArray.from_arrays(cell.rows.ravel(), pa.array(task.gallery_ids, pa.string()))
    made = {
        "direction": pa.repeat(task.direction, q),
        "cell": pa.repeat(cell.name, q),
        "query": pa.array(task.query_ids, pa.string()),
        "weight": pa.nulls(q, pa.float64()) if task.weights is None else pa.array(task.weights),
        "relevant": pa.array(task.relevant),
        "average_precision": pa.nulls(q, pa.float64()) if cell.full is None else pa.array(cell.full),
        "ideal": _lists(pa, task.ideal.shape, pa.array(task.ideal.ravel())),
        "items": _lists(pa, cell.rows.shape, items.dictionary_decode()),
        "scores": _lists(pa, cell.scores.shape, pa.array(cell.scores.ravel())),
        "gains": _lists(pa, cell.gains.shape, pa.array(cell.gains.ravel())),
    }
    none = [""] * q
    return made | {_SLICE + name: pa.array(task.slices.get(name, none), pa.string()) for name in columns}


def _lists(pa: Any, shape: tuple[int, ...], flat: Any) -> Any:
    return pa.ListArray.from_arrays(np.arange(shape[0] + 1, dtype=np.int32) * shape[1], flat)


def _read_values(path: Path, summary: Summary) -> tuple[tuple[Task, ...], tuple[Cell, ...]]:
    pa, pq = require("pyarrow", extra="parquet"), require("pyarrow.parquet", extra="parquet")
    tasks: list[Task] = []
    cells: list[Cell] = []
    try:
        for asked in summary.asked:
            table = pq.read_table(path, filters=[("direction", "==", asked.direction)]).combine_chunks()
            task, found = _read_task(table, asked)
            tasks.append(task)
            cells += found
    except pa.ArrowException as error:
        raise ArtefactError(f"{path} cannot be read as parquet: {error}") from error
    return tuple(tasks), tuple(cells)


def _read_task(table: Any, asked: Asked) -> tuple[Task, Iterator[Cell]]:
    q = asked.queries
    cells = table["cell"].to_pylist()[::q]
    if len(table) != q * len(cells) or not cells:
        raise InvalidInput(f"{asked.title}: {len(table)} rows for {q} queries")
    items = table["items"].combine_chunks().flatten().dictionary_encode()
    rows = items.indices.to_numpy(zero_copy_only=False).astype(np.int64).reshape(len(cells), q, -1)
    scores, gains, ideal = (
        table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(cells), q, -1)
        for name in ("scores", "gains", "ideal")
    )
    weight, full = table["weight"], table["average_precision"].to_numpy().reshape(len(cells), q)
    slices = [name for name in table.column_names if name.startswith(_SLICE)]
    first = table.slice(0, q)
    task = Task(
        asked.direction,
        tuple(first["query"].to_pylist()),
        tuple(items.dictionary.to_pylist()),
        asked.gallery,
        first["relevant"].to_numpy(),
        ideal[0],
        None if weight.null_count else first["weight"].to_numpy(),
        {name.removeprefix(_SLICE): tuple(first[name].to_pylist()) for name in slices},
        asked.truth,
    )
    return task, (
        Cell(asked.direction, name, rows[i], scores[i], gains[i], None if np.isnan(full[i]).any() else full[i])
        for i, name in enumerate(cells)
    )
