"""Reports on disk: figures as JSON that the base install reads, and beside it every query's values as Parquet.

One Parquet row is one query in one cell: what was found, with scores and gains; so any figure can be computed again, with
this library or with a line of pandas.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embridge.atomic_write import atomic_file
from embridge.errors import ArtefactError, InvalidInput, require
from embridge.evaluation.report import Cell, Report, Task
from embridge.evaluation.summarise import summarise
from embridge.evaluation.summary import Asked, Summary

__all__ = ["load_report", "load_summary", "save_report", "summary_to_dict"]

_SLICE = "slice."
_TASK = ("query", "weight", "group", "relevant", "ideal")
_LISTS = ("ideal", "items", "scores", "gains")
_GROUP_VALUES = 1 << 20


def summary_to_dict(summary: Summary) -> dict[str, Any]:
    """Write a summary as plain JSON values.

    Args:
        summary: The figures.

    Returns:
        What the report's JSON file holds, but for the name of its Parquet file.

    Example:
        >>> from embridge.evaluation import Verdict
        >>> verdict = Verdict("upgrade", "Upgrade.")
        >>> nothing = dict.fromkeys(("ratios", "slices", "flips", "curves", "histograms", "shifts", "gates", "cautions"), ())
        >>> summary = Summary(verdict, ("recall_at_1",), seed=0, asked=(), figures=(), about={}, **nothing)
        >>> summary_to_dict(summary)["verdict"]["decision"]
        'upgrade'
    """
    from pydantic import TypeAdapter  # importing the package stays light

    return TypeAdapter(Summary).dump_python(summary, mode="json")


def save_report(report: Report, path: Path | str, **wanted: Sequence[Any]) -> Summary:
    """Write a report as ``NAME.json``, with every query's values in ``NAME.parquet`` beside it.

    The JSON says which Parquet file it was written with, so that two that do not belong together are noticed. Needs the
    extra ``parquet``.

    Args:
        report: The report.
        path: Where the JSON goes; its name ends in ``.json``.
        **settings: Gates, precisions and thresholds, as `summarise` takes them.

    Returns:
        The figures that the JSON holds.

    Raises:
        InvalidInput: The name ends in something else, so that the two files could be one.

    Example:
        >>> import numpy as np
        >>> rows, gains = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32)
        >>> task = Task("", ("q",), ("g", "h"), 2, np.array([1]), gains)
        >>> cells = tuple(Cell("", name, rows, gains, gains) for name in ("old/old", "new/old", "new/new", "naive"))
        >>> save_report(Report((task,), cells, ("recall_at_1",)), "report.json").figure("", "new/old", "recall_at_1").cell
        'new/old'
        >>> load_report("report.json").cell("", "naive").rows.tolist()
        [[0]]
    """
    path = Path(path)
    if path.suffix != ".json":
        raise InvalidInput(
            f"{path}: a report is written as NAME.json, with NAME.parquet beside it; end the name in .json"
        )
    summary = summarise(report, **wanted)
    values = path.with_suffix(".parquet")
    with atomic_file(values) as temporary:
        _write_values(report, temporary)
        digest = _digest(temporary)
    written = summary_to_dict(summary) | {"values": {"file": values.name, "sha256": digest}}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(written, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return summary


def load_summary(path: Path | str) -> Summary:
    """Read the figures of a report.

    Args:
        path: Its JSON file.

    Returns:
        The figures.

    Raises:
        ArtefactError: There is no such file, or it holds no report.

    Example:
        >>> load_summary("nowhere.json")
        Traceback (most recent call last):
        ...
        embridge.errors.ArtefactError: nowhere.json does not exist; expected a report, as embridge evaluate writes it
    """
    return _read(Path(path))[0]


def load_report(path: Path | str) -> Report:
    """Read a report with every query's values. Needs the extra ``parquet``; `save_report` shows both.

    Args:
        path: Its JSON file; the Parquet file lies beside it.

    Returns:
        The report.

    Raises:
        ArtefactError: One of the two is missing, damaged, or not the other's.

    Example:
        >>> load_report("nowhere.json")
        Traceback (most recent call last):
        ...
        embridge.errors.ArtefactError: nowhere.json does not exist; expected a report, as embridge evaluate writes it
    """
    path = Path(path)
    summary, read = _read(path)
    said = read.get("values")
    if not isinstance(said, dict) or Path(str(said.get("file"))).name != said.get("file"):
        raise ArtefactError(
            f"{path} holds figures only, without the values of every query; use the report evaluate wrote"
        )
    values = path.parent / said["file"]
    if not values.is_file() or _digest(values) != said.get("sha256"):
        raise ArtefactError(f"{values} is missing or is not the file that {path} was written with; evaluate again")
    try:
        tasks, cells = _read_values(values, summary)
        return Report(tasks, cells, summary.metrics, summary.seed, summary.about)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ArtefactError(f"{values} does not hold what {path} says ({error}); evaluate again") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> tuple[Summary, dict[str, Any]]:
    from pydantic import TypeAdapter, ValidationError

    if not path.is_file():
        raise ArtefactError(f"{path} does not exist; expected a report, as embridge evaluate writes it")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not a whole report ({error}); evaluate again") from error
    if not isinstance(read, dict) or read.get("schema") != "embridge.report/2":
        came = read.get("schema") if isinstance(read, dict) else type(read).__name__
        raise ArtefactError(f"{path}: expected schema embridge.report/2, came {came!r}; evaluate again")
    _with_present_names(read)
    try:
        return TypeAdapter(Summary).validate_python(read), read
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtefactError(f"{path} is not a whole report ({where}: {first['msg']}); evaluate again") from error


def _with_present_names(read: dict[str, Any]) -> None:
    """Reports written before these names were settled: who says what is right, and the model without its LoRA."""
    for asked in read.get("asked") or ():
        if isinstance(asked, dict) and "truth" in asked:
            asked["source"] = asked.pop("truth")
    about = read.get("about")
    for fields in (about, about.get("data")) if isinstance(about, dict) else ():
        if isinstance(fields, dict) and "native" in fields:
            fields["new_without_lora"] = fields.pop("native")


def _write_values(report: Report, path: Path) -> None:
    """Row groups of one cell each, and of few enough queries for the 32-bit offsets of Arrow's lists and texts."""
    pa, pq = require("pyarrow", extra="parquet"), require("pyarrow.parquet", extra="parquet")
    columns = list(dict.fromkeys(column for task in report.tasks for column in task.slices))
    schema = pa.schema(
        [("direction", pa.string()), ("cell", pa.string()), ("query", pa.string()), ("weight", pa.float64())]
        + [("group", pa.int64())]
        + [("relevant", pa.int64()), ("average_precision", pa.float64())]
        + [(name, pa.list_(pa.string() if name == "items" else pa.float32())) for name in _LISTS]
        + [(_SLICE + column, pa.string()) for column in columns]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for task in report.tasks:
            ids = pa.array(task.gallery_ids, pa.string())
            for cell in (c for c in report.cells if c.direction == task.direction):
                step = max(1, _GROUP_VALUES // max(1, cell.rows.shape[1], task.ideal.shape[1]))
                for start in range(0, len(task.query_ids), step):
                    part = slice(start, start + step)
                    made = _task_columns(pa, task, part, columns) | _cell_columns(pa, cell, part, ids)
                    writer.write_table(pa.table(made, schema=schema))


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


def _lists(pa: Any, shape: tuple[int, ...], flat: Any) -> Any:
    return pa.ListArray.from_arrays(np.arange(shape[0] + 1, dtype=np.int32) * shape[1], flat)


def _read_values(path: Path, summary: Summary) -> tuple[tuple[Task, ...], tuple[Cell, ...]]:
    """Row group by row group: a whole column of texts would take many times the memory of the report."""
    pa, pq = require("pyarrow", extra="parquet"), require("pyarrow.parquet", extra="parquet")
    try:
        with pq.ParquetFile(path) as file:
            groups: dict[str, dict[str, list[int]]] = {asked.direction: {} for asked in summary.asked}
            for i in range(file.num_row_groups):
                held = file.read_row_group(i, columns=["direction", "cell"])
                direction, cell = (_only(held[name]) for name in ("direction", "cell"))
                groups[direction].setdefault(cell, []).append(i)
            read = [_read_task(file, groups[asked.direction], asked) for asked in summary.asked]
    except pa.ArrowException as error:
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
    )
    return task, cells


def _read_cell(file: Any, places: Sequence[int], *, name: str, asked: Asked, row_of: dict[str, int]) -> Cell:
    """From the row groups at those places; row_of: the items met so far, to which those of this cell are added."""
    parts: dict[str, list[np.ndarray]] = {"items": [], "scores": [], "gains": [], "average_precision": []}
    for i in places:
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
    return Cell(asked.direction, name, rows, scores, gains, None if np.isnan(full).any() else full)


def _matrix(column: Any) -> Any:
    """The values of a column of lists, one after the other; all of one length, and none missing."""
    lists = column.combine_chunks()
    flat = lists.flatten()
    if lists.null_count or flat.null_count or len(lists.value_lengths().unique()) > 1:
        raise InvalidInput("expected rankings of one length, without blanks")
    return flat
