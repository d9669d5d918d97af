"""The journal: every move of a rollout, in a chain of hashes; written before the state, so that a kill loses neither."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from embridge.errors import InvalidInput, StoreError
from embridge.rollout.state import SCHEMA, RolloutState
from embridge.stores.documents import JOURNAL, STATE, Documents

__all__ = ["Entry", "current_state", "entries", "record_move"]

_START = "0" * 64
_KINDS = {"move": str, "by": str, "at_seconds": int | float, "why": Mapping, "before": str}
_MOST_LOST = 100  # entries at the end that are written again; a state by which more are lost is wrong itself
STILL_POSSIBLE = (
    "embridge rollback leads back to the old model all the same, and embridge apply --again begins anew from there"
)


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
        return _digest(self._fields())

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return self._fields() | {"hash": self.hash}

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> Entry:
        """The inverse of `to_dict`; raises `StoreError` for an entry that was changed."""
        return _entry(document, "an entry")

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
    while (entry := entry_at(documents, number)) is not None:
        if entry.before != before:
            raise StoreError(
                f"entry {number} of the journal does not follow the one before it; the journal was changed"
            )
        yield entry
        before, number = entry.hash, number + 1


def last_of(documents: Documents) -> Entry | None:
    """The last move, after all before it were looked at; raises `StoreError` as `entries` does."""
    return next(iter(deque(entries(documents), maxlen=1)), None)


def entry_at(documents: Documents, number: int) -> Entry | None:
    """The entry of a number, whether or not it follows the one before; None where there is none.

    Raises:
        StoreError: It was changed.
    """
    document = documents.read(_name(number))
    return None if document is None else _entry(document, f"entry {number}", number)


def current_state(documents: Documents) -> RolloutState | None:
    """The state. A move that a killed controller had written to the journal is brought to its end.

    Where the state is damaged, the journal says what it is.

    Args:
        documents: Of the store.

    Returns:
        The state; None where no rollout has begun.

    Raises:
        StoreError: The state is damaged, and the journal does not tell it.
        InvalidInput: Another release wrote the state.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> print(current_state(MemoryDocuments()))
        None
    """
    document = documents.read(STATE)
    state = first = None if document is None else _stated(documents, document)
    number = 1 if state is None else state.version + 1
    while (following := _following(documents, number, state)) is not None:
        state, number = following.state, number + 1
    if state is not None and state is not first:
        with suppress(StoreError):  # who may only read goes by the journal; another may have brought it there
            documents.swap(STATE, document, state.to_dict())
    return state


def record_move(
    documents: Documents, before: RolloutState | None, after: RolloutState, *, entry: Mapping[str, Any]
) -> bool:
    """Write a move: to the journal, which decides who wins, and then to the state.

    A move that leads back to the old model can be made whatever was done to the journal.

    Args:
        documents: Of the store.
        before: The state that the move began from, as `current_state` gave it; None for the first.
        after: The state that it leads to.
        entry: ``move``, ``by``, ``at_seconds`` and ``why`` of the `Entry`.

    Returns:
        False where someone else moved first; nothing was written then.

    Raises:
        InvalidInput: The new state does not follow the former.
        StoreError: The end of the journal is damaged, or contradicts the state.

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
    back = after.phase == "rolled back"
    last = _START if before is None else _last_hash(documents, before, entry, back=back)
    written = Entry(**entry, state=after, before=last)
    won = documents.swap(_name(number), _in_its_place(documents, number, back=back), written.to_dict())
    _settle(documents, after if won else None)
    return won


def _following(documents: Documents, number: int, state: RolloutState | None) -> Entry | None:
    """The next entry; one that is damaged led nowhere, as long as there is a state."""
    try:
        return entry_at(documents, number)
    except StoreError:
        if state is None:
            raise
        return None


def _in_its_place(documents: Documents, number: int, *, back: bool) -> Mapping[str, Any] | None:
    """What stands where the next entry is to be written: nothing, or what only the way back replaces."""
    try:
        entry_at(documents, number)
    except StoreError as error:
        if not back:
            raise StoreError(f"{error}; {STILL_POSSIBLE}") from error
        return documents.read(_name(number))
    return None


def _settle(documents: Documents, state: RolloutState | None) -> None:
    """Bring the state to where the journal is, also one that is damaged; whoever was first may have been killed."""
    document = documents.read(STATE)
    try:
        RolloutState.from_dict(document or {})
    except InvalidInput:
        if state is not None:
            documents.swap(STATE, document, state.to_dict())
    current_state(documents)


def _last_hash(documents: Documents, before: RolloutState, entry: Mapping[str, Any], *, back: bool) -> str:
    """The hash of the entry that led to a state.

    Where the journal lost its last entries, the state is whole all the same, and a rollback must stay possible. So entries are
    written in their place, which say that they are no witnesses. Where the last one was changed, only the way back is open.
    """
    number = before.version
    while number > before.version - _MOST_LOST and number and documents.read(_name(number)) is None:
        number -= 1
    try:
        last = _hash_at(documents, number, before)
    except StoreError as error:
        if not back:
            raise StoreError(f"{error}; {STILL_POSSIBLE}") from error
        last = _digest(documents.read(_name(number)))
    for lost in range(number + 1, before.version + 1):
        why = {"lost": "the journal had lost this entry; it was written from the state when the next move was made"}
        stated = replace(before, version=lost)
        found = Entry("lost", entry["by"], entry["at_seconds"], why, stated, last)
        if not documents.swap(_name(lost), None, found.to_dict()):
            raise StoreError("another controller moves this rollout at this moment; try again")
        last = found.hash
    return last


def _hash_at(documents: Documents, number: int, state: RolloutState) -> str:
    """The hash of the last entry that is there, which says what the state does if none is lost."""
    if number == 0:
        return _START
    if (entry := entry_at(documents, number)) is None:
        raise StoreError(f"the state is of version {state.version:,}, which the journal does not reach")
    if number == state.version and entry.state != state:
        raise StoreError(f"the rollout's state is not what entry {number} of the journal led to: it was changed")
    return entry.hash


def _entry(document: Mapping[str, Any], name: str, number: int | None = None) -> Entry:
    try:
        values = {key: document[key] for key in _KINDS}
        for key, kind in _KINDS.items():
            if not isinstance(values[key], kind):
                raise InvalidInput(f"its {key} is {values[key]!r:.80}")
        entry = Entry(**values, state=RolloutState.from_dict(document["state"]))
    except KeyError as error:
        raise StoreError(f"{name} of the journal is damaged: it lacks {error}") from error
    except InvalidInput as error:
        raise StoreError(f"{name} of the journal is damaged: {error}") from error
    if entry.hash != document.get("hash"):
        raise StoreError(f"{name} of the journal was changed: its hash is not its own")
    if number not in (None, entry.state.version):
        raise StoreError(f"{name} of the journal is of version {entry.state.version}; the journal was changed")
    return entry


def _stated(documents: Documents, document: Mapping[str, Any]) -> RolloutState:
    """The state, which the journal tells where the document is damaged."""
    try:
        return RolloutState.from_dict(document)
    except InvalidInput as error:
        if document.get("schema", SCHEMA) != SCHEMA:
            raise
        if (last := last_of(documents)) is None:
            raise StoreError(f"{error}; the journal is empty too: restore both from a copy of the database") from error
        return last.state


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _name(number: int) -> str:
    return f"{JOURNAL}{number:06d}"
