"""The moves of a rollout: pure functions from one state to the next, which refuse what makes no sense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from embridge.errors import InvalidInput
from embridge.rollout.state import Lease, Phase, RolloutState

__all__ = [
    "backfill",
    "bridge",
    "complete",
    "drop_old",
    "pause",
    "prepare_again",
    "resume",
    "roll_back",
    "shadow",
    "take_lease",
    "without_lease",
]


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


def complete(state: RolloutState, *, missing: int) -> RolloutState:
    """Answer from new rows alone.

    Args:
        state: Backfilling, not paused, with a canary of 1.
        missing: Rows that have no new vector and could have one.

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
    return _next(state, phase="complete", paused=False)


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
    return _next(state, phase="rolled back", canary=0.0, shadow=0.0, paused=False)


def prepare_again(state: RolloutState) -> RolloutState:
    """Begin anew after a rollback; new rows that are there already are kept and used.

    Args:
        state: Rolled back.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> prepare_again(roll_back(state)).phase
        'prepared'
    """
    _require(state, ("rolled back",), "prepare again")
    return _next(state, phase="prepared")


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


def take_lease(state: RolloutState, holder: str, *, now_seconds: float, seconds: float) -> RolloutState:
    """Take the right to change the state, or keep it for longer.

    Whoever held it and lost it finds another version when it next changes the state, and changes nothing: so a clock that is
    wrong costs a pause, not a row.

    Args:
        state: Any.
        holder: A name of the controller, unique to its process.
        now_seconds: Unix time.
        seconds: For how long.

    Returns:
        The next state.

    Raises:
        InvalidInput: Another holds it.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> take_lease(state, "host:17", now_seconds=100.0, seconds=30.0).lease
        Lease(holder='host:17', until_seconds=130.0)
    """
    lease = state.lease
    if lease is not None and lease.holder != holder and not lease.ends_before(now_seconds):
        left = lease.until_seconds - now_seconds
        raise InvalidInput(
            f"{lease.holder} runs this rollout, for {left:.0f} more seconds at least; wait, or stop it there"
        )
    return _next(state, lease=Lease(holder, now_seconds + seconds))


def without_lease(state: RolloutState, holder: str) -> RolloutState:
    """Give the right back; another's is left alone.

    Args:
        state: Any.
        holder: Who gives it back.

    Returns:
        The next state, or the same.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> without_lease(take_lease(state, "a", now_seconds=0.0, seconds=9.0), "a").lease is None
        True
    """
    return state if state.lease is None or state.lease.holder != holder else _next(state, lease=None)


def _require(state: RolloutState, phases: tuple[Phase, ...], move: str) -> None:
    if state.phase not in phases:
        raise InvalidInput(f"{move}: the rollout is {state.phase}; this fits one that is {' or '.join(phases)}")
    if state.old_dropped:
        raise InvalidInput(f"{move}: the old rows were dropped, and this rollout is at its end")


def _share(share: float, name: str) -> float:
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise InvalidInput(
            f"{name}: expected a share above 0 and up to 1, came {share!r}; roll back to serve old rows alone"
        )
    return float(share)


def _next(state: RolloutState, **changes: Any) -> RolloutState:
    return replace(state, version=state.version + 1, **changes)
