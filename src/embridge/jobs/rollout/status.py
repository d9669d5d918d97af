"""Where a rollout stands, as a table and as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.rollout._journal_checks import journal_fault, last_entries
from embridge.rollout.failures import read_failures
from embridge.rollout.journal import Entry
from embridge.rollout.shadow_figures import ShadowFigures, shadow_figures
from embridge.rollout.state import RolloutState
from embridge.stores import parse_url

__all__ = ["RolloutStatus", "rollout_status", "status_of", "watch_rollout"]

_SHOWN = 5
_ENDS = ("complete", "rolled back")


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """Where a rollout stands.

    Attributes:
        store: The store, without passwords.
        state: The state; None before it begins.
        rows: Rows of the old space; of the new one after the old rows were dropped.
        encoded: Rows with a new vector.
        failures: Items that could not be had in the last backfill.
        reasons: Of some of them.
        journal: Its last moves.
        place: Where the old vectors stand, in words.
        shadow: How far both ways to ask agreed, where queries were asked both ways.
        fault: What is wrong with the state or the journal, in words; empty where all is well, or where nobody looked.

    Examples:
        >>> RolloutStatus("memory:", None, 4, 1, 0, {}, ()).share
        0.25
    """

    store: str
    state: RolloutState | None
    rows: int
    encoded: int
    failures: int
    reasons: dict[str, str]
    journal: tuple[Entry, ...]
    place: str = ""
    shadow: tuple[ShadowFigures, ...] = ()
    fault: str = ""

    @property
    def share(self) -> float:
        """Of the rows, those with a new vector."""
        return self.encoded / self.rows if self.rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "schema": "embridge.status/1",
            "store": self.store,
            "state": None if self.state is None else self.state.to_dict(),
            "rows": self.rows,
            "encoded": self.encoded,
            "share": self.share,
            "failures": {"count": self.failures, "reasons": self.reasons},
            "shadow": {one.source: one.to_dict() for one in self.shadow},
            "journal": [entry.to_dict() for entry in self.journal],
            "fault": self.fault,
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a table."""
        state = self.state
        rows = [["store", self.store], ["state", "not begun" if state is None else _said(state)]]
        if state is not None:
            rows += [["old", str(state.old)], ["new", str(state.new)], ["canary", f"{state.canary:g}"]]
        rows.append(["rows with a new vector", f"{self.encoded:,} of {self.rows:,} ({self.share:.1%})"])
        if self.failures:
            name, reason = next(iter(self.reasons.items()))
            rows.append(["items that could not be had", f"{self.failures:,}, such as {name}: {reason}"])
        if state is not None and state.bridged_rows:
            rows.append(["rows found through the bridge", f"{state.bridged_rows:,}"])
        rows += [[f"shadow, {one.title}", _agreement(one)] for one in self.shadow]
        rows += [[f"move {one.state.version}", f"{one.move} by {one.by}"] for one in self.journal]
        rows += [["fault", self.fault]] if self.fault else []
        return ["", ""], rows


def rollout_status(settings: Path | str) -> RolloutStatus:
    """Say where a rollout stands, and whether its journal is whole. Changes nothing.

    Args:
        settings: The rollout's settings file.

    Returns:
        The status.

    Raises:
        SettingsError: The file does not say what it must.
        StoreError: The store cannot be read.

    Examples:
        >>> rollout_status("nowhere.yaml")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    with closing(open_rollout(settings)) as opened:
        return replace(status_of(opened), fault=journal_fault(opened.store.documents))


def watch_rollout(
    settings: Path | str, *, every_seconds: float = 1.0, wait: Callable[[float], object] = time.sleep
) -> Iterator[RolloutStatus]:
    """Say where a rollout stands, again and again until it is complete or rolled back. Changes nothing.

    The whole journal is looked at once, at the end.

    Args:
        settings: The rollout's settings file.
        every_seconds: How long to wait between two looks.
        wait: Called with that many seconds.

    Yields:
        The status.

    Raises:
        SettingsError: The file does not say what it must.
        StoreError: The store cannot be read.

    Examples:
        >>> next(watch_rollout("nowhere.yaml"))
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    with closing(open_rollout(settings)) as opened:
        while True:
            status = status_of(opened)
            if status.state is not None and status.state.phase in _ENDS:
                yield replace(status, fault=journal_fault(opened.store.documents))
                return
            yield status
            wait(every_seconds)


def status_of(opened: OpenRollout) -> RolloutStatus:
    """Say where a rollout stands that is open. Changes nothing, and looks at the last moves alone.

    Args:
        opened: The rollout.

    Returns:
        The status.

    Raises:
        StoreError: The store cannot be read.

    Examples:
        >>> status_of.__name__
        'status_of'
    """
    documents, state = opened.store.documents, opened.state
    ended = state is not None and state.old_dropped  # a kill may have left the declaration of old rows that are gone
    held = [space for space in opened.store.spaces() if not (ended and space == opened.old)]
    failures = read_failures(documents)
    rows, encoded = (opened.store.count(space) if space in held else 0 for space in (opened.old, opened.new))
    return RolloutStatus(
        str(parse_url(opened.settings.store)),
        state,
        rows if opened.old in held else encoded,
        encoded,
        failures.count,
        dict(failures.reasons),
        last_entries(documents, state, _SHOWN),
        _place(opened) if opened.old in held else "",
        shadow_figures(documents, upgrade_id=opened.upgrade_id),
    )


def _place(opened: OpenRollout) -> str:
    declared = opened.store.declaration(opened.old)
    column = f"the column {declared.place.vector} of " if declared.place.vector else "all of "
    return f"{column}{declared.place.table}" + (", which was there before" if declared.adopted else "")


def _agreement(figures: ShadowFigures) -> str:
    overlap, top1 = figures.overlap, figures.top1
    return (
        f"{figures.queries:,} compared; {overlap.value:.3f} ± {overlap.half:.3f} of the hits are the same, and the best hit of "
        f"{top1.value:.3f} ± {top1.half:.3f}"
    )


def _said(state: RolloutState) -> str:
    if state.old_dropped:
        return "complete, the old rows are dropped"
    return f"{state.phase}, paused" if state.paused else state.phase
