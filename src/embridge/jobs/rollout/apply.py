"""Applying a plan: to the bridge, to a share of the gallery, or to the end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from embridge.errors import InvalidInput, SettingsError, StoreError
from embridge.jobs.rollout.filling import completed, filled, filled_at_the_end
from embridge.jobs.rollout.gating import checked_gates
from embridge.jobs.rollout.moving import moved
from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.jobs.rollout.planning import require_same_plan
from embridge.progress import Progress, silent
from embridge.rollout import moves
from embridge.rollout._sides import ITEMS
from embridge.rollout.amendments import on_read
from embridge.rollout.backfill import BackfillResult
from embridge.rollout.gates import RolloutGate, require_rollout_gates
from embridge.rollout.journal import record_move
from embridge.rollout.lease import Lease, current_holder, this_process
from embridge.rollout.plan import Plan, read_plan
from embridge.rollout.state import RolloutState
from embridge.scale import Engine, SerialEngine

__all__ = ["Applied", "apply_plan", "check_plan"]

_ANY_NUMBER = 2.0**53
_STAGES = {"shadow": 0.0, "bridged": 0.0, "complete": 1.0}


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
        bridged = " and are found through the bridge" if failed and self.state.phase == "complete" else ""
        return f"{words}: {self.result.rows:,} rows encoded{failed}{bridged}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        result = None if self.result is None else asdict(self.result)
        return {"schema": "embridge.applied/1", "state": self.state.to_dict(), "backfill": result}


def apply_plan(
    plan: Path | str,
    *,
    until: str = "complete",
    again: bool = False,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Applied:
    """Take a store along a plan. Interrupted or killed, it goes on where it was when it is called again.

    Args:
        plan: The plan's file.
        until: ``shadow``; ``bridged``; the share of the gallery to encode, such as ``0.3``; or ``complete``.
        again: Begin anew where the rollout was rolled back. A call that is made by the clock does not take that back by itself.
        engine: Whose workers encode; left open. Where None, the one that the settings name.
        progress: Hears how many rows are done.

    Returns:
        Where the rollout stands.

    Raises:
        InvalidInput: The plan is not one, something changed since, or rows remain that would not be found; or the rollout was
            rolled back, and nobody says ``again``.
        SettingsError: The settings do not say what they must, or ``until`` is no stage.
        StoreError: Another controller runs the rollout, or the store cannot be reached.
        GateRefused: A gate of the settings is not met, the spend cap would be passed, or more items cannot be had than the
            settings let pass.
        WorkerError: Workers died too often, or none can be had.

    Examples:
        >>> apply_plan("nowhere.json")
        Traceback (most recent call last):
        embridge.errors.InvalidInput: nowhere.json cannot be read as a plan: ...
    """
    share, planned = _share(until), read_plan(plan)
    with closing(open_rollout(planned.settings)) as opened:
        before = opened.state
        require_same_plan(planned, opened)
        _require_forward(opened, before, again)
        gates = () if until == "shadow" else checked_gates(opened)
        require_rollout_gates(gates)
        with _engine(opened, engine, share) as workers, Lease(opened.store.documents, this_process()) as lease:
            if (stopped := _stopped_since(opened, before)) is not None:
                return Applied(stopped, None)
            opened = replace(opened, engine=workers)
            state = _begun(opened)
            if until == "shadow":
                return Applied(_shadowed(opened, state), None)
            state = _amended(opened, _bridged(opened, state, gates))
            return _applied(opened, state, share, until == "complete", lease, progress)


def check_plan(plan: Path | str, *, until: str = "complete", again: bool = False) -> Plan:
    """Say whether a plan can be applied as the store is now, and what is left of it. Changes nothing.

    Args:
        plan: The plan's file.
        until: As for `apply_plan`.
        again: As for `apply_plan`.

    Returns:
        The plan, with the rows and the phase of this moment.

    Raises:
        InvalidInput: As for `apply_plan`.
        SettingsError: As for `apply_plan`.
        StoreError: As for `apply_plan`.
        GateRefused: A gate of the settings is not met.

    Examples:
        >>> check_plan("nowhere.json")
        Traceback (most recent call last):
        embridge.errors.InvalidInput: nowhere.json cannot be read as a plan: ...
    """
    _share(until)
    planned = read_plan(plan)
    with closing(open_rollout(planned.settings)) as opened:
        require_same_plan(planned, opened)
        _require_forward(opened, opened.state, again)
        require_rollout_gates(() if until == "shadow" else checked_gates(opened))
        if holder := current_holder(opened.store.documents):
            raise StoreError(f"{holder} runs this rollout; wait until it ends, or pause it there")
        state, rows = opened.state, opened.store.count(opened.old)
        encoded = opened.store.count(opened.new) if opened.new in opened.store.spaces() else 0
        phase = "prepared" if state is None else state.phase
        return replace(planned, phase=phase, rows=rows, missing=max(0, rows - encoded))


@contextmanager
def _engine(opened: OpenRollout, engine: Engine | None, share: float) -> Iterator[Engine]:
    if engine is not None or not share:
        yield engine or SerialEngine()
        return
    with opened.settings.engine.opened() as ours:
        yield ours


def _shadowed(opened: OpenRollout, state: RolloutState) -> RolloutState:
    """Let galleries ask a share of their queries both ways; nothing else changes."""
    share = opened.settings.shadow.share
    if state.phase == "shadow" and state.shadow == share:
        return state
    return moved(opened, "shadow", lambda held: moves.shadow(held, share))


def _bridged(opened: OpenRollout, state: RolloutState, gates: Sequence[RolloutGate]) -> RolloutState:
    """Let the new model answer the canary's share of the queries, by gates that hold."""
    opened.store.add_space(opened.new)
    if (queue := opened.queue()) is not None:
        queue.begin()
    canary = opened.settings.canary
    if state.phase in ("prepared", "shadow"):
        why = {"gates": [gate.to_dict() for gate in gates]} if gates else {}
        return moved(opened, "bridge", lambda held: moves.bridge(held, canary), why)
    if state.phase in ("bridged", "backfilling") and state.canary != canary:
        return moved(opened, "canary", lambda held: moves.bridge(held, canary))
    return state


