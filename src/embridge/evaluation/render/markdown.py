"""A report as Markdown: what the model card of an upgrade holds."""

from __future__ import annotations

from collections.abc import Sequence

from embridge.evaluation.render.terminal import ReportTable, report_tables
from embridge.evaluation.summary import Summary

__all__ = ["report_markdown", "tables_markdown"]


def report_markdown(summary: Summary) -> str:
    """The verdict's sentence, what to know before trusting it, then the tables."""
    parts = [summary.verdict.sentence]
    if summary.cautions:
        parts.append("\n".join(f"- {caution}." for caution in summary.cautions))
    return "\n\n".join([*parts, tables_markdown(report_tables(summary))])


def tables_markdown(tables: Sequence[ReportTable]) -> str:
    """The tables one after the other, each under its title."""
    parts = []
    for table in tables:
        rows = [table.columns, ["---", *("---:" for _ in table.columns[1:])], *table.rows]
        parts.append(f"{table.title}:\n\n" + "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    """Text that cannot end its cell or its line."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())
