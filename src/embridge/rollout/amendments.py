"""Changes of a rollout that leave its phase as it is: pure functions from one state to the next, as its moves are."""

from __future__ import annotations

from dataclasses import replace

from embridge.errors import InvalidInput
from embridge.rollout import moves
from embridge.rollout.state import RolloutState

__all__ = ["bridge_rows", "change_canary", "on_read"]


def on_read(state: RolloutState, items: int, *, most_encoded: int = 0) -> RolloutState:
    """Say how many of the bridge's best items a query encodes at once while the backfill goes on.

    Args:
        state: Any before complete.
        items: Of a query; 0 for none.
        most_encoded: Items that may be encoded in all, by the backfill and by queries; 0 for no limit.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state, or it is no number of items.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> on_read(state, 20).on_read
        20
    """
    if state.phase in ("complete", "rolled back"):
        raise InvalidInput(f"encode on read: the rollout is {state.phase}; nothing is left to encode")
    return replace(state, version=state.version + 1, on_read=items, most_encoded=most_encoded)


def bridge_rows(state: RolloutState, count: int) -> RolloutState:
    """Say how many rows of a complete rollout have no new vector, and are found through the bridge.

    Args:
        state: Complete.
        count: Of the rows.

    Returns:
        The next state.

    Raises:
        InvalidInput: The move does not fit the state.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2", phase="complete", canary=1.0)
        >>> bridge_rows(state, 3).bridged_rows
        3
    """
    if state.phase != "complete" or state.old_dropped:
        raise InvalidInput(
            f"bridge rows: the rollout is {state.phase}; others search old rows through the bridge anyway"
        )
    return replace(state, version=state.version + 1, bridged_rows=count)


def change_canary(state: RolloutState, share: float) -> RolloutState:
    """Let the new model answer another share of the new clients' queries.

    Args:
        state: Bridged or backfilling.
        share: Of the queries, above 0.

    Returns:
        The next state.

    Raises:
        InvalidInput: The new model does not answer yet, or answers everything by now; or it is no share.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2", phase="bridged", canary=1.0)
        >>> change_canary(state, 0.1).canary
        0.1
    """
    if state.phase not in ("bridged", "backfilling"):
        raise InvalidInput(f"canary: the rollout is {state.phase}; this fits one that is bridged or backfilling")
    return moves.bridge(state, share)
