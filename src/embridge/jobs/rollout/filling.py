"""Filling the new space along a plan, to a share of the rows or to the end, with what cannot be read counted and named."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from embridge.errors import GateRefused
from embridge.jobs.rollout._workers import backfill_of
from embridge.jobs.rollout.moving import moved
from embridge.jobs.rollout.opened import OpenRollout
from embridge.progress import Progress
from embridge.rollout import moves
from embridge.rollout.amendments import bridge_rows
from embridge.rollout.backfill import BackfillResult
from embridge.rollout.failures import read_failures, record_failures
from embridge.rollout.foreign import delete_revived
from embridge.rollout.lease import Lease

__all__ = ["completed", "filled", "filled_at_the_end"]

_PAGE_ROWS = 10_000
_LAST_PASSES = 5  # before the end, over rows that others wrote since the last one; each has fewer to do
_LAST_ROWS = (
    10_000  # that others may have written since the last pass: they are found through the bridge, and encoded next
)
_LOOKED_SECONDS = 0.2  # after which the state is read again before a batch
_FOLLOWED_SECONDS = 1.0  # after which every gallery goes by a new state


def filled(
    opened: OpenRollout, share: float, lease: Lease, progress: Progress, *, ordered: bool = True
) -> BackfillResult:
    """Encode until that share of the rows has a new vector, and record what cannot be read.

    Args:
        opened: The rollout.
        share: Of the rows; 1 for all.
        lease: The controller's.
        progress: Hears how many rows are done.
        ordered: Whether the order of the settings counts, which is made of all rows; for the last few it does not.

    Returns:
        What was done.

    Raises:
        GateRefused: The spend cap would be passed, or more items cannot be had than the settings let pass.

    Examples:
        >>> filled.__name__
        'filled'
    """
    store, rows = opened.store, opened.store.count(opened.old)
    wanted = math.ceil(round(share * rows, 6)) - store.count(opened.new)  # 0.07 of 100 is a little more than 7
    if share < 1 and wanted <= 0:
        return BackfillResult(0, {}, 0, 0.0, "limit")
    most_failed = math.floor(round(opened.settings.most_failed * rows, 6))
    result = backfill_of(opened, progress).run(
        order=opened.order() if ordered else (),
        limits=opened.limits(most_rows=None if share == 1 else wanted, most_failed=most_failed),
        goes_on=_goes_on(opened, lease),
        progress=progress,
    )
    before = {} if result.ended == "done" else _still_failed(opened)
    record_failures(store.documents, before | dict(result.failed))
    if result.ended == "failures":
        name, reason = next(iter(result.failed.items()))
        raise GateRefused(
            f"{len(result.failed):,} of {rows:,} items could not be had, more than most_failed: "
            f"{opened.settings.most_failed:g} lets pass, such as {name}: {reason}. Say where the items are, or raise "
            "most_failed, and plan and apply again"
        )
    return result


def completed(opened: OpenRollout, first: BackfillResult, lease: Lease, progress: Progress) -> BackfillResult:
    """Answer from new rows, and from old ones where an item cannot be read; then encode what came in until all had heard.

    Args:
        opened: The rollout, whose backfill is done.
        first: How that ended.
        lease: The controller's.
        progress: Hears how many rows are done.

    Returns:
        All that was done.

    Raises:
        InvalidInput: Rows are missing that could be encoded.
        GateRefused: As for `filled`; the rollout is complete by then, and the rows are found through the bridge.

    Examples:
        >>> completed.__name__
        'completed'
    """
    after: str | None = None
    while orphans := opened.store.missing(opened.old, opened.new, after=after, limit=_PAGE_ROWS):
        delete_revived(opened.store, orphans)  # deleted by others in the old rows alone
        after = orphans[-1]
    result = first
    for _ in range(_LAST_PASSES):
        missing = opened.missing()
        if result.ended != "done" or not missing.difference(result.failed):
            break
        result = _sum(result, filled(opened, 1.0, lease, progress, ordered=False))
    if result.ended != "done":
        return result  # paused, or gone back
    unreadable = len(result.failed.keys() & missing)
    late = 0 if len(missing) - unreadable < _LAST_ROWS else len(missing) - unreadable
    moved(
        opened,
        "complete",
        lambda held: moves.complete(held, missing=late, unreadable=len(missing) - late),
        {"unreadable": unreadable},
    )
    time.sleep(_FOLLOWED_SECONDS)
    return _sum(result, filled_at_the_end(opened, lease, progress))


def filled_at_the_end(opened: OpenRollout, lease: Lease, progress: Progress) -> BackfillResult:
    """Encode what is missing of a rollout that is complete; what is left is found through the bridge.

    Args:
        opened: The rollout.
        lease: The controller's.
        progress: Hears how many rows are done.

    Returns:
        What was done.

    Raises:
        GateRefused: As for `filled`.

    Examples:
        >>> filled_at_the_end.__name__
        'filled_at_the_end'
    """
    try:
        return filled(opened, 1.0, lease, progress, ordered=False)
    finally:
        state = opened.state
        left = len(opened.missing())
        if state is not None and state.phase == "complete" and state.bridged_rows != left:
            moved(opened, "bridge rows", lambda held: bridge_rows(held, left), {"rows": left})


def _sum(first: BackfillResult, second: BackfillResult) -> BackfillResult:
    """Two runs as one; which items cannot be had, and how it ended, is as the second one says."""
    rows, encoded, spent = (getattr(first, name) + getattr(second, name) for name in ("rows", "encoded", "spent"))
    return BackfillResult(rows, second.failed, encoded, spent, second.ended)


def _still_failed(opened: OpenRollout) -> dict[str, str]:
    """Failures of former runs that have no new vector by now."""
    former = read_failures(opened.store.documents)
    names = sorted(former.all_ids)
    left = set(opened.store.fetch(opened.old, names).ids) - set(opened.store.fetch(opened.new, names).ids)
    return {name: former.reasons.get(name, "") for name in names if name in left}


def _goes_on(opened: OpenRollout, lease: Lease) -> Callable[[], bool]:
    looked = -_LOOKED_SECONDS

    def goes_on() -> bool:
        nonlocal looked
        if time.monotonic() - looked < _LOOKED_SECONDS:
            return True
        state, looked = opened.state, time.monotonic()
        running = state is not None and state.phase in ("backfilling", "complete") and not state.paused
        return lease.renew() and running

    return goes_on
