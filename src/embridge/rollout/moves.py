"""The moves of a rollout: pure functions from one state to the next, which refuse what makes no sense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from embridge.errors import InvalidInput
from embridge.rollout.state import Phase, RolloutState

__all__ = [
    "backfill",
    "bridge",
    "complete",
    "drop_old",
    "keep_old",
    "pause",
    "prepare_again",
    "resume",
    "roll_back",
    "shadow",
]

_FURTHER = "embridge apply leads further, and embridge rollback back"
_LEADS_ON: dict[Phase, str] = {
    "prepared": _FURTHER,
    "shadow": _FURTHER,
    "bridged": _FURTHER,
    "backfilling": _FURTHER,
    "complete": "embridge rollback leads back, and embridge complete --drop-old ends it",
    "rolled back": "embridge apply --again begins anew",
}


def shadow(state: RolloutState, share: float) -> RolloutState:
    """Ask a share of the queries through the bridge too, where nobody sees it.

    Args:
        state: Prepared, or shadow with another share.
        share: Of the queries, above 0.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state, or it is no share.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> shadow(state, 0.1).phase
        'shadow'
    """
    _require(state, ("prepared", "shadow"), "shadow")
    return _next(state, phase="shadow", shadow=_share(share, "shadow"))


def bridge(state: RolloutState, canary: float) -> RolloutState:
    """Answer a share of the new clients' queries through the bridge.

    Args:
        state: Any before complete; while backfilling, the share alone changes.
        canary: Of the queries, above 0.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state, or it is no share.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> bridge(state, 0.1).canary
        0.1
    """
    _require(state, ("prepared", "shadow", "bridged", "backfilling"), "bridge")
    phase = "backfilling" if state.phase == "backfilling" else "bridged"
    return _next(state, phase=phase, canary=_share(canary, "canary"), shadow=0.0)


def backfill(state: RolloutState) -> RolloutState:
    """Begin to encode the gallery again; new clients search both kinds of rows.

    Args:
        state: Bridged.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> backfill(bridge(state, 1.0)).phase
        'backfilling'
    """
    _require(state, ("bridged",), "backfill")
    return _next(state, phase="backfilling", paused=False)


def complete(state: RolloutState, *, missing: int, unreadable: int = 0) -> RolloutState:
    """Answer from new rows; from old ones through the bridge only where an item cannot be read.

    Args:
        state: Backfilling, not paused, with a canary of 1.
        missing: Rows that have no new vector and could have one.
        unreadable: Rows that have none because their items cannot be had.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state, or rows are missing: they would never be found again.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> complete(backfill(bridge(state, 1.0)), missing=0).phase
        'complete'
    """
    _require(state, ("backfilling",), "complete")
    if missing:
        raise InvalidInput(
            f"complete: {missing:,} rows have no new vector and would not be found; let the backfill end, or delete them"
        )
    if state.canary < 1:
        raise InvalidInput(f"complete: the canary is {state.canary:g}; serve all queries from the new model before (1)")
    return _next(state, phase="complete", paused=False, bridged_rows=unreadable)


def pause(state: RolloutState) -> RolloutState:
    """Let the backfill stand still; queries are answered as before.

    Args:
        state: Backfilling.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> pause(backfill(bridge(state, 1.0))).paused
        True
    """
    _require(state, ("backfilling",), "pause")
    return _next(state, paused=True)


def resume(state: RolloutState) -> RolloutState:
    """Let the backfill go on.

    Args:
        state: Backfilling.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> resume(pause(backfill(bridge(state, 1.0)))).paused
        False
    """
    _require(state, ("backfilling",), "resume")
    return _next(state, paused=False)


def roll_back(state: RolloutState) -> RolloutState:
    """Answer everything with the old model on old rows, which are all there.

    Args:
        state: Any, as long as the old rows were not dropped.

    Returns:
        The next state.

    Raises:
        InvalidInput: The old rows are gone.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> roll_back(bridge(state, 1.0)).canary
        0.0
    """
    if state.old_dropped:
        raise InvalidInput(
            "roll back: the old rows were dropped; encode the items again with the old model for a new rollout"
        )
    return _next(state, phase="rolled back", canary=0.0, shadow=0.0, paused=False, bridged_rows=0)


def prepare_again(state: RolloutState, target: RolloutState) -> RolloutState:
    """Begin anew after a rollback, or after the end of the rollout before; new rows that are there already are kept and used.

    Args:
        state: Rolled back, or complete with the old rows dropped.
        target: A state that says from where to where, and by which upgrade.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> prepare_again(roll_back(state), state).phase
        'prepared'
    """
    if state.phase != "rolled back" and not state.old_dropped:
        raise InvalidInput(
            f"prepare again: the rollout to {state.new} is {state.phase}; roll it back first, or go on with it"
        )
    return replace(target, phase="prepared", canary=0.0, shadow=0.0, version=state.version + 1)


def drop_old(state: RolloutState) -> RolloutState:
    """Say that the old rows go: the only move without a way back. Drop them after it is written.

    Args:
        state: Complete.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2", phase="complete", canary=1.0)
        >>> drop_old(state).old_dropped
        True
    """
    _require(state, ("complete",), "drop the old rows")
    return _next(state, old_dropped=True)


def keep_old(state: RolloutState) -> RolloutState:
    """Take `drop_old` back, where the store refused to drop the rows.

    Args:
        state: Complete, with the old rows dropped in name alone.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2", phase="complete", canary=1.0)
        >>> keep_old(drop_old(state)).old_dropped
        False
    """
    if not state.old_dropped:
        raise InvalidInput(f"keep the old rows: nothing was dropped, the rollout is {state.phase}")
    return _next(state, old_dropped=False)


def _require(state: RolloutState, phases: tuple[Phase, ...], move: str) -> None:
    if state.old_dropped:
        raise InvalidInput(f"{move}: the old rows were dropped, and this rollout is at its end")
    if state.phase not in phases:
        fits = f"this fits one that is {' or '.join(phases)}"
        raise InvalidInput(f"{move}: the rollout is {state.phase}; {fits}. {_LEADS_ON[state.phase]}")


def _share(share: float, name: str) -> float:
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise InvalidInput(
            f"{name}: expected a share above 0 and up to 1, came {share!r}; roll back to serve old rows alone"
        )
    return float(share)


def _next(state: RolloutState, **changes: Any) -> RolloutState:
    return replace(state, version=state.version + 1, **changes)
