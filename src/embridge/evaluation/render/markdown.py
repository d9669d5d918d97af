"""A report as Markdown: what the model card of an upgrade holds."""

from __future__ import annotations

from collections.abc import Sequence

from embridge._plain_text import markdown_text
from embridge.evaluation.render.terminal import ReportTable, report_tables
from embridge.evaluation.summary import Summary

__all__ = ["report_markdown", "tables_markdown"]


def report_markdown(summary: Summary) -> str:
    """Render a report as Markdown: the verdict's sentence, what to know before trusting it, then the tables.

    Args:
        summary: The figures.

    Returns:
        The text.

    Examples:
        >>> from embridge.evaluation import Verdict
        >>> nothing = dict.fromkeys(("ratios", "slices", "flips", "curves", "histograms", "shifts", "gates", "cautions"), ())
        >>> summary = Summary(Verdict("upgrade", "Upgrade."), ("mrr_at_5",), seed=0, asked=(), figures=(), about={}, **nothing)
        >>> report_markdown(summary).split()[0]
        'Upgrade.'
    """
    parts = [markdown_text(summary.verdict.sentence)]
    if summary.cautions:
        parts.append("\n".join(f"- {markdown_text(caution)}." for caution in summary.cautions))
    return "\n\n".join([*parts, tables_markdown(report_tables(summary))])


def tables_markdown(tables: Sequence[ReportTable]) -> str:
    """Render tables as Markdown, one after the other, each under its title.

    Args:
        tables: What `report_tables` makes.

    Returns:
        The text.

    Examples:
        >>> print(tables_markdown([ReportTable("Cells", ["cell", "R@1"], [["old/old", ".50"]])]))
        Cells:
        <BLANKLINE>
        | cell | R@1 |
        | --- | ---: |
        | old/old | .50 |
        <BLANKLINE>
    """
    parts = []
    for table in tables:
        rows = [table.columns, ["---", *("---:" for _ in table.columns[1:])], *table.rows]
        lines = "\n".join(f"| {' | '.join(map(markdown_text, row))} |" for row in rows)
        parts.append(f"{markdown_text(table.title)}:\n\n{lines}")
    return "\n\n".join(parts) + "\n"
