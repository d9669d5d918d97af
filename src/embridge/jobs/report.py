"""A report shown again, and what one report changes against another: the work of ``embridge report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embridge.evaluation import Summary, compare, load_report
from embridge.evaluation.compare import CellChange
from embridge.evaluation.render._changes import change_sentence, change_tables
from embridge.evaluation.render.html import pictures_from, save_html
from embridge.evaluation.render.terminal import ReportTable
from embridge.evaluation.report_files import load_summary

__all__ = ["Comparison", "compare_reports", "show_report"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the second of two reports changes against the first, see `compare_reports`.

    Attributes:
        files: Both reports.
        methods: What each is of, a line each.
        changes: The difference of each figure, with its interval.
        tables: The same for people.
        sentence: What that shows.

    Examples:
        >>> Comparison((Path("a.json"), Path("b.json")), ("a", "b"), (), (), "they are identical").to_dict()["changes"]
        []
    """

    files: tuple[Path, Path]
    methods: tuple[str, str]
    changes: Sequence[CellChange]
    tables: Sequence[ReportTable]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """What ``embridge report --compare --json`` prints."""
        changes = [asdict(change) for change in self.changes]
        payload = {"schema": "embridge.comparison/1", "reports": [str(file) for file in self.files], "changes": changes}
        return payload | {"sentence": self.sentence}


def show_report(file: Path | str, *, page: Path | str | None = None, items: Path | str | None = None) -> Summary:
    """Read a report, and write its page where one is named.

    Args:
        file: The report's JSON, as `evaluate_upgrade` wrote it.
        page: Where to write the report as one HTML page.
        items: The folder of the pictures that the page shows.

    Returns:
        The report's summary.

    Raises:
        ArtefactError: The file is no report, truncated or altered.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, Space
        >>> from embridge.adapters import Identity, Prefix, Provenance, Upgrade
        >>> from embridge.evaluation import Relevance, Side, evaluate
        >>> from embridge.evaluation.report_files import save_report
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> def side(space):
        ...     rows = np.eye(2, space.dim, dtype=np.float32)
        ...     return Side(Embeddings.of(rows, space, ["x", "y"]), Embeddings.of(rows, space, ["a", "b"]))
        >>> upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))
        >>> report = evaluate(side(old), side(new), upgrade, Relevance.from_pairs([("x", "a"), ("y", "b")]))
        >>> _ = save_report(report, "report.json")
        >>> show_report("report.json", page="report.html").verdict.decision
        'not enough evidence'
    """
    summary = load_summary(file)
    if page is not None:
        save_html(page, summary, show=None if items is None else pictures_from(items))
    return summary


def compare_reports(first: Path | str, second: Path | str) -> Comparison:
    """Compare two reports on the same queries.

    Args:
        first: A report's JSON.
        second: Another.

    Returns:
        What the second changes against the first.

    Raises:
        ArtefactError: A file is no report, truncated or altered.
        InvalidInput: The reports are of other queries.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, Space
        >>> from embridge.adapters import Identity, Prefix, Provenance, Upgrade
        >>> from embridge.evaluation import Relevance, Side, evaluate
        >>> from embridge.evaluation.report_files import save_report
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> def side(space):
        ...     rows = np.eye(2, space.dim, dtype=np.float32)
        ...     return Side(Embeddings.of(rows, space, ["x", "y"]), Embeddings.of(rows, space, ["a", "b"]))
        >>> upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))
        >>> report = evaluate(side(old), side(new), upgrade, Relevance.from_pairs([("x", "a"), ("y", "b")]))
        >>> _ = save_report(report, "report.json")
        >>> compare_reports("report.json", "report.json").to_dict()["schema"]
        'embridge.comparison/1'
    """
    files = Path(first), Path(second)
    reports = load_report(files[0]), load_report(files[1])
    changes = compare(*reports)
    alike = files[0].name == files[1].name
    names = (str(files[0]), str(files[1])) if alike else (files[0].name, files[1].name)
    methods = [f"{n}: {report.about.get('upgrade', 'an upgrade')}" for n, report in zip(names, reports, strict=True)]
    return Comparison(
        files,
        (methods[0], methods[1]),
        changes,
        change_tables(changes, names),
        change_sentence(changes, names),
    )
