"""The journal: every move of a rollout, in a chain of hashes; written before the state, so that a kill loses neither."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from embridge.errors import InvalidInput, StoreError
from embridge.rollout.state import RolloutState
from embridge.stores.documents import STATE, Documents

__all__ = ["Entry", "current_state", "entries", "record_move"]

_START = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One move.

    Attributes:
        move: What was done, such as ``bridge``.
        by: Who did it.
        at_seconds: Unix time, by the clock of whoever did it.
        why: Figures or words that led to it; JSON.
        state: The state it led to, whose version is the number of the entry.
        before: The hash of the entry before; zeros for the first.

    Examples:
        >>> from embridge import Space
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> Entry("prepare", "host:17", 0.0, {}, state, "0" * 64).hash[:6]
        '...'
    """

    move: str
    by: str
    at_seconds: float
    why: Mapping[str, Any]
    state: RolloutState
    before: str

    @property
    def hash(self) -> str:
        """Sha256 of all of it."""
        text = json.dumps(self._fields(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return self._fields() | {"hash": self.hash}

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> Entry:
        """The inverse of `to_dict`; raises `StoreError` for an entry that was changed."""
        try:
            entry = Entry(
                document["move"],
                document["by"],
                document["at_seconds"],
                document["why"],
                RolloutState.from_dict(document["state"]),
                document["before"],
            )
        except (KeyError, TypeError, InvalidInput) as error:
            raise StoreError(f"an entry of the journal is damaged: {error}") from error
        if entry.hash != document.get("hash"):
            raise StoreError(f"entry {entry.state.version} of the journal was changed: its hash is not its own")
        return entry

    def _fields(self) -> dict[str, Any]:
        return {
            "move": self.move,
            "by": self.by,
            "at_seconds": self.at_seconds,
            "why": dict(self.why),
            "state": self.state.to_dict(),
            "before": self.before,
        }


def entries(documents: Documents) -> Iterator[Entry]:
    """All moves, the first one first.

    Args:
        documents: Of the store.

    Yields:
        The entries.

    Raises:
        StoreError: An entry was changed, or the chain is broken.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> list(entries(MemoryDocuments()))
        []
    """
    before, number = _START, 1
    while (document := documents.read(_name(number))) is not None:
        entry = Entry.from_dict(document)
        if entry.before != before or entry.state.version != number:
            raise StoreError(
                f"entry {number} of the journal does not follow the one before it; the journal was changed"
            )
        yield entry
        before, number = entry.hash, number + 1


def current_state(documents: Documents) -> RolloutState | None:
    """The state. A move that a killed controller had written to the journal is brought to its end.

    Args:
        documents: Of the store.

    Returns:
        The state; None where no rollout has begun.

    Raises:
        StoreError: The state and the journal contradict each other.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> print(current_state(MemoryDocuments()))
        None
    """
    document = documents.read(STATE)
    state = None if document is None else RolloutState.from_dict(document)
    following = documents.read(_name(1 if state is None else state.version + 1))
    while following is not None:
        entry = Entry.from_dict(following)
        documents.swap(STATE, document, entry.state.to_dict())  # or another brought it there
        document = documents.read(STATE)
        if document is None:
            raise StoreError("the rollout's state cannot be written, though its journal can")
        state = RolloutState.from_dict(document)
        following = documents.read(_name(state.version + 1))
    return state


def record_move(
    documents: Documents, before: RolloutState | None, after: RolloutState, *, entry: Mapping[str, Any]
) -> bool:
    """Write a move: to the journal, which decides who wins, and then to the state.

    Args:
        documents: Of the store.
        before: The state that the move began from, as `current_state` gave it; None for the first.
        after: The state that it leads to.
        entry: ``move``, ``by``, ``at_seconds`` and ``why`` of the `Entry`.

    Returns:
        False where someone else moved first; nothing was written then.

    Raises:
        InvalidInput: The new state does not follow the former.
        StoreError: The journal is damaged.

    Examples:
        >>> from embridge import Space
        >>> from embridge.stores.documents import MemoryDocuments
        >>> documents = MemoryDocuments()
        >>> state = RolloutState(Space("mini", "1", 2), Space("mini", "2", 2), "upgrade", "a1b2")
        >>> said = {"move": "prepare", "by": "host:17", "at_seconds": 0.0, "why": {}}
        >>> record_move(documents, None, state, entry=said), current_state(documents) == state
        (True, True)
    """
    number = 1 if before is None else before.version + 1
    if after.version != number:
        raise InvalidInput(f"a move leads to version {number} of the state, came {after.version}")
    last = _START if before is None else _last_hash(documents, before, entry)
    written = Entry(**entry, state=after, before=last)
    if not documents.swap(_name(number), None, written.to_dict()):
        current_state(documents)  # whoever was first may have been killed
        return False
    current_state(documents)
    return True


def _last_hash(documents: Documents, before: RolloutState, entry: Mapping[str, Any]) -> str:
    """The hash of the entry that led to a state.

    Where the journal lost its last entries, the state is whole all the same, and a rollback must stay possible. So entries are
    written in their place, which say that they are no witnesses.
    """
    number = before.version + 1
    while number > 1 and (document := documents.read(_name(number - 1))) is None:
        number -= 1
    last = _START if number == 1 else Entry.from_dict(document or {}).hash
    for lost in range(number, before.version + 1):
        why = {"lost": "the journal had lost this entry; it was written from the state when the next move was made"}
        stated = replace(before, version=lost)
        found = Entry("lost", entry["by"], entry["at_seconds"], why, stated, last)
        if not documents.swap(_name(lost), None, found.to_dict()):
            raise StoreError("another controller moves this rollout at this moment; try again")
        last = found.hash
    return last


def _name(number: int) -> str:
    return f"journal/{number:06d}"
