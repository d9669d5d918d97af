"""One move of a rollout, by whoever asks for it and at any moment: pausing, going back, another canary."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from embridge.errors import StoreError
from embridge.jobs.rollout.gating import checked_gates
from embridge.jobs.rollout.opened import OpenRollout, OpenState, open_state
from embridge.rollout import moves
from embridge.rollout.amendments import change_canary
from embridge.rollout.gates import require_rollout_gates
from embridge.rollout.journal import record_move
from embridge.rollout.lease import this_process
from embridge.rollout.state import RolloutState

__all__ = ["change_phase", "move_canary", "move_phase", "moved"]

_ATTEMPTS = 20
_MOVES: dict[str, Callable[[RolloutState], RolloutState]] = {
    "pause": moves.pause,
    "resume": moves.resume,
    "rollback": moves.roll_back,
}


def change_phase(settings: Path | str, move: str, *, dry_run: bool = False) -> RolloutState:
    """Pause a backfill, let it go on, or go back to the old model. Nothing but the store has to be there.

    Args:
        settings: The rollout's settings file.
        move: ``pause``, ``resume`` or ``rollback``.
        dry_run: Whether nothing is changed.

    Returns:
        The state that it led to, or would lead to.

    Raises:
        InvalidInput: The move does not fit the state, or the settings are of another rollout.
        StoreError: No rollout has begun, or the store cannot be reached.

    Examples:
        >>> change_phase("nowhere.yaml", "rollback")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    with closing(open_state(settings)) as opened:
        state = opened.state
        if state is not None:
            opened.require_own(state)
        if dry_run:
            return _MOVES[move](_begun(opened, state))
        return move_phase(opened, move)


def move_phase(opened: OpenRollout | OpenState, move: str, *, by: str | None = None) -> RolloutState:
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


def moved(
    opened: OpenRollout | OpenState,
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
        state = _begun(opened, opened.state)
        following = move(state)
        entry = {"move": name, "by": by or this_process(), "at_seconds": time.time(), "why": dict(why or {})}
        if record_move(opened.store.documents, state, following, entry=entry):
            return following
    raise StoreError(f"{opened.path}: others changed the rollout {_ATTEMPTS} times in a row; try again")


def _begun(opened: OpenRollout | OpenState, state: RolloutState | None) -> RolloutState:
    if state is None:
        raise StoreError(f"{opened.path}: no rollout has begun in this store; embridge plan and apply begin one")
    return state
