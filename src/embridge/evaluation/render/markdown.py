"""A report as Markdown: what the model card of an upgrade holds."""

from __future__ import annotations

from embridge.evaluation.render.terminal import report_tables
from embridge.evaluation.report import Report
from embridge.evaluation.verdict import decide

__all__ = ["report_markdown"]


def report_markdown(report: Report) -> str:
    """The verdict's sentence, then one table a direction."""
    parts = [decide(report).sentence]
    for table in report_tables(report):
        rows = [table.columns, ["---", *("---:" for _ in table.columns[1:])], *table.rows]
        parts.append(f"{table.title}:\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts) + "\n"
