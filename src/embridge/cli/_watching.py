"""The status of a rollout that is looked at again and again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from embridge._plain_text import visible
from embridge.errors import StoreError
from embridge.jobs.rollout.pace import Pace

if TYPE_CHECKING:
    from embridge.jobs.rollout import RolloutStatus

__all__ = ["Pace", "watch_status"]


def watch_status(statuses: Iterable[RolloutStatus], *, as_json: bool = False, pace: Pace | None = None) -> None:
    """Show each status in place of the one before; in a file or a pipe, where it changed; as JSON, such a one a line.

    Raises:
        StoreError: The last one tells of a fault.
    """
    last = _shown_as_json(statuses) if as_json else _shown(statuses, pace or Pace())
    if fault := last.get("fault"):
        raise StoreError(fault)


def _shown_as_json(statuses: Iterable[RolloutStatus]) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for status in statuses:
        if status.to_dict() != last:
            print(json.dumps(status.to_dict(), default=str), flush=True)
        last = status.to_dict()
    return last


def _shown(statuses: Iterable[RolloutStatus], pace: Pace) -> dict[str, Any]:
    last: dict[str, Any] = {}
    console = Console(file=sys.stdout)
    with Live(console=console, auto_refresh=False) if console.is_terminal else nullcontext() as live:
        for status in statuses:
            table = _table(status, pace.told(status))
            if live is not None:
                live.update(table, refresh=True)
            elif status.to_dict() != last:
                console.print(table)
                sys.stdout.flush()
            last = status.to_dict()
    return last


def _table(status: RolloutStatus, pace: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_header=False, show_edge=False, pad_edge=False, collapse_padding=True)
    _, rows = status.table()
    for name, value in [*rows, *([["pace", pace]] if pace else [])]:
        table.add_row(Text(visible(name)), Text(visible(value), overflow="fold"))
    return table
