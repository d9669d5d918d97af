"""One move of a rollout, by whoever asks for it and at any moment: pausing, going back, dropping the old rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from embridge.errors import InvalidInput, StoreError
from embridge.jobs.rollout.gating import checked_gates
from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.rollout import moves
from embridge.rollout._open_writes import abandoned_rows
from embridge.rollout.amendments import change_canary
from embridge.rollout.failures import read_failures
from embridge.rollout.gates import require_rollout_gates
from embridge.rollout.journal import record_move
from embridge.rollout.lease import Lease, this_process
from embridge.rollout.stale import stale_rows
from embridge.rollout.state import RolloutState

__all__ = ["change_phase", "drop_old_rows", "move_canary", "move_phase", "moved"]

_ATTEMPTS, _PAGE_ROWS = 20, 10_000
_MOVES: dict[str, Callable[[RolloutState], RolloutState]] = {
    "pause": moves.pause,
    "resume": moves.resume,
    "rollback": moves.roll_back,
}


def change_phase(settings: Path | str, move: str) -> RolloutState:
    """Pause a backfill, let it go on, or go back to the old model.

    Args:
        settings: The rollout's settings file.
        move: ``pause``, ``resume`` or ``rollback``.

    Returns:
        The state that it led to.

    Raises:
        InvalidInput: The move does not fit the state.
        StoreError: No rollout has begun, or the store cannot be reached.

    Examples:
        >>> change_phase("nowhere.yaml", "rollback")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    with closing(open_rollout(settings)) as opened:
        return move_phase(opened, move)


def move_phase(opened: OpenRollout, move: str, *, by: str | None = None) -> RolloutState:
    """The same of a rollout that is open.

    Args:
        opened: The rollout.
        move: ``pause``, ``resume`` or ``rollback``.
        by: Who does it, for the journal; this process where None.

    Returns:
        The state that it led to.

    Raises:
        InvalidInput: The move does not fit the state.
        StoreError: No rollout has begun, or the store cannot be reached.

    Examples:
        >>> move_phase.__name__
        'move_phase'
    """
    return moved(opened, move, _MOVES[move], by=by)


def move_canary(opened: OpenRollout, share: float, *, by: str | None = None) -> RolloutState:
    """Change the share of new clients' queries that the new model answers; where it rises, the gates have to hold.

    Args:
        opened: The rollout.
        share: Of the queries, above 0.
        by: Who does it, for the journal; this process where None.

    Returns:
        The state that it led to.

    Raises:
        GateRefused: The share rises, and a gate of the settings is not met.
        InvalidInput: The rollout is neither bridged nor backfilling, or it is no share.
        StoreError: No rollout has begun, or the store cannot be reached.

    Examples:
        >>> move_canary.__name__
        'move_canary'
    """
    why: dict[str, Any] = {}

    def changed(held: RolloutState) -> RolloutState:
        following, gates = change_canary(held, share), checked_gates(opened) if share > held.canary else ()
        require_rollout_gates(gates)
        why.clear()
        why.update({"gates": [gate.to_dict() for gate in gates]} if gates else {})
        return following

    return moved(opened, "canary", changed, why, by=by)


def drop_old_rows(settings: Path | str, *, drop_unreadable: bool = False) -> RolloutState:
    """Drop the old vectors of a rollout that is complete. There is no way back.

    Args:
        settings: The rollout's settings file.
        drop_unreadable: Also where an item could not be read, so that its old vector is all there is of it.

    Returns:
        The state that it led to.

    Raises:
        InvalidInput: The rollout is not complete, or rows have no new vector and would be lost unless that is meant.
        StoreError: No rollout has begun, another controller runs it, or the store does not drop these rows.

    Examples:
        >>> drop_old_rows("nowhere.yaml")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    with closing(open_rollout(settings)) as opened, Lease(opened.store.documents, this_process()):
        state = opened.state
        if state is None or not state.old_dropped:
            _require_none_missing(opened, state, drop_unreadable)
            state = moved(opened, "drop the old rows", moves.drop_old)
        try:
            if opened.old in opened.store.spaces():
                opened.store.drop_space(opened.old)
        except StoreError:
            if opened.old in opened.store.spaces():  # nothing was dropped, so the way back stays open
                moved(opened, "keep the old rows", moves.keep_old)
            raise
        return state


def _require_none_missing(opened: OpenRollout, state: RolloutState | None, drop_unreadable: bool) -> None:
    """Refuse to drop rows that have no other vector: what came in since, and what cannot be read unless that is meant."""
    if state is None or state.phase != "complete":
        return
    documents = opened.store.documents
    former = sorted(abandoned_rows(documents, opened.old, now=time.time()).union(stale_rows(documents)))
    missing = opened.missing()
    for start in range(0, len(former), _PAGE_ROWS):
        missing.update(opened.store.fetch(opened.old, former[start : start + _PAGE_ROWS]).ids)
    failures = read_failures(documents)
    unreadable = missing & failures.all_ids
    if late := missing - unreadable:
        raise InvalidInput(
            f"{opened.path}: row {min(late)!r} and perhaps others have no new vector of their newest content, and would be "
            "lost; call embridge apply again, which encodes them"
        )
    if unreadable and not drop_unreadable:
        name = min(unreadable)
        raise InvalidInput(
            f"{opened.path}: {len(unreadable):,} items could not be read, such as {name}: {failures.reasons.get(name, '')}. "
            "Their old vectors are all there is of them, and would be lost. Make them readable and call embridge apply again, "
            "or say --drop-unreadable"
        )


def moved(
    opened: OpenRollout,
    name: str,
    move: Callable[[RolloutState], RolloutState],
    why: Mapping[str, Any] | None = None,
    *,
    by: str | None = None,
) -> RolloutState:
    """Make a move, again from the new state where another was first.

    Args:
        opened: The rollout.
        name: What the journal calls it.
        move: From a state to the next.
        why: Figures that led to it, for the journal.
        by: Who makes it; this process where None.

    Returns:
        The state that it led to.

    Raises:
        StoreError: No rollout has begun, or others are first again and again.

    Examples:
        >>> moved.__name__
        'moved'
    """
    for _ in range(_ATTEMPTS):
        state = opened.state
        if state is None:
            raise StoreError(f"{opened.path}: no rollout has begun in this store; embridge plan and apply begin one")
        following = move(state)
        entry = {"move": name, "by": by or this_process(), "at_seconds": time.time(), "why": dict(why or {})}
        if record_move(opened.store.documents, state, following, entry=entry):
            return following
    raise StoreError(f"{opened.path}: others changed the rollout {_ATTEMPTS} times in a row; try again")
