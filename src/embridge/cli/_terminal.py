"""What people see in a terminal: progress on stderr, tables on stdout."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from embridge._plain_text import markdown_text, visible
from embridge.cli._layout import parts
from embridge.progress import Progress

if TYPE_CHECKING:  # tables of other things are printed without it
    from embridge.evaluation import Summary
    from embridge.jobs.report import Comparison

__all__ = ["print_comparison", "print_lines", "print_summary", "print_table", "progress_bars"]

_LOG_SECONDS = 10.0
_LOG_WIDTH = 240
_LEGEND = """\
old/old: the old model on its index; new/old: the new model through the upgrade,
same index; new/new: everything re-encoded; naive: as new/old, no bridge;
fused/old: both models' queries; cascade: the bridge's best, re-encoded;
(ceiling): no system, it asks with the answer: about the most a map can do.
±: half the 95 % interval; flips: queries lost and won since old/old"""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(_rate(speed) if speed else "", style="progress.data.speed")


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A `Progress` on stderr: a bar for each thing it is told of, with rate and time left; plain lines in a log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    reached: dict[str, int] = {}
    with Bars(*columns, TimeElapsedColumn(), console=console) as bars:

        def show(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(visible(what), total=total)
            elif done < reached[what]:  # the same work on other items
                bars.reset(tasks[what])
            reached[what] = done
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _lines(console: Console) -> Progress:
    """A line when something begins, when it is done, and every ten seconds between."""
    began: dict[str, float] = {}
    said: dict[str, float] = {}
    reached: dict[str, int] = {}

    def say(done: int, total: int, what: str) -> None:
        now, before = monotonic(), reached.get(what, 0)
        reached[what] = done
        if what not in began or done < before:  # begun, or the same work on other items
            began[what], said[what] = now, now - _LOG_SECONDS
        if done == before or (done < total and now - said[what] < _LOG_SECONDS):
            return
        said[what] = now
        rate = done / (now - began[what]) if now > began[what] else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        console.print(
            f"{visible(what)}: {done:,}/{total:,}" + (f", {_rate(rate)}{left}" if rate else ""),
            highlight=False,
            markup=False,
        )

    return say


def _rate(per_second: float) -> str:
    """How many a second, or how many seconds each where that is more than one."""
    return f"{per_second:,.0f}/s" if per_second >= 1 else f"{1 / per_second:,.1f} s each"


def print_summary(summary: Summary, *, brief: bool = False) -> None:
    """The verdict in a line, the tables, what they mean, cautions, and the verdict's sentence last."""
    from embridge.evaluation.render.terminal import cell_tables, report_tables

    print_lines(f"Verdict: {summary.outcome}", "")
    for table in cell_tables(summary) if brief else report_tables(summary):
        print_table(table.columns, table.rows, title=table.title)
    print(_LEGEND)
    print_lines(*(f"caution: {caution}" for caution in summary.cautions), "", summary.verdict.sentence)


def print_comparison(comparison: Comparison, *, markdown: bool = False) -> None:
    """What each report is of, what the second changes against the first, and what that shows."""
    if markdown:
        from embridge.evaluation.render.markdown import tables_markdown

        print("\n\n".join(map(markdown_text, comparison.methods)), end="\n\n")
        print(tables_markdown(comparison.tables))
        print(markdown_text(comparison.sentence))
        return
    print_lines(*comparison.methods, "")
    for table in comparison.tables:
        print_table(table.columns, table.rows, title=table.title)
    print_lines(comparison.sentence)


def print_lines(*lines: str) -> None:
    """Lines on stdout, with nothing in them that a terminal obeys."""
    for line in lines:
        print(visible(line))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """A table on stdout, in parts where the terminal is narrow; figures are right-aligned."""
    columns, rows = [visible(column) for column in columns], [[visible(cell) for cell in row] for row in rows]
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_LOG_WIDTH)  # whoever reads it may cut; what is cut here is lost
    for place, part in enumerate(parts(columns, rows, console.width)):
        table = Table(
            title=Text(visible(f"{title} (continued)" if place else title)) if title else None,
            title_justify="left",
            box=SIMPLE_HEAD,
            show_header=any(columns),
            show_edge=any(columns),
            pad_edge=False,
            collapse_padding=True,
        )
        for column in part:
            justify: Literal["left", "right"] = "left" if column.is_text else "right"
            table.add_column(Text(columns[column.number]), justify=justify, overflow="fold", width=column.width)
        for row in rows:
            cells = (row[column.number] for column in part)
            table.add_row(*map(Text, cells))  # as it is: people's texts hold brackets, which rich would read as markup
        console.print(table)
        if not any(columns):
            console.print()  # as the edge of a table with a header
