"""Reports on disk: figures as JSON that the base install reads, and beside it every query's values as Parquet.

One Parquet row is one query in one cell: what was found, with scores and gains; so any figure can be computed again, with
this library or with a line of pandas.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embridge.atomic_write import atomic_pair, descriptions, refuse_foreign_file
from embridge.errors import ArtefactError, InvalidInput, require
from embridge.evaluation.report import Report
from embridge.evaluation.report_values import read_values, write_values
from embridge.evaluation.summarise import summarise
from embridge.evaluation.summary import Summary

__all__ = ["load_report", "load_summary", "require_free_report", "save_report", "summary_to_dict"]

_LARGEST, _LARGEST_WHOLE = 1e39, 10**18

_ATTEMPTS, _WAIT_SECONDS = 4, 0.05  # a writer may be between its two renames
_MARKS = (b'"embridge.report/', b'{\n "verdict": {\n  "decision":')  # the first stands near the end
_COLUMNS = {"direction", "cell", "query", "items", "scores", "gains"}


def summary_to_dict(summary: Summary) -> dict[str, Any]:
    """Write a summary as plain JSON values.

    Args:
        summary: The figures.

    Returns:
        What the report's JSON file holds, but for the name of its Parquet file.

    Examples:
        >>> from embridge.evaluation import Verdict
        >>> verdict = Verdict("upgrade", "Upgrade.")
        >>> nothing = dict.fromkeys(("ratios", "slices", "flips", "curves", "histograms", "shifts", "gates", "cautions"), ())
        >>> summary = Summary(verdict, ("recall_at_1",), seed=0, asked=(), figures=(), about={}, **nothing)
        >>> summary_to_dict(summary)["verdict"]["decision"]
        'upgrade'
    """
    from pydantic import TypeAdapter  # importing the package stays light

    return TypeAdapter(Summary).dump_python(summary, mode="json")


def save_report(report: Report, path: Path | str, **settings: Sequence[Any]) -> Summary:
    """Write a report as ``NAME.json``, with every query's values in ``NAME.parquet`` beside it.

    The JSON says which Parquet file it was written with, and both change at once: whoever reads beside this, or after it was
    killed, sees one report. Needs the extra ``parquet``.

    Args:
        report: The report.
        path: Where the JSON goes; its name ends in ``.json``.
        **settings: Gates, precisions and thresholds, as `summarise` takes them.

    Returns:
        The figures that the JSON holds.

    Raises:
        InvalidInput: The name ends in something else, so that the two files could be one; or there are such files that are
            no report.

    Examples:
        >>> import numpy as np
        >>> from embridge.evaluation import Cell, Task
        >>> rows, gains = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32)
        >>> task = Task("", ("q",), ("g", "h"), 2, np.array([1]), gains)
        >>> cells = tuple(Cell("", name, rows, gains, gains) for name in ("old/old", "new/old", "new/new", "naive"))
        >>> save_report(Report((task,), cells, ("recall_at_1",)), "report.json").figure("", "new/old", "recall_at_1").cell
        'new/old'
        >>> load_report("report.json").cell("", "naive").rows.tolist()
        [[0]]
    """
    path = Path(path)
    require_free_report(path)
    summary = summarise(report, **settings)
    values = path.with_suffix(".parquet")
    with atomic_pair(values, path, belongs=_belong) as (new_values, new_path):
        write_values(report, new_values)
        written = summary_to_dict(summary) | {"values": {"file": values.name, "sha256": _digest(new_values)}}
        new_path.write_text(json.dumps(written, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return summary


def require_free_report(path: Path | str) -> None:
    """Refuse a name under which something else than a report is; best before hours of work.

    Args:
        path: Where the report's JSON is to go.

    Raises:
        InvalidInput: The name does not end in ``.json``; or a folder, or a file that is no report, is in its place or in
            that of the values.

    Examples:
        >>> require_free_report("report.json")
        >>> _ = Path("mine.json").write_text("{}")
        >>> require_free_report("mine.json")
        Traceback (most recent call last):
        embridge.errors.InvalidInput: mine.json is not a report of embridge and is not overwritten; choose another name
    """
    path = Path(path)
    if path.suffix != ".json":
        raise InvalidInput(
            f"{path}: a report is written as NAME.json, with NAME.parquet beside it; end the name in .json"
        )
    refuse_foreign_file(path, marks=_MARKS, what="a report of embridge")
    values = path.with_suffix(".parquet")
    if values.is_dir() or (values.exists() and not _holds_values(values, or_damaged=path.exists())):
        raise InvalidInput(
            f"{values} is not of a report and is not overwritten: the values of {path.name} go under that name. Choose "
            "another name for the report"
        )


def load_summary(path: Path | str) -> Summary:
    """Read the figures of a report.

    Args:
        path: Its JSON file.

    Returns:
        The figures.

    Raises:
        ArtefactError: There is no such file, or it holds no report.

    Examples:
        >>> load_summary("nowhere.json")
        Traceback (most recent call last):
        ...
        embridge.errors.ArtefactError: nowhere.json does not exist; expected a report, as embridge evaluate writes it
    """
    path = Path(path)
    for description in descriptions(path):
        if description != path and (figures := _read_if_there(description)) and _values_of(path, figures[1]):
            return figures[0]
    return _read(path)[0]


def load_report(path: Path | str) -> Report:
    """Read a report with every query's values. Needs the extra ``parquet``; `save_report` shows both.

    Args:
        path: Its JSON file; the Parquet file lies beside it.

    Returns:
        The report.

    Raises:
        ArtefactError: One of the two is missing, damaged, or not the other's.

    Examples:
        >>> load_report("nowhere.json")
        Traceback (most recent call last):
        ...
        embridge.errors.ArtefactError: nowhere.json does not exist; expected a report, as embridge evaluate writes it
    """
    path = Path(path)
    for attempt in range(_ATTEMPTS):
        time.sleep(_WAIT_SECONDS if attempt else 0)
        for description in descriptions(path) or [path]:
            figures = _read(path) if description == path else _read_if_there(description)
            if figures is None or (values := _values_of(path, figures[1])) is None:
                continue
            summary, before = figures[0], values.stat()
            report = _with_values(path, values, summary)
            if values.exists() and values.stat().st_ino == before.st_ino:
                return report
    raise ArtefactError(
        f"{path.parent / _read(path)[1]['values']['file']} is missing or is not the file that {path} was written with; "
        "evaluate again"
    )


def _read_if_there(description: Path) -> tuple[Summary, dict[str, Any]] | None:
    """None for a report that a writer has just given its name: it is read under that one."""
    try:
        return _read(description)
    except ArtefactError:
        if description.exists():
            raise
        return None


def _values_of(path: Path, read: dict[str, Any]) -> Path | None:
    """The file of values that belongs to what was read; none if what is there does not."""
    entry = read.get("values")
    if not isinstance(entry, dict) or Path(str(entry.get("file"))).name != entry.get("file"):
        raise ArtefactError(
            f"{path} holds figures only, without the values of every query; use the report evaluate wrote"
        )
    values = path.parent / entry["file"]
    return values if values.is_file() and _digest(values) == entry.get("sha256") else None


def _with_values(path: Path, values: Path, summary: Summary) -> Report:
    try:
        tasks, cells = read_values(values, summary.asked)
        return Report(tasks, cells, summary.metrics, summary.seed, summary.about)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ArtefactError(f"{values} does not hold what {path} says ({error}); evaluate again") from error


def _belong(values: Path, description: Path) -> bool:
    try:
        return bool(json.loads(description.read_text(encoding="utf-8"))["values"]["sha256"] == _digest(values))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _holds_values(file: Path, *, or_damaged: bool) -> bool:
    pa = require("pyarrow", extra="parquet")
    try:
        return set(require("pyarrow.parquet", extra="parquet").read_schema(file).names) >= _COLUMNS
    except (OSError, pa.ArrowException):
        return or_damaged or file.stat().st_size == 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> tuple[Summary, dict[str, Any]]:
    from pydantic import TypeAdapter, ValidationError

    if not path.is_file():
        raise ArtefactError(f"{path} does not exist; expected a report, as embridge evaluate writes it")
    try:
        read = json.loads(
            path.read_text(encoding="utf-8"), parse_int=_whole_number, parse_float=_finite, parse_constant=_finite
        )
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not a whole report ({error}); evaluate again") from error
    if not isinstance(read, dict) or read.get("schema") != "embridge.report/2":
        came = read.get("schema") if isinstance(read, dict) else type(read).__name__
        raise ArtefactError(f"{path}: expected schema embridge.report/2, came {came!r}; evaluate again")
    _with_present_names(read)
    try:
        return _whole(TypeAdapter(Summary).validate_python(read), path), read
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtefactError(f"{path} is not a whole report ({where}: {first['msg']}); evaluate again") from error


def _whole(summary: Summary, path: Path) -> Summary:
    """The same, with the figures of every cell that was asked for; each part of it may be well-formed and others gone."""
    asked = [(a.direction, cell, metric) for a in summary.asked for cell in a.cells for metric in summary.metrics]
    there = [(f.direction, f.cell, f.metric) for f in summary.figures]
    named: tuple[Any, ...] = (
        *summary.ratios,
        *summary.slices,
        *summary.flips,
        *summary.wins,
        *summary.curves,
        *summary.histograms,
    )
    strays = {part.direction for part in (*named, *summary.shifts)} - {a.direction for a in summary.asked}
    if not asked or strays or set(asked) - set(there) or len(set(there)) < len(there):
        raise ArtefactError(f"{path} is not a whole report (figures are missing or double); evaluate again")
    return summary


def _finite(text: str) -> float:
    """No report is written with others, and nothing can be drawn of them."""
    if not abs(number := float(text)) <= _LARGEST:
        raise ValueError(f"{text[:40]} is no number of a report")
    return number


def _whole_number(text: str) -> int:
    if abs(number := int(text)) > _LARGEST_WHOLE:
        raise ValueError(f"{text[:40]} is no number of a report")
    return number


def _with_present_names(read: dict[str, Any]) -> None:
    """Reports written before these names were settled: who says what is right, and the model without its LoRA."""
    directions = read.get("asked")
    for asked in directions if isinstance(directions, list) else ():
        if isinstance(asked, dict) and "truth" in asked:
            asked["source"] = asked.pop("truth")
    about = read.get("about")
    for fields in (about, about.get("data")) if isinstance(about, dict) else ():
        if isinstance(fields, dict) and "native" in fields:
            fields["new_without_lora"] = fields.pop("native")
