"""Applying a plan: to the bridge, to a share of the gallery, or to the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embridge.errors import InvalidInput
from embridge.jobs.rollout.moving import moved
from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.jobs.rollout.planning import require_same_plan
from embridge.progress import Progress, silent
from embridge.rollout import moves
from embridge.rollout.backfill import BackfillResult
from embridge.rollout.foreign import delete_revived
from embridge.rollout.journal import record_move
from embridge.rollout.lease import Lease, this_process
from embridge.rollout.plan import read_plan
from embridge.rollout.state import RolloutState

__all__ = ["FAILURES", "Applied", "apply_plan"]

FAILURES = "failures"
_PAGE_ROWS = 10_000
_KEPT = 1_000  # failures by id; the others are counted
_LAST_PASSES = 5  # before the end, over rows that others wrote since the last one; each has fewer to do
_FOLLOWED_SECONDS = 1.0  # after which every gallery goes by a new state


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a plan came to.

    Attributes:
        state: Where the rollout stands.
        result: Of the backfill; None where none ran.

    Examples:
        >>> Applied.__slots__
        ('state', 'result')
    """

    state: RolloutState
    result: BackfillResult | None

    @property
    def sentence(self) -> str:
        """It in words."""
        words = self.state.phase + (", paused" if self.state.paused else "")
        if self.result is None:
            return words
        failed = f", {len(self.result.failed):,} items could not be had" if self.result.failed else ""
        return f"{words}: {self.result.rows:,} rows encoded{failed}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        result = None if self.result is None else asdict(self.result)
        return {"schema": "embridge.applied/1", "state": self.state.to_dict(), "backfill": result}


def apply_plan(plan: Path | str, *, until: str = "complete", progress: Progress = silent) -> Applied:
    """Take a store along a plan. Interrupted or killed, it goes on where it was when it is called again.

    Args:
        plan: The plan's file.
        until: ``bridged``; the share of the gallery to encode, such as ``0.3``; or ``complete``.
        progress: Hears how many rows are done.

    Returns:
        Where the rollout stands.

    Raises:
        InvalidInput: The plan is not one, something changed since, or rows remain that would not be found.
        SettingsError: The settings do not say what they must.
        StoreError: Another controller runs the rollout, or the store cannot be reached.
        GateRefused: The spend cap would be passed.

    Examples:
        >>> apply_plan("nowhere.json")
        Traceback (most recent call last):
        embridge.errors.InvalidInput: nowhere.json cannot be read as a plan: ...
    """
    share, planned = _share(until), read_plan(plan)
    with closing(open_rollout(planned.settings)) as opened:
        require_same_plan(planned, opened)
        with Lease(opened.store.documents, this_process()) as lease:
            return _applied(opened, share, until == "complete", lease, progress)


def _applied(opened: OpenRollout, share: float, to_the_end: bool, lease: Lease, progress: Progress) -> Applied:
    state = _begun(opened)
    opened.store.add_space(opened.new)
    if (queue := opened.queue()) is not None:
        queue.begin()
    if state.phase in ("prepared", "shadow"):
        state = moved(opened, "bridge", lambda held: moves.bridge(held, opened.settings.canary))
    elif state.phase in ("bridged", "backfilling") and state.canary != opened.settings.canary:
        state = moved(opened, "canary", lambda held: moves.bridge(held, opened.settings.canary))
    if share == 0:
        return Applied(state, None)
    if state.phase == "bridged":
        state = moved(opened, "backfill", moves.backfill)
    if state.paused:
        state = moved(opened, "resume", moves.resume)
    result = _filled(opened, share, lease, progress)
    if to_the_end and result.ended == "done" and state.phase == "backfilling":
        return Applied(_completed(opened, result, lease, progress), result)
    return Applied(opened.state or state, result)


def _share(until: str) -> float:
    if until in ("bridged", "complete"):
        return 0.0 if until == "bridged" else 1.0
    try:
        share = float(until)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise InvalidInput(f"--until is bridged, complete, or a share of the gallery such as 0.3; came {until}")
    return share


def _begun(opened: OpenRollout) -> RolloutState:
    """The state; a rollout that has not begun is prepared."""
    first = RolloutState(opened.old, opened.new, str(opened.settings.upgrade), opened.upgrade_id)
    state = opened.state
    if state is None:
        entry = {"move": "prepare", "by": this_process(), "at_seconds": time.time(), "why": {}}
        record_move(opened.store.documents, None, first, entry=entry)
        state = opened.state or first
    same = (state.old, state.new, state.upgrade_id) == (first.old, first.new, first.upgrade_id)
    if same and state.old_dropped:
        raise InvalidInput("this rollout is at its end: the old rows were dropped")
    if state.phase == "rolled back" or not same:
        state = moved(opened, "prepare again", lambda held: moves.prepare_again(held, first))
    return state


def _filled(opened: OpenRollout, share: float, lease: Lease, progress: Progress) -> BackfillResult:
    """Encode until that share of the rows has a new vector."""
    store = opened.store
    wanted = math.ceil(share * store.count(opened.old)) - store.count(opened.new)
    if share < 1 and wanted <= 0:
        return BackfillResult(0, {}, 0, 0.0, "limit")
    backfill = opened.backfill(opened.encoder(progress))
    result = backfill.run(
        order=opened.order(),
        limits=opened.limits(most_rows=None if share == 1 else wanted),
        goes_on=_goes_on(opened, lease),
        progress=progress,
    )
    failures = {"count": len(result.failed), "reasons": dict(list(result.failed.items())[:_KEPT])}
    documents = store.documents
    documents.swap(FAILURES, documents.read(FAILURES), failures)
    return result


def _goes_on(opened: OpenRollout, lease: Lease) -> Callable[[], bool]:
    def goes_on() -> bool:
        state = opened.state
        running = state is not None and state.phase in ("backfilling", "complete") and not state.paused
        return lease.renew() and running

    return goes_on


def _completed(opened: OpenRollout, result: BackfillResult, lease: Lease, progress: Progress) -> RolloutState:
    """Answer from new rows alone; what others wrote in the last moment before that is encoded right after."""
    after: str | None = None
    while orphans := opened.store.missing(opened.old, opened.new, after=after, limit=_PAGE_ROWS):
        delete_revived(opened.store, orphans)  # deleted by others in the old rows alone
        after = orphans[-1]
    for _ in range(_LAST_PASSES):
        missing = opened.store.missing(opened.new, opened.old, limit=_PAGE_ROWS)
        if result.ended != "done" or not set(missing).difference(result.failed):
            break
        result = _filled(opened, 1.0, lease, progress)
    if result.ended != "done":
        return opened.state or _begun(opened)  # paused, or gone back
    left = len(missing) if len(missing) == _PAGE_ROWS else len(result.failed.keys() & set(missing))
    state = moved(opened, "complete", lambda held: moves.complete(held, missing=left))
    time.sleep(_FOLLOWED_SECONDS)
    _filled(opened, 1.0, lease, progress)
    return opened.state or state