def _applied(
    opened: OpenRollout, state: RolloutState, share: float, to_the_end: bool, lease: Lease, progress: Progress
) -> Applied:
    if share == 0:
        return Applied(state, None)
    if state.phase == "bridged":
        state = moved(opened, "backfill", moves.backfill)
    if state.paused:
        state = moved(opened, "resume", moves.resume)
    if state.phase == "complete":
        result = filled_at_the_end(opened, lease, progress)
    else:
        result = filled(opened, share, lease, progress)
        if to_the_end and result.ended == "done":
            result = completed(opened, result, lease, progress)
    return Applied(opened.state or state, result)


def _amended(opened: OpenRollout, state: RolloutState) -> RolloutState:
    """The state, by which galleries encode on read as the settings say; and where the items are that they encode."""
    settings, documents = opened.settings, opened.store.documents
    if settings.backfill_on_read and documents.read(ITEMS) != (items := opened.source().to_dict()):
        documents.swap(ITEMS, documents.read(ITEMS), items)
    read, most = settings.backfill_on_read, 0
    if settings.spend_cap and settings.price:
        most = math.floor(min(settings.spend_cap / settings.price, _ANY_NUMBER))
        read = read if most else 0  # a cap below the price of one item lets none be encoded
    wanted = (read, most if read else 0)
    if state.phase not in ("bridged", "backfilling") or (state.on_read, state.most_encoded) == wanted:
        return state
    return moved(opened, "on read", lambda held: on_read(held, wanted[0], most_encoded=wanted[1]))


def _share(until: str) -> float:
    if until in _STAGES:
        return _STAGES[until]
    try:
        share = float(until)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise SettingsError(
            f"--until is shadow, bridged, complete, or a share of the gallery such as 0.3; came {until}"
        )
    return share


def _require_forward(opened: OpenRollout, state: RolloutState | None, again: bool) -> None:
    """Refuse to take back a rollback that nobody means to take back."""
    own = state is not None and (state.old, state.new) == (opened.old, opened.new)
    if state is None or state.phase != "rolled back" or not own or again:
        return
    raise InvalidInput(f"{opened.path}: this rollout was rolled back; embridge apply --again begins anew")


def _stopped_since(opened: OpenRollout, before: RolloutState | None) -> RolloutState | None:
    """The state, where somebody paused or went back while this began, which is not taken back."""
    state = opened.state
    if before is None or state is None or state.version == before.version:
        return None
    return state if state.paused or state.phase == "rolled back" else None


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
