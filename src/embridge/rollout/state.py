"""The state of a rollout: one small document beside the rows, which every reader and writer goes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from embridge.errors import InvalidInput
from embridge.space import Space

__all__ = ["Phase", "RolloutState", "Serving", "Writes", "serving", "writes"]

Phase = Literal["prepared", "shadow", "bridged", "backfilling", "complete", "rolled back"]
Serving = Literal["old", "bridge", "mixed", "cascade", "new"]
"""What answers a query: the old model on old rows; the new one through the bridge on old rows, or on both kinds of rows; the
same with the bridge's best items encoded at once; or the new one on new rows."""

SCHEMA = "embridge.rollout/1"
_SERVED: dict[Phase, Serving] = {"bridged": "bridge", "backfilling": "mixed", "complete": "new"}
_KINDS = {"upgrade": str, "upgrade_id": str, "paused": bool, "old_dropped": bool}
_LATER = ("on_read", "most_encoded", "bridged_rows")  # written where they are not 0: the hashes of journals stay


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Where a store stands on its way from the old model to the new one.

    Attributes:
        old: The space of the rows that were there.
        new: The space that they are to have.
        upgrade: Where the upgrade is.
        upgrade_id: A hash of it, so that a changed one is noticed.
        phase: Where the rollout stands.
        canary: The share of queries of new clients that the phase serves; the others are answered by the old model.
        shadow: The share of queries that are also asked through the bridge, and logged.
        paused: Whether the backfill stands still.
        old_dropped: Whether the old rows are gone, after which there is no way back.
        version: Rises by one with each change.
        on_read: While the backfill goes on, how many of the bridge's best items a query encodes at once; their vectors stay.
        most_encoded: Items that may be encoded in all, by the backfill and by queries; 0 for no limit.
        bridged_rows: Rows without a new vector when the rollout is complete; they are found through the bridge.

    Raises:
        InvalidInput: A value is of another kind or out of range, or both spaces are one.

    Examples:
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> RolloutState.from_dict(state.to_dict()) == state
        True
    """

    old: Space
    new: Space
    upgrade: str
    upgrade_id: str
    phase: Phase = "prepared"
    canary: float = 0.0
    shadow: float = 0.0
    paused: bool = False
    old_dropped: bool = False
    version: int = 1
    on_read: int = 0
    most_encoded: int = 0
    bridged_rows: int = 0

    def __post_init__(self) -> None:
        if self.old == self.new:
            raise InvalidInput(f"a rollout leads from one space to another, came {self.old} twice")
        if self.phase not in get_args(Phase):
            raise InvalidInput(f"a rollout's phase is one of {', '.join(get_args(Phase))}; came {self.phase!r}")
        self._require_kinds()
        if type(self.version) is not int or self.version < 1:
            raise InvalidInput(f"a state's version is a whole number from 1 on, came {self.version!r}")
        if self.old_dropped and self.phase != "complete":
            raise InvalidInput(f"old rows are dropped when a rollout is complete, not when it is {self.phase}")

    def _require_kinds(self) -> None:
        for name in ("canary", "shadow"):
            share = getattr(self, name)
            if not _is_number(share) or not 0 <= share <= 1:
                raise InvalidInput(f"{name} is a share between 0 and 1, came {share!r}")
        for name in _LATER:
            count = getattr(self, name)
            if type(count) is not int or count < 0:
                raise InvalidInput(f"{name} is a whole number from 0 on, came {count!r}")
        for name, kind in _KINDS.items():
            if type(getattr(self, name)) is not kind:
                raise InvalidInput(f"a state's {name} is {kind.__name__}, came {getattr(self, name)!r:.80}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        spaces = {"old": self.old.to_dict(), "new": self.new.to_dict()}
        written = {name: value for name, value in asdict(self).items() if value or name not in _LATER}
        return {"schema": SCHEMA} | written | spaces

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> RolloutState:
        """The inverse of `to_dict`; raises `InvalidInput` for anything else."""
        names = {field.name for field in fields(RolloutState)} | {"schema"}
        if not isinstance(document, Mapping):
            raise InvalidInput(f"expected a rollout's state ({SCHEMA}), came {document!r:.80}")
        schema, strange = document.get("schema"), sorted(set(document) - names)
        if schema != SCHEMA or strange:
            what = f"its schema is {schema!r}" if schema != SCHEMA else f"it says {', '.join(strange)}"
            raise InvalidInput(
                f"expected a rollout's state ({SCHEMA}); {what}: another release of embridge wrote it, or it was changed"
            )
        if lacking := sorted(names - set(_LATER) - set(document)):
            raise InvalidInput(f"expected a rollout's state ({SCHEMA}); it lacks {', '.join(lacking)}")
        try:
            values = {name: value for name, value in document.items() if name != "schema"}
            spaces = {name: Space.from_dict(values[name]) for name in ("old", "new")}
            return RolloutState(**values | spaces)
        except TypeError as error:
            raise InvalidInput(f"a rollout's state is damaged ({error})") from error


@dataclass(frozen=True, slots=True)
class Writes:
    """Which rows an item gets that is written now.

    Attributes:
        old: A vector of the old space: of the old model, or of the new one through the bridge, whichever wrote it.
        new: A vector of the new space.

    Examples:
        >>> Writes(old=True, new=False).new
        False
    """

    old: bool
    new: bool


def serving(state: RolloutState, *, client: Literal["old", "new"], draw: float) -> Serving:
    """What answers a query.

    Args:
        state: The state.
        client: Whether the client knows of the new model; others have old rows as long as these are there.
        draw: A number in [0, 1) drawn for the query, or for its user, by which the canary decides.

    Returns:
        What answers.

    Examples:
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1", phase="bridged", canary=0.1)
        >>> [serving(state, client="new", draw=draw) for draw in (0.05, 0.5)]
        ['bridge', 'old']
    """
    if state.old_dropped:
        return "new"
    if client == "old" or draw >= state.canary:
        return "old"
    if state.phase == "backfilling" and state.on_read and not state.paused:
        return "cascade"
    if state.phase == "complete" and state.bridged_rows:
        return "mixed"
    return _SERVED.get(state.phase, "old")


def writes(state: RolloutState) -> Writes:
    """Which rows an item gets that is written in this state.

    Args:
        state: The state.

    Returns:
        The spaces it gets a vector of.

    Examples:
        >>> writes(RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2"))
        Writes(old=True, new=False)
    """
    return Writes(old=not state.old_dropped, new=state.phase in _SERVED)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
